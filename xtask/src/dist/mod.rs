//! `dist`: two static binaries, the command and the CNI plugin, and a Debian package of them, the same
//! from the same sources.

mod binary;
mod deb;
mod manual;
mod stage;

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, ensure};
use clap::Args;

pub use self::binary::Binaries;

/// Where it goes.
#[derive(Args)]
pub struct Options {
    /// The directory for the package and the binaries; target/dist if left out
    #[arg(long)]
    out: Option<PathBuf>,
}

/// Builds the binaries alone.
///
/// # Errors
/// One cannot be built, is not static, is too large, or does not run.
pub fn binaries(root: &Path) -> Result<Binaries> {
    let built = binary::build(root)?;
    binary::check(&built)?;
    Ok(built)
}

/// Builds binaries and package.
///
/// # Errors
/// As [`binaries`], the package cannot be packed, or a tool is missing.
pub fn dist(root: &Path, options: &Options) -> Result<()> {
    ensure!(
        crate::command::find("dpkg-deb").is_some(),
        "a Debian package is made with dpkg-deb, which is not in PATH"
    );
    let out = options.out.clone().unwrap_or_else(|| root.join("target/dist"));
    fs::create_dir_all(&out).with_context(|| format!("cannot create '{}'", out.display()))?;
    let built = binaries(root)?;
    let scratch = tempfile::tempdir().context("cannot create a directory to pack in")?;
    let tree = scratch.path().join("macvlan-ctl");
    stage::fill(root, &built, &tree)?;
    let package = deb::pack(root, &tree, &out)?;
    let mut made = vec![package];
    for built in [&built.control, &built.plugin] {
        let binary = out.join(built.file_name().context("a binary has no name")?);
        fs::copy(built, &binary).with_context(|| format!("cannot write '{}'", binary.display()))?;
        made.insert(made.len() - 1, binary);
    }
    for path in &made {
        let len = fs::metadata(path).with_context(|| format!("cannot read '{}'", path.display()))?.len();
        println!("{}  {} ({} KiB)", deb::digest(path)?, path.display(), len / 1024);
    }
    Ok(())
}
