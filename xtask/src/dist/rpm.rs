//! The RPM package: the same files and scripts as the Debian one, packed by `rpmbuild` after
//! `deploy/rpm/macvlan-ctl.spec`.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result};

use super::{
    release::{epoch, version},
    stage::put,
};
use crate::{command::run, workspace::read_text};

/// What packs.
pub const TOOL: &str = "rpmbuild";

const SPEC: &str = "deploy/rpm/macvlan-ctl.spec";

/// Scripts of the Debian package, and where the text stands for them.
const SCRIPTS: [(&str, &str); 3] = [
    ("@POSTINST@", "deploy/debian/postinst"),
    ("@PRERM@", "deploy/debian/prerm"),
    ("@POSTRM@", "deploy/debian/postrm"),
];

/// Packs `tree`, as the Debian package has it, into a package in the directory `out`.
///
/// # Errors
/// A file is missing, or `rpmbuild` fails.
pub fn pack(root: &Path, tree: &Path, out: &Path) -> Result<PathBuf> {
    let version = version(root)?;
    let (upstream, release) = version.rsplit_once('-').unwrap_or((&version, "1"));
    let mut spec = read_text(&root.join(SPEC))?
        .replace("@VERSION@", upstream)
        .replace("@RELEASE@", release)
        .replace("@TREE@", &tree.display().to_string());
    for (place, script) in SCRIPTS {
        // A macro of RPM begins as this does.
        spec = spec.replace(place, &read_text(&root.join(script))?.replace('%', "%%"));
    }
    let scratch = tempfile::tempdir().context("cannot create a directory to pack in")?;
    let path = scratch.path().join("macvlan-ctl.spec");
    put(spec.as_bytes(), &path, 0o644)?;
    let mut build = Command::new(TOOL);
    for (name, value) in [
        ("_topdir", &*scratch.path().display().to_string()),
        ("_rpmdir", &*scratch.path().join("packed").display().to_string()),
        ("_buildhost", "localhost"),
        ("use_source_date_epoch_as_buildtime", "1"),
        ("clamp_mtime_to_source_date_epoch", "1"),
        ("source_date_epoch_from_changelog", "0"),
    ] {
        build.args(["--define", &format!("{name} {value}")]);
    }
    let architecture = std::env::consts::ARCH;
    run(build
        .args(["-bb", "--quiet", "--target", architecture])
        .arg(&path)
        .env("SOURCE_DATE_EPOCH", epoch(root)?))?;
    let name = format!("macvlan-ctl-{version}.{architecture}.rpm");
    let (packed, package) = (scratch.path().join("packed").join(architecture).join(&name), out.join(&name));
    fs::copy(&packed, &package).with_context(|| format!("cannot write '{}'", package.display()))?;
    Ok(package)
}
