//! Network namespaces that a name, a process or an open file leads to.

use std::{
    collections::HashMap,
    fs,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, bail};

use crate::kernel::netns::{NAMED, Netns, NetnsId, NetnsRef};

/// Where Docker keeps its sandboxes.
const DOCKER: &str = "/run/docker/netns";

/// How many ways to a namespace are remembered. A process that leads there may end at once, as may one that holds it
/// open for a moment: another macvlan-ctl that looks around.
const MOST_WAYS: usize = 8;

/// A namespace that can be opened, and the best name for it.
#[derive(Debug, Clone)]
pub struct Known {
    /// Its identity.
    pub id: NetnsId,
    /// Its name under `/run/netns`, else the path.
    pub label: String,
    /// Where it can be opened, or could be.
    paths: Vec<PathBuf>,
}

impl Known {
    /// The namespace, by whatever way leads there still.
    ///
    /// # Errors
    ///
    /// None does: it may be gone, or another may be at its name; or it may not be opened.
    pub fn open(&self) -> Result<Netns> {
        let mut failed = None;
        for path in &self.paths {
            match NetnsRef::Path(path.clone()).open() {
                Ok(netns) if netns.id() == self.id => return Ok(netns),
                Ok(_) => {}
                Err(error) => failed = failed.or(Some(error)),
            }
        }
        match failed {
            Some(error) => {
                Err(error).with_context(|| format!("cannot open network namespace {:?}", self.label))
            }
            None => bail!("another network namespace is at {:?} by now", self.label),
        }
    }
}

/// What was found by now.
#[derive(Default)]
struct Found(HashMap<NetnsId, Known>);

impl Found {
    fn add(&mut self, path: PathBuf, label: String) {
        let Ok(meta) = fs::metadata(&path) else { return };
        let id = NetnsId { device: meta.dev(), inode: meta.ino() };
        let known = self.0.entry(id).or_insert_with(|| Known { id, label, paths: Vec::new() });
        if known.paths.len() < MOST_WAYS {
            known.paths.push(path);
        }
    }
}

/// Every namespace that this process can find a path to: the named ones, the container engines'
/// sandboxes, and those of all visible processes.
pub fn known() -> Vec<Known> {
    let mut found = Found::default();
    for entry in entries(NAMED) {
        let label = entry.file_name().map_or_else(String::new, |name| name.to_string_lossy().into_owned());
        found.add(entry, label);
    }
    for entry in entries(DOCKER) {
        let label = entry.to_string_lossy().into_owned();
        found.add(entry, label);
    }
    // In the order of their ids, so that a namespace keeps its label; we ourselves are soon gone.
    let mut processes: Vec<u32> =
        entries("/proc").filter_map(|entry| entry.file_name()?.to_str()?.parse().ok()).collect();
    processes.sort_unstable();
    for process in processes.into_iter().filter(|process| *process != std::process::id()) {
        let path = PathBuf::from(format!("/proc/{process}/ns/net"));
        let label = path.to_string_lossy().into_owned();
        found.add(path, label);
    }
    let own_device = Netns::current().map(|own| own.id.device);
    // A name whose namespace was unmounted is a plain file, on another device.
    found
        .0
        .into_values()
        .filter(|known| own_device.as_ref().is_ok_and(|own| *own == known.id.device))
        .collect()
}

/// Namespaces that a process keeps open without being in one: found by looking through every open
/// file of every visible process, which takes long on a large machine.
pub fn held_open() -> Vec<Known> {
    let mut found = Found::default();
    for process in entries("/proc") {
        for path in entries(process.join("fd")) {
            let is_netns = fs::read_link(&path)
                .is_ok_and(|target| target.as_os_str().as_encoded_bytes().starts_with(b"net:["));
            if is_netns {
                let label = path.to_string_lossy().into_owned();
                found.add(path, label);
            }
        }
    }
    found.0.into_values().collect()
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
        let own_path = PathBuf::from(format!("/proc/{}/ns/net", std::process::id()));
        assert!(!found.unwrap().paths.contains(&own_path));
    }
    #[test]
    fn a_namespace_is_opened_by_the_way_that_leads_there_still() {
        let own = Netns::current().unwrap();
        let known = |paths: &[&str]| Known {
            id: own.id(),
            label: "label".into(),
            paths: paths.iter().map(PathBuf::from).collect(),
        };
        let gone = "/proc/0/ns/net";
        assert_eq!(known(&[gone, "/proc/self/ns/net"]).open().unwrap().id(), own.id());
        assert!(format!("{:#}", known(&[gone]).open().unwrap_err()).contains("\"label\""));
    }
}
