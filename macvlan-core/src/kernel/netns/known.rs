//! Network namespaces that a name, a process or an open file leads to.

use std::{
    collections::HashMap,
    fs,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

use crate::kernel::netns::{NAMED, Netns, NetnsId};

/// Where Docker keeps its sandboxes.
const DOCKER: &str = "/run/docker/netns";

/// A namespace that can be opened, and the best name for it.
#[derive(Debug, Clone)]
pub struct Known {
    /// Its identity.
    pub id: NetnsId,
    /// Where it can be opened.
    pub path: PathBuf,
    /// Its name under `/run/netns`, else the path.
    pub label: String,
}

/// Every namespace that this process can find a path to: the named ones, the container engines'
/// sandboxes, and those of all visible processes.
pub fn known() -> Vec<Known> {
    let mut found: HashMap<NetnsId, Known> = HashMap::new();
    let mut add = |path: PathBuf, label: String| {
        let Ok(meta) = fs::metadata(&path) else { return };
        let id = NetnsId { device: meta.dev(), inode: meta.ino() };
        found.entry(id).or_insert(Known { id, path, label });
    };
    for entry in entries(NAMED) {
        let label = entry.file_name().map_or_else(String::new, |name| name.to_string_lossy().into_owned());
        add(entry, label);
    }
    for entry in entries(DOCKER) {
        let label = entry.to_string_lossy().into_owned();
        add(entry, label);
    }
    // In the order of their ids, so that a namespace keeps its label; we ourselves are soon gone.
    let mut processes: Vec<u32> =
        entries("/proc").filter_map(|entry| entry.file_name()?.to_str()?.parse().ok()).collect();
    processes.sort_unstable();
    for process in processes.into_iter().filter(|process| *process != std::process::id()) {
        let path = PathBuf::from(format!("/proc/{process}/ns/net"));
        let label = path.to_string_lossy().into_owned();
        add(path, label);
    }
    let own_device = Netns::current().map(|own| own.id.device);
    // A name whose namespace was unmounted is a plain file, on another device.
    found.into_values().filter(|known| own_device.as_ref().is_ok_and(|own| *own == known.id.device)).collect()
}

/// Namespaces that a process keeps open without being in one: found by looking through every open
/// file of every visible process, which takes long on a large machine.
pub fn held_open() -> Vec<Known> {
    let mut found: HashMap<NetnsId, Known> = HashMap::new();
    for process in entries("/proc") {
        for path in entries(process.join("fd")) {
            let is_netns = fs::read_link(&path)
                .is_ok_and(|target| target.as_os_str().as_encoded_bytes().starts_with(b"net:["));
            if is_netns && let Ok(meta) = fs::metadata(&path) {
                let id = NetnsId { device: meta.dev(), inode: meta.ino() };
                let label = path.to_string_lossy().into_owned();
                found.entry(id).or_insert(Known { id, path, label });
            }
        }
    }
    found.into_values().collect()
}

fn entries(directory: impl AsRef<Path>) -> impl Iterator<Item = PathBuf> {
    fs::read_dir(directory).into_iter().flatten().flatten().map(|entry| entry.path())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_namespace_is_known_by_a_process_in_it() {
        let mut resident = std::process::Command::new("sleep").arg("60").spawn().unwrap();
        let own = Netns::current().unwrap();
        let found = known().into_iter().find(|known| known.id == own.id());
        resident.kill().unwrap();
        resident.wait().unwrap();
        assert_ne!(found.unwrap().path, PathBuf::from(format!("/proc/{}/ns/net", std::process::id())));
    }
}
