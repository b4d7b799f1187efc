//! What `cargo xtask dist` makes: the Debian and the RPM package, with the static binaries in them.

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
    made_package("deb")
});

/// The RPM package, made now.
pub static RPM: LazyLock<PathBuf> = LazyLock::new(|| made_package("rpm"));

fn made_package(ending: &str) -> PathBuf {
    static MADE: LazyLock<PathBuf> = LazyLock::new(|| {
        let out = workspace().join("target/dist");
        make_package(&out);
        out
    });
    package_in(&MADE, ending)
}

/// Runs `cargo xtask dist`: minutes the first time, so it has no limit of time here.
#[track_caller]
pub fn make_package(out: &Path) {
    let mut dist = Command::new("cargo");
    dist.current_dir(workspace()).args(["run", "--quiet", "--package", "xtask", "--", "dist", "--out"]);
    let made = dist.arg(out).output().or_fail("run cargo");
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
}

/// The package of this kind that was made in a directory.
#[track_caller]
pub fn package_in(directory: &Path, kind: &str) -> PathBuf {
    let entries = fs::read_dir(directory).or_fail("list what was packed");
    let mut packages = entries.map(|entry| entry.or_fail("list what was packed").path());
    packages.find(|path| path.extension().is_some_and(|ending| ending == kind)).or_fail("find a package")
}
