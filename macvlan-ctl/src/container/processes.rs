//! Which containers have processes in which namespaces.

use std::{
    collections::HashMap,
    fs::{self, File},
    io::Read as _,
};

use super::cgroup::{Mention, mentions};
use crate::netns::NetnsId;

/// Longest `/proc/PID/cgroup` that is read: a line for each of a dozen hierarchies, none longer
/// than a path.
const MAX_CGROUP_LEN: u64 = 64 << 10;

/// The containers of each network namespace but our own, those of the process with the lowest id
/// first: the one that a namespace was made for is there before others join it.
pub fn containers_by_netns() -> HashMap<NetnsId, Vec<Mention>> {
    let own = NetnsId::of_path("/proc/thread-self/ns/net");
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let mut processes: Vec<u32> =
        entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect();
    processes.sort_unstable();
    let mut found: HashMap<NetnsId, Vec<Mention>> = HashMap::new();
    for process in processes {
        let netns = NetnsId::of_process(process);
        if let Some(netns) = netns.filter(|netns| Some(*netns) != own) {
            let known = found.entry(netns).or_default();
            for mention in cgroup(process).map_or_else(Vec::new, |text| mentions(&text)) {
                if known.iter().all(|known| known.id != mention.id) {
                    known.push(mention);
                }
            }
        }
    }
    found
}

fn cgroup(process: u32) -> Option<String> {
    let mut text = String::new();
    let file = File::open(format!("/proc/{process}/cgroup")).ok()?;
    file.take(MAX_CGROUP_LEN).read_to_string(&mut text).ok()?;
    Some(text)
}
