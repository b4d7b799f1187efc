//! What the workspace must have: lints in every member, the licenses, a section for the next release.

use std::{fs, path::Path};

use anyhow::{Context as _, Result};
use toml::{Table, Value};

use crate::workspace::read_text;

const LICENSES: [&str; 3] = ["LICENSE-MIT", "LICENSE-APACHE", "LICENSE-GPL-2.0"];

/// Each thing that is missing.
///
/// # Errors
/// A manifest cannot be read or parsed.
pub fn faults(root: &Path) -> Result<Vec<String>> {
    let mut faults = Vec::new();
    for manifest in member_manifests(&read_text(&root.join("Cargo.toml"))?)? {
        if !inherits_lints(&read_text(&root.join(&manifest))?)? {
            faults.push(format!("'{manifest}' lacks `[lints] workspace = true`"));
        }
    }
    for license in LICENSES {
        if !root.join(license).is_file() {
            faults.push(format!("'{license}' is missing"));
        }
    }
    if !has_unreleased(&fs::read_to_string(root.join("CHANGELOG.md")).unwrap_or_default()) {
        faults.push("'CHANGELOG.md' has no section \"Unreleased\"".into());
    }
    Ok(faults)
}

fn member_manifests(workspace: &str) -> Result<Vec<String>> {
    let workspace: Table = workspace.parse().context("cannot parse 'Cargo.toml'")?;
    let members = workspace.get("workspace").and_then(|workspace| workspace.get("members"));
    let members = members.and_then(Value::as_array).context("'Cargo.toml' lists no members")?;
    Ok(members.iter().filter_map(Value::as_str).map(|member| format!("{member}/Cargo.toml")).collect())
}

fn inherits_lints(manifest: &str) -> Result<bool> {
    let manifest: Table = manifest.parse().context("cannot parse a member's 'Cargo.toml'")?;
    let inherited = manifest.get("lints").and_then(|lints| lints.get("workspace"));
    Ok(inherited.and_then(Value::as_bool) == Some(true))
}

fn has_unreleased(changelog: &str) -> bool {
    changelog.lines().any(|line| line.starts_with("## ") && line.contains("Unreleased"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_member_is_looked_at() {
        let manifests = member_manifests("workspace.members = ['a', 'b/c']").unwrap();
        assert_eq!(manifests, ["a/Cargo.toml", "b/c/Cargo.toml"]);
        assert!(member_manifests("").is_err());
    }

    #[test]
    fn lints_are_inherited_only_when_it_says_so() {
        assert!(inherits_lints("lints.workspace = true").unwrap());
        assert!(!inherits_lints("lints.workspace = false").unwrap());
        assert!(!inherits_lints("[lints.rust]\nmissing_docs = 'warn'").unwrap());
        assert!(!inherits_lints("").unwrap());
    }

    #[test]
    fn unreleased_is_a_heading() {
        assert!(has_unreleased("# Changelog\n\n## [Unreleased]\n"));
        assert!(!has_unreleased("Unreleased changes are not listed\n"));
    }
}
