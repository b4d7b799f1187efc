//! `dist`: two static binaries, the command and the CNI plugin, a Debian and an RPM package of them, and what they are
//! made of; the same from the same sources.

mod binary;
mod deb;
mod manual;
mod release;
mod rpm;
mod sbom;
mod stage;

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, ensure};
use clap::Args;

pub use self::binary::Binaries;
use crate::command;

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

/// Builds binaries and packages.
///
/// # Errors
/// As [`binaries`], a package cannot be packed, or a tool is missing.
pub fn dist(root: &Path, options: &Options) -> Result<()> {
    for (kind, tool) in [("a Debian", "dpkg-deb"), ("an RPM", rpm::TOOL)] {
        ensure!(command::find(tool).is_some(), "{kind} package is made with {tool}, which is not in PATH");
    }
    let out = options.out.clone().unwrap_or_else(|| root.join("target/dist"));
    fs::create_dir_all(&out).with_context(|| format!("cannot create '{}'", out.display()))?;
    let built = binaries(root)?;
    let scratch = tempfile::tempdir().context("cannot create a directory to pack in")?;
    let tree = scratch.path().join("macvlan-ctl");
    stage::fill(root, &built, &tree)?;
    let bill = tree.join(stage::DOC).join(stage::SBOM);
    let mut made = Vec::new();
    for file in [&built.control, &built.plugin, &bill] {
        let copy = out.join(file.file_name().context("a file has no name")?);
        fs::copy(file, &copy).with_context(|| format!("cannot write '{}'", copy.display()))?;
        made.push(copy);
    }
    made.extend([deb::pack(root, &tree, &out)?, rpm::pack(root, &tree, &out)?]);
    for path in &made {
        let len = fs::metadata(path).with_context(|| format!("cannot read '{}'", path.display()))?.len();
        println!("{}  {} ({} KiB)", deb::digest(path)?, path.display(), len / 1024);
    }
    Ok(())
}
