//! Where the project's files are.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result};

use crate::command::read;

/// The workspace that this program belongs to.
#[must_use]
pub fn root() -> PathBuf {
    let package = Path::new(env!("CARGO_MANIFEST_DIR"));
    package.parent().unwrap_or(package).to_owned()
}

/// The files of the project: tracked by git, or new and not ignored.
///
/// # Errors
/// `root` is no git checkout.
pub fn files(root: &Path) -> Result<Vec<PathBuf>> {
    let mut git = Command::new("git");
    git.current_dir(root).args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"]);
    let list = read(&mut git).context("cannot list the project's files")?;
    let mut files: Vec<PathBuf> = list.split_terminator('\0').map(PathBuf::from).collect();
    files.retain(|file| root.join(file).is_file());
    files.sort();
    files.dedup();
    Ok(files)
}

/// Copies the project's files into the directory `to`.
///
/// # Errors
/// The files cannot be listed, read or written.
pub fn copy(root: &Path, to: &Path) -> Result<()> {
    for file in files(root)? {
        let (from, to) = (root.join(&file), to.join(&file));
        let parent = to.parent().unwrap_or(&to);
        fs::create_dir_all(parent).with_context(|| format!("cannot create '{}'", parent.display()))?;
        fs::copy(&from, &to).with_context(|| format!("cannot copy '{}'", from.display()))?;
    }
    Ok(())
}

/// Reads a text file.
///
/// # Errors
/// It cannot be read, or is not UTF-8.
pub fn read_text(path: &Path) -> Result<String> {
    fs::read_to_string(path).with_context(|| format!("cannot read '{}'", path.display()))
}
