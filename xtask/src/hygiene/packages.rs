//! The packages of the workspace and the crates in them.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use serde::Deserialize;

use crate::command::{cargo, read_again};

#[derive(Deserialize)]
struct Metadata {
    packages: Vec<Package>,
}

/// A member of the workspace.
#[derive(Deserialize)]
pub struct Package {
    pub name: String,
    manifest_path: PathBuf,
    pub targets: Vec<Target>,
}

/// A crate: a library, a program, a test.
#[derive(Deserialize)]
pub struct Target {
    kind: Vec<String>,
    /// Its root file.
    pub src_path: PathBuf,
}

impl Package {
    pub fn directory(&self) -> &Path {
        self.manifest_path.parent().unwrap_or(&self.manifest_path)
    }

    /// The library's root file.
    pub fn library(&self) -> Option<&Path> {
        let mut targets = self.targets.iter();
        targets
            .find(|target| target.kind.iter().any(|kind| kind == "lib"))
            .map(|target| target.src_path.as_path())
    }
}

/// The members of the workspace at `root`.
///
/// # Errors
/// Cargo cannot read a manifest.
pub fn members(root: &Path) -> Result<Vec<Package>> {
    let mut metadata = cargo(root);
    metadata.args(["metadata", "--no-deps", "--format-version", "1"]);
    let metadata: Metadata =
        serde_json::from_str(&read_again(&mut metadata)?).context("cannot read what cargo says")?;
    Ok(metadata.packages)
}
