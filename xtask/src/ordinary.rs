//! `cargo test` as an ordinary user: shows that those tests need no privileges.

use std::{
    fs::{self, Permissions},
    os::unix::fs::PermissionsExt as _,
    path::Path,
    process::Command,
};

use anyhow::{Context as _, Result, ensure};

use crate::{
    artifacts::{self, Executable},
    command::{cargo, read, run},
    workspace,
};

/// `nobody`, who owns nothing.
const USER: &str = "65534";

/// Builds the tests of the default members in a copy of the workspace that everybody can read, and
/// runs them as an ordinary user.
///
/// # Errors
/// This is not run by root, the tests cannot be built, or one fails.
pub fn test(root: &Path) -> Result<()> {
    let copy = tempfile::tempdir().context("cannot create a directory to build in")?;
    fs::set_permissions(copy.path(), Permissions::from_mode(0o755))
        .with_context(|| format!("cannot open '{}' to everybody", copy.path().display()))?;
    workspace::copy(root, copy.path())?;

    let mut build = cargo(copy.path());
    // What the copy needs of others is built, or will be used, where the workspace has it.
    build.args(["test", "--no-run", "--message-format=json-render-diagnostics", "--target-dir"]);
    build.arg(root.join("target"));
    let messages = read(&mut build).context("cannot build the tests")?;
    let tests: Vec<_> =
        artifacts::executables(&messages)?.into_iter().filter(|executable| executable.is_test).collect();
    ensure!(!tests.is_empty(), "cargo built no tests");
    for mut test in tests {
        let readable = copy.path().join(test.path.file_name().context("cargo built a test without a name")?);
        fs::copy(&test.path, &readable).with_context(|| format!("cannot copy '{}'", test.path.display()))?;
        test.path = readable;
        run(&mut as_ordinary_user(&test))
            .with_context(|| format!("'{}' failed as an ordinary user", test.name))?;
    }
    Ok(())
}

/// The program with no more rights and variables than such a user has, started where cargo would.
fn as_ordinary_user(test: &Executable) -> Command {
    let mut command = Command::new("setpriv");
    command.current_dir(&test.package);
    command.args(["--reuid", USER, "--regid", USER, "--clear-groups", "--no-new-privs"]);
    command.args(["--inh-caps=-all", "--bounding-set=-all", "env", "--ignore-environment"]);
    command.args(["PATH=/usr/bin:/bin", "HOME=/nonexistent"]);
    command.arg(format!("CARGO_MANIFEST_DIR={}", test.package.display())).arg(&test.path);
    command
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_program_is_the_last_word() {
        let test = Executable {
            name: "t".into(),
            path: "/built/t".into(),
            package: "/package".into(),
            is_test: true,
        };
        let command = as_ordinary_user(&test);
        assert_eq!(command.get_args().last().unwrap(), "/built/t");
        assert_eq!(command.get_current_dir(), Some(Path::new("/package")));
    }
}
