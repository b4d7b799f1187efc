//! Which containers have processes in which namespaces.

use std::{
    collections::HashMap,
    fs::{self, File},
    io::Read as _,
};

use crate::{
    discovery::containers::cgroup::{Mention, mentions},
    kernel::netns::NetnsId,
};

/// Longest `/proc/PID/cgroup` that is read: a line for each of a dozen hierarchies, none longer
/// than a path.
const MAX_CGROUP_LEN: u64 = 64 << 10;

/// Most processes of one namespace that are looked at. Any process of a container tells, and each
/// look waits for a lock of all cgroups (`proc_cgroup_show` in `kernel/cgroup/cgroup.c`).
const MAX_PROCESSES: usize = 16;

/// The containers of each network namespace but our own, as the process with the lowest id tells:
/// the one that a namespace was made for is there before others join it.
pub fn containers_by_netns() -> HashMap<NetnsId, Vec<Mention>> {
    let own = NetnsId::of_path("/proc/thread-self/ns/net");
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let mut processes: Vec<u32> =
        entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect();
    processes.sort_unstable();
    let mut found: HashMap<NetnsId, (usize, Vec<Mention>)> = HashMap::new();
    for process in processes {
        let netns = NetnsId::of_process(process);
        if let Some(netns) = netns.filter(|netns| Some(*netns) != own) {
            let (asked, known) = found.entry(netns).or_default();
            if known.is_empty() && *asked < MAX_PROCESSES {
                *asked += 1;
                *known = cgroup(process).map_or_else(Vec::new, |text| mentions(&text));
            }
        }
    }
    found.into_iter().map(|(netns, (_, mentions))| (netns, mentions)).collect()
}

fn cgroup(process: u32) -> Option<String> {
    let mut text = String::new();
    let file = File::open(format!("/proc/{process}/cgroup")).ok()?;
    file.take(MAX_CGROUP_LEN).read_to_string(&mut text).ok()?;
    Some(text)
}
