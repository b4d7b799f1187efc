//! `hygiene`: rules for the project's files that no other tool checks.

use std::{fs, path::Path};

use anyhow::{Context as _, Result, bail};
use toml::{Table, Value};

use crate::workspace::{self, read_text};

const LICENSES: [&str; 3] = ["LICENSE-MIT", "LICENSE-APACHE", "LICENSE-GPL-2.0"];

/// Where people and builds have their files: paths below are of one machine. In two parts each, or
/// this file would break the rule.
const DIRECTORIES: [&str; 3] = [concat!("/", "work/"), concat!("/", "root/"), concat!("/", "home/")];

/// Hosts that packages come from: each machine has its own, set elsewhere.
const HOSTS: [&str; 4] = [
    concat!("crates", ".io"),
    concat!("static", ".rust-lang.org"),
    concat!("deb", ".debian.org"),
    concat!("snapshot", ".debian.org"),
];

/// Cargo writes the registry's name into these, the same on every machine.
const LOCK: &str = "Cargo.lock";

/// Checks every rule.
///
/// # Errors
/// All that was found, or a file cannot be read.
pub fn check(root: &Path) -> Result<()> {
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
    let is_lock = |file: &Path| file.file_name().is_some_and(|name| name == LOCK);
    for file in workspace::files(root)?.iter().filter(|file| !is_lock(file)) {
        let content =
            fs::read(root.join(file)).with_context(|| format!("cannot read '{}'", file.display()))?;
        let names = machine_names(&String::from_utf8_lossy(&content));
        faults.extend(names.iter().map(|name| format!("'{}' contains {name:?}", file.display())));
    }
    match faults.as_slice() {
        [] => Ok(()),
        faults => bail!("{}", faults.join("\n       ")),
    }
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

/// What in `text` belongs to one machine only.
fn machine_names(text: &str) -> Vec<&'static str> {
    let directories = DIRECTORIES.into_iter().filter(|directory| has_path_from(text, directory));
    directories.chain(HOSTS.into_iter().filter(|host| text.contains(host))).collect()
}

/// Whether a path starts with `directory`, rather than having it further down.
fn has_path_from(text: &str, directory: &str) -> bool {
    let within = |c: char| c.is_alphanumeric() || "._-~})*".contains(c);
    text.match_indices(directory).any(|(at, _)| !text[..at].ends_with(within))
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

    #[test]
    fn only_a_path_from_the_root_is_of_a_machine() {
        for directory in DIRECTORIES {
            assert_eq!(machine_names(&format!("see {directory}file")), [directory]);
            assert_eq!(machine_names(&format!("\"{directory}\"")), [directory]);
            assert!(machine_names(&format!("target{directory}file and ${{X}}{directory}")).is_empty());
        }
    }

    #[test]
    fn a_registry_is_found_anywhere() {
        for host in HOSTS {
            assert_eq!(machine_names(&format!("mirror.{host}-1")), [host]);
        }
        assert!(machine_names("https://docs.kernel.org/bpf/").is_empty());
    }
}
