//! The validator of Kubernetes manifests, with the schemas in it: from the Python package index, as
//! Debian has none.

use std::{env, ffi::OsString, path::Path, process::Command};

use anyhow::{Context as _, Result};

use crate::command::{find, run};

const PACKAGE: &str = "kubernetes-validate==1.37.0";
const PROGRAM: &str = "kubernetes-validate";

/// `path` with the validator's directory behind it, in `root`'s `target` if it is not on this
/// machine.
///
/// # Errors
/// Python cannot make an environment, or the package is unavailable.
pub fn search_path(root: &Path, path: &OsString) -> Result<OsString> {
    if find(PROGRAM).is_some() {
        return Ok(path.clone());
    }
    let environment = root.join("target/tools/python");
    let programs = environment.join("bin");
    if !programs.join(PROGRAM).is_file() {
        run(Command::new("python3").args(["-m", "venv"]).arg(&environment))
            .context("the tests need Python with venv (Debian: python3-venv)")?;
        run(Command::new(programs.join("pip")).args(["install", "--quiet", PACKAGE]))
            .with_context(|| format!("cannot install {PACKAGE}"))?;
    }
    behind(path, &programs)
}

/// Behind all others: the Python in it is for the validator alone.
pub(crate) fn behind(path: &OsString, programs: &Path) -> Result<OsString> {
    let all = env::split_paths(path).chain([programs.to_owned()]);
    env::join_paths(all).with_context(|| format!("'{}' cannot be in PATH", programs.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_machines_own_python_comes_first() {
        let path = behind(&"/usr/bin:/bin".into(), Path::new("/tools/bin")).unwrap();
        assert_eq!(path, "/usr/bin:/bin:/tools/bin");
        assert!(behind(&OsString::new(), Path::new("/a:b")).is_err());
    }
}
