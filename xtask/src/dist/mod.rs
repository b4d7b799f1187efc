//! `dist`: one static binary, and a Debian package of it, the same from the same sources.

mod binary;
mod deb;
mod stage;

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, ensure};
use clap::Args;

/// Where it goes.
#[derive(Args)]
pub struct Options {
    /// The directory for the package and the binary; target/dist if left out
    #[arg(long)]
    out: Option<PathBuf>,
}

/// Builds the binary alone.
///
/// # Errors
/// It cannot be built, is not static, or does not run.
pub fn binary(root: &Path) -> Result<PathBuf> {
    let built = binary::build(root)?;
    binary::check(&built)?;
    Ok(built)
}

/// Builds binary and package.
///
/// # Errors
/// Something cannot be built, the binary is not static or does not run, or a tool is missing.
pub fn dist(root: &Path, options: &Options) -> Result<()> {
    ensure!(
        crate::command::find("dpkg-deb").is_some(),
        "a Debian package is made with dpkg-deb, which is not in PATH"
    );
    let out = options.out.clone().unwrap_or_else(|| root.join("target/dist"));
    fs::create_dir_all(&out).with_context(|| format!("cannot create '{}'", out.display()))?;
    let built = binary(root)?;
    let scratch = tempfile::tempdir().context("cannot create a directory to pack in")?;
    let tree = scratch.path().join("macvlan-ctl");
    stage::fill(root, &built, &tree)?;
    let package = deb::pack(root, &tree, &out)?;
    let binary = out.join("macvlan-ctl");
    fs::copy(&built, &binary).with_context(|| format!("cannot write '{}'", binary.display()))?;
    for path in [&binary, &package] {
        let len = fs::metadata(path).with_context(|| format!("cannot read '{}'", path.display()))?.len();
        println!("{}  {} ({} KiB)", deb::digest(path)?, path.display(), len / 1024);
    }
    Ok(())
}
