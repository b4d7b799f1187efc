//! The Debian package: its own data, and how it is packed.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, bail};
use sha2::{Digest as _, Sha256};

use super::{
    release::{epoch, version},
    stage::put,
};
use crate::{
    command::{read, run},
    workspace::read_text,
};

/// Scripts that dpkg runs.
const SCRIPTS: [&str; 3] = ["postinst", "prerm", "postrm"];

/// Packs `tree` into a package in the directory `out`.
///
/// # Errors
/// The changelog speaks of another version than the workspace, or dpkg-deb fails.
pub fn pack(root: &Path, tree: &Path, out: &Path) -> Result<PathBuf> {
    let version = version(root)?;
    let architecture = architecture(std::env::consts::ARCH)?;
    let control = tree.join("DEBIAN");
    let template = read_text(&root.join("deploy/debian/control"))?;
    let text = fill_in(&template, &version, architecture, installed_size(tree)?);
    put(text.as_bytes(), &control.join("control"), 0o644)?;
    for script in SCRIPTS {
        let text = read_text(&root.join("deploy/debian").join(script))?;
        put(text.as_bytes(), &control.join(script), 0o755)?;
    }
    put(checksums(tree)?.as_bytes(), &control.join("md5sums"), 0o644)?;
    let package = out.join(format!("macvlan-ctl_{version}_{architecture}.deb"));
    let mut build = Command::new("dpkg-deb");
    build.args(["--root-owner-group", "--uniform-compression", "-Zxz", "--build"]).arg(tree).arg(&package);
    // dpkg-deb takes it for the time of the archive, and of all that is newer in it.
    run(build.env("SOURCE_DATE_EPOCH", epoch(root)?))?;
    Ok(package)
}

/// Debian's name for an architecture of Rust.
fn architecture(name: &str) -> Result<&'static str> {
    match name {
        "x86_64" => Ok("amd64"),
        "aarch64" => Ok("arm64"),
        other => bail!("no package is made for {other}"),
    }
}

fn fill_in(template: &str, version: &str, architecture: &str, size: u64) -> String {
    template
        .replace("@VERSION@", version)
        .replace("@ARCHITECTURE@", architecture)
        .replace("@SIZE@", &size.to_string())
}

/// What the files take, in KiB.
fn installed_size(tree: &Path) -> Result<u64> {
    let mut size = 0;
    for file in files(tree)? {
        let path = tree.join(&file);
        size += fs::metadata(&path).with_context(|| format!("cannot read '{}'", path.display()))?.len();
    }
    Ok(size.div_ceil(1024))
}

/// `md5sums`, which `dpkg --verify` reads.
fn checksums(tree: &Path) -> Result<String> {
    let files = files(tree)?;
    let mut sum = Command::new("md5sum");
    read(sum.current_dir(tree).args(&files)).context("cannot sum up the files")
}

/// Every file that is installed, by its path in the tree, in a fixed order; links have no content.
fn files(tree: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    let mut directories = vec![tree.to_owned()];
    while let Some(directory) = directories.pop() {
        let unreadable = || format!("cannot list '{}'", directory.display());
        for entry in fs::read_dir(&directory).with_context(unreadable)? {
            let path = entry.with_context(unreadable)?.path();
            let inside = path.strip_prefix(tree).context("a file is outside of its tree")?.to_owned();
            if path.is_dir() {
                directories.push(path);
            } else if !inside.starts_with("DEBIAN") && !path.is_symlink() {
                found.push(inside);
            }
        }
    }
    found.sort();
    Ok(found)
}

/// The sum of a file, for whoever downloads it.
///
/// # Errors
/// The file cannot be read.
pub fn digest(path: &Path) -> Result<String> {
    let content = fs::read(path).with_context(|| format!("cannot read '{}'", path.display()))?;
    Ok(Sha256::digest(content).iter().map(|byte| format!("{byte:02x}")).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_control_file_is_filled_in_whole() {
        let template = read_text(&crate::workspace::root().join("deploy/debian/control")).unwrap();
        let text = fill_in(&template, "1.2-3", "amd64", 5);
        assert!(text.contains("Version: 1.2-3\n") && text.contains("Architecture: amd64\n"));
        assert!(!text.contains('@') || text.matches('@').count() == 1, "{text}");
    }

    #[test]
    fn files_are_found_at_any_depth_without_the_packages_own() {
        let tree = tempfile::tempdir().unwrap();
        for file in ["usr/bin/b", "a", "DEBIAN/control"] {
            put(b"12345", &tree.path().join(file), 0o644).unwrap();
        }
        assert_eq!(files(tree.path()).unwrap(), [PathBuf::from("a"), PathBuf::from("usr/bin/b")]);
        assert_eq!(installed_size(tree.path()).unwrap(), 1);
        assert!(checksums(tree.path()).unwrap().contains("  usr/bin/b\n"));
    }
}
