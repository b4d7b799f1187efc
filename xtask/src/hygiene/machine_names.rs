//! Names that belong to one machine: they have no place in the project's files.

use std::{fs, path::Path};

use anyhow::{Context as _, Result};

use crate::workspace;

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

/// Each file that names what belongs to one machine.
///
/// # Errors
/// The files cannot be listed or read.
pub fn faults(root: &Path) -> Result<Vec<String>> {
    let mut faults = Vec::new();
    let is_lock = |file: &Path| file.file_name().is_some_and(|name| name == LOCK);
    for file in workspace::files(root)?.iter().filter(|file| !is_lock(file)) {
        let content =
            fs::read(root.join(file)).with_context(|| format!("cannot read '{}'", file.display()))?;
        let names = machine_names(&String::from_utf8_lossy(&content));
        faults.extend(names.iter().map(|name| format!("'{}' contains {name:?}", file.display())));
    }
    Ok(faults)
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
