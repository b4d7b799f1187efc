//! What `cargo xtask dist` makes: the Debian package, with the static binary in it.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    sync::LazyLock,
};

use crate::{cli::workspace, fail::OrFail as _};

/// The package: that of `MACVLAN_CTL_DEB` or, without it, what `cargo xtask dist` makes now.
pub static PACKAGE: LazyLock<PathBuf> = LazyLock::new(|| {
    if let Some(path) = std::env::var_os("MACVLAN_CTL_DEB") {
        return path.into();
    }
    let out = workspace().join("target/dist");
    make_package(&out);
    package_in(&out)
});

/// Runs `cargo xtask dist`: minutes the first time, so it has no limit of time here.
#[track_caller]
pub fn make_package(out: &Path) {
    let mut dist = Command::new("cargo");
    dist.current_dir(workspace()).args(["run", "--quiet", "--package", "xtask", "--", "dist", "--out"]);
    let made = dist.arg(out).output().or_fail("run cargo");
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
}

/// The package that was made in a directory.
#[track_caller]
pub fn package_in(directory: &Path) -> PathBuf {
    let entries = fs::read_dir(directory).or_fail("list what was packed");
    let mut packages = entries.map(|entry| entry.or_fail("list what was packed").path());
    packages.find(|path| path.extension().is_some_and(|ending| ending == "deb")).or_fail("find a package")
}
