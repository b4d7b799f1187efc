//! kustomize, which puts Kubernetes manifests together: a later Debian's, unpacked for the tests instead of installed.

use std::{ffi::OsString, fs, path::Path};

use anyhow::{Context as _, Result, ensure};

use crate::{command::find, debian::Apt, validator::behind};

/// Debian's suite that has one which knows components.
const SUITE: &str = "forky";

const PROGRAM: &str = "kustomize";

/// `path` with kustomize's directory behind it, in `root`'s `target` if it is not on this machine.
///
/// # Errors
/// The package cannot be downloaded or unpacked, or lacks the program.
pub fn search_path(root: &Path, path: &OsString) -> Result<OsString> {
    if find(PROGRAM).is_some() {
        return Ok(path.clone());
    }
    let tools = root.join("target/tools");
    let directory = tools.join(PROGRAM);
    let programs = directory.join("usr/bin");
    if !programs.join(PROGRAM).is_file() {
        fs::create_dir_all(&tools).with_context(|| format!("cannot create '{}'", tools.display()))?;
        unpack(&tools, &directory).with_context(|| format!("the tests need '{PROGRAM}'"))?;
    }
    behind(path, &programs)
}

fn unpack(tools: &Path, directory: &Path) -> Result<()> {
    let scratch =
        tempfile::tempdir_in(tools).with_context(|| format!("cannot write in '{}'", tools.display()))?;
    let apt = Apt::new(scratch.path(), SUITE, None)?;
    let tree = scratch.path().join("unpacked");
    apt.unpack(&[PROGRAM.to_owned()], &tree)?;
    ensure!(tree.join("usr/bin").join(PROGRAM).is_file(), "Debian's package {PROGRAM} has no such program");
    // As a whole or not at all.
    fs::rename(&tree, directory).with_context(|| format!("cannot make '{}'", directory.display()))
}
