//! Go, and the reference macvlan plugin's own tests with what they import: Debian's, unpacked for the
//! tests instead of installed. The oldest release that carries tests of CNI 1.1.0 is not that of most
//! machines.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, ensure};

use crate::debian::Apt;

/// Debian's suite that they come from.
const SUITE: &str = "forky";

/// Go, what the tests import, and what that imports; and the source that has the tests.
const PACKAGES: [&str; 3] =
    ["golang-go", "golang-github-containernetworking-plugins-dev", "golang-github-onsi-ginkgo-v2-dev"];
const SOURCE: &str = "golang-github-containernetworking-plugins";

/// What must be there afterwards.
const NEEDED: [&str; 2] = ["usr/bin/go", "source/plugins/main/macvlan/macvlan_test.go"];

/// The directory that has them, below `root`'s `target`.
///
/// # Errors
/// A package cannot be downloaded or unpacked, or lacks a file.
pub fn unpacked(root: &Path) -> Result<PathBuf> {
    let tools = root.join("target/tools");
    let directory = tools.join("go");
    if !directory.is_dir() {
        fs::create_dir_all(&tools).with_context(|| format!("cannot create '{}'", tools.display()))?;
        let scratch =
            tempfile::tempdir_in(&tools).with_context(|| format!("cannot write in '{}'", tools.display()))?;
        let tree = scratch.path().join("unpacked");
        unpack(scratch.path(), &tree).context("the reference plugin's tests are unavailable")?;
        // As a whole or not at all.
        fs::rename(&tree, &directory).with_context(|| format!("cannot make '{}'", directory.display()))?;
    }
    Ok(directory)
}

fn unpack(scratch: &Path, tree: &Path) -> Result<()> {
    let apt = Apt::with_sources(scratch, SUITE)?;
    let mut packages = Vec::new();
    for package in PACKAGES {
        packages.extend(apt.needed_by(package)?.into_iter().filter(|name| is_of_go(name)));
    }
    packages.sort();
    packages.dedup();
    apt.unpack(&packages, tree)?;
    apt.unpack_source(SOURCE, &tree.join("source"))?;
    for file in NEEDED {
        ensure!(tree.join(file).is_file(), "Debian's packages have no '{file}'");
    }
    Ok(())
}

/// Whether a package is the compiler or a library for it: they need the machine's C library and tools as
/// little as the tests do.
fn is_of_go(package: &str) -> bool {
    package.starts_with("golang-") && ["-go", "-src", "-dev"].iter().any(|ending| package.ends_with(ending))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_of_go_is_left_out() {
        for package in ["golang-go", "golang-1.27-src", "golang-golang-x-sys-dev"] {
            assert!(is_of_go(package), "{package}");
        }
        for package in ["libc6", "golang-golang-x-tools", "libjs-jquery", "libc6-dev"] {
            assert!(!is_of_go(package), "{package}");
        }
    }
}
