//! DPDK: a later Debian's, unpacked for the tests instead of installed, with the C library that it is linked to. The
//! machine's own release has none that speaks to a device plugin.

use std::{ffi::OsString, fs, io, os::unix::fs::PermissionsExt as _, path::Path};

use anyhow::{Context as _, Result, ensure};

use crate::{command::find, debian::Apt, validator::behind};

/// Debian's suite that has one which does.
const SUITE: &str = "trixie";

/// The package that has the program, and what it needs whose name does not begin with `lib`.
const PACKAGE: &str = "dpdk-dev";
const OTHERS: [&str; 2] = ["ibverbs-providers", "zlib1g"];

const PROGRAM: &str = "dpdk-testpmd";

/// The directory of what starts it.
const START_IN: &str = "start";

/// Starts the program with the libraries beside it, and with the drivers that the tests use alone.
const START: &str = "\
#!/bin/sh
root=$(dirname \"$(dirname \"$(readlink -f \"$0\")\")\")
lib=$(echo \"$root\"/usr/lib/*-linux-gnu)
set -- -d \"$(echo \"$lib\"/dpdk/pmds-*/librte_mempool_ring.so.??)\" \"$@\"
set -- -d \"$(echo \"$lib\"/dpdk/pmds-*/librte_net_af_xdp.so.??)\" \"$@\"
export LIBXDP_OBJECT_PATH=\"$lib/bpf\"
exec \"$lib\"/ld-linux-*.so.? --library-path \"$lib\" \"$root/usr/bin/dpdk-testpmd\" \"$@\"
";

/// `path` with DPDK's directory behind it, in `root`'s `target` if it is not on this machine.
///
/// # Errors
/// A package cannot be downloaded or unpacked, or lacks the program.
pub fn search_path(root: &Path, path: &OsString) -> Result<OsString> {
    if find(PROGRAM).is_some() {
        return Ok(path.clone());
    }
    let tools = root.join("target/tools");
    let directory = tools.join("dpdk");
    if !directory.is_dir() {
        fs::create_dir_all(&tools).with_context(|| format!("cannot create '{}'", tools.display()))?;
        unpack(&tools, &directory).with_context(|| format!("the tests need '{PROGRAM}'"))?;
    }
    behind(path, &directory.join(START_IN))
}

fn unpack(tools: &Path, directory: &Path) -> Result<()> {
    let scratch =
        tempfile::tempdir_in(tools).with_context(|| format!("cannot write in '{}'", tools.display()))?;
    let apt = Apt::new(scratch.path(), SUITE, None)?;
    let mut packages = apt.needed_by(PACKAGE)?;
    packages.retain(|name| is_library(name) || name == PACKAGE || OTHERS.contains(&name.as_str()));
    let tree = scratch.path().join("unpacked");
    apt.unpack(&packages, &tree)?;
    ensure!(tree.join("usr/bin").join(PROGRAM).is_file(), "Debian's package {PACKAGE} has no such program");
    write_start(&tree.join(START_IN)).context("cannot write what starts it")?;
    // As a whole or not at all.
    fs::rename(&tree, directory).with_context(|| format!("cannot make '{}'", directory.display()))
}

fn write_start(directory: &Path) -> io::Result<()> {
    let start = directory.join(PROGRAM);
    fs::create_dir_all(directory)?;
    fs::write(&start, START)?;
    fs::set_permissions(&start, fs::Permissions::from_mode(0o755))
}

/// Whether a package is of libraries to run with.
fn is_library(package: &str) -> bool {
    package.starts_with("lib") && !package.ends_with("-dev")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_only_built_with_is_left_out() {
        assert!(is_library("librte-net-af-xdp25") && is_library("libc6"));
        assert!(!is_library("libdpdk-dev") && !is_library("python3") && !is_library("zlib1g"));
    }
}
