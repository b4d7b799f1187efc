//! What all packages of a release bear: its version, and its time.

use std::{path::Path, process::Command};

use anyhow::{Context as _, Result, ensure};
use toml::Table;

use crate::{command::read, workspace::read_text};

/// The package's version: that of the changelog, which must be a revision of the workspace's.
///
/// # Errors
/// It is of another version of the workspace, or there is none.
pub fn version(root: &Path) -> Result<String> {
    let manifest: Table =
        read_text(&root.join("Cargo.toml"))?.parse().context("cannot parse 'Cargo.toml'")?;
    let of_workspace = manifest
        .get("workspace")
        .and_then(|workspace| workspace.get("package")?.get("version")?.as_str())
        .context("'Cargo.toml' has no version")?;
    let changelog = read_text(&root.join("deploy/debian/changelog"))?;
    let version = first_version(&changelog).context("'deploy/debian/changelog' has no version")?;
    let (upstream, _) = version.rsplit_once('-').unwrap_or((version, ""));
    ensure!(
        upstream == of_workspace,
        "'deploy/debian/changelog' begins with version {version}, 'Cargo.toml' says {of_workspace}"
    );
    Ok(version.to_owned())
}

/// The version in the first line of a changelog: "name (version) suite; urgency=...".
fn first_version(changelog: &str) -> Option<&str> {
    let (_, rest) = changelog.lines().next()?.split_once(" (")?;
    Some(rest.split_once(')')?.0)
}

/// The time that the packages bear: what the environment says, else that of the last commit.
///
/// # Errors
/// There is neither.
pub fn epoch(root: &Path) -> Result<String> {
    if let Ok(epoch) = std::env::var("SOURCE_DATE_EPOCH") {
        return Ok(epoch);
    }
    let mut git = Command::new("git");
    git.current_dir(root).args(["log", "-1", "--format=%ct"]);
    Ok(read(&mut git).context("cannot tell the time of the last commit")?.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_changelog_of_the_package_is_of_this_version() {
        assert!(version(&crate::workspace::root()).unwrap().starts_with(env!("CARGO_PKG_VERSION")));
        assert_eq!(first_version("macvlan-ctl (1.2-3) unstable; urgency=low\n"), Some("1.2-3"));
        assert_eq!(first_version(""), None);
    }
}
