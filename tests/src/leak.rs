//! What the kernel holds of a lab, to be compared before and after.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs, io,
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

use aya::programs::{SchedClassifier, TcAttachType};
use macvlan_common::flood::is_index;
use serde_json::Value;

use crate::{
    cli::run,
    fail::{OrFail as _, patience},
    lab::Lab,
    mounts::BPFFS,
    require,
};

/// What there is on a lab's host: devices, queueing, programs, pins.
///
/// Comparing two shows what a command left behind. It speaks of this lab alone, so that other
/// tests may run meanwhile.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Traces {
    /// Devices of the host's namespace, with everything the kernel tells of them but counts.
    pub devices: Value,
    /// Addresses.
    pub addresses: Value,
    /// Queueing disciplines.
    pub qdiscs: Value,
    /// Filters of the master.
    pub filters: [Value; 2],
    /// Ids and names of the TCX programs of the master, ingress and egress.
    pub tcx: [Vec<(u32, String)>; 2],
    /// What frames pass on their way up at macvlan devices of the host's own.
    pub own: BTreeMap<String, Ingress>,
    /// Files in the lab's BPF file system.
    pub pins: BTreeSet<PathBuf>,
}

/// What is at the ingress of a device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ingress {
    /// Filters of a clsact qdisc.
    pub filters: Value,
    /// Ids and names of TCX programs.
    pub tcx: Vec<(u32, String)>,
}

impl Ingress {
    /// Nobody has put anything there.
    pub fn is_free(&self) -> bool {
        self.tcx.is_empty() && self.filters.as_array().is_none_or(Vec::is_empty)
    }
}

impl Traces {
    /// As it is now.
    #[track_caller]
    pub fn of(lab: &Lab) -> Self {
        let (ns, dev) = (&lab.host.ns, lab.host.dev.as_str());
        let tc = |args: &str| {
            let text = run(ns.command("tc").arg("-j").args(args.split_whitespace()));
            let mut value = if text.trim().is_empty() {
                Value::Null
            } else {
                serde_json::from_str(&text).or_fail(format!("read the output of `tc -j {args}`"))
            };
            forget_changing(&mut value);
            value
        };
        let mut devices = ns.ip_json("link show");
        let mut addresses = ns.ip_json("addr show");
        forget_changing(&mut devices);
        forget_changing(&mut addresses);
        let tcx = |side| ns.enter(|| tcx_programs(dev, side));
        let macvlans = ns.ip_json("link show type macvlan");
        let macvlans = macvlans.as_array().into_iter().flatten();
        let is_own = |link: &&Value| !link["ifindex"].as_u64().is_some_and(|index| is_index(index as u32));
        let names = macvlans.filter(is_own).filter_map(|link| link["ifname"].as_str().map(str::to_owned));
        let own = names.map(|name| {
            let filters = tc(&format!("filter show dev {name} ingress"));
            let tcx = ns.enter(|| tcx_programs(&name, TcAttachType::Ingress));
            (name, Ingress { filters, tcx })
        });
        Self {
            devices,
            addresses,
            qdiscs: tc("qdisc show"),
            filters: ["ingress", "egress"].map(|side| tc(&format!("filter show dev {dev} {side}"))),
            tcx: [tcx(TcAttachType::Ingress), tcx(TcAttachType::Egress)],
            own: own.collect(),
            pins: pins(lab),
        }
    }
}

/// Files in the lab's BPF file system.
#[track_caller]
pub fn pins(lab: &Lab) -> BTreeSet<PathBuf> {
    lab.mounts().enter(|| files_below(Path::new(BPFFS)))
}

/// Programs on the macvlan driver (`hooks/sending.rs` in macvlan-core).
pub const ON_DRIVER: [&str; 2] = ["macvlan_begin", "macvlan_end"];

/// Ids of the programs, maps and links in the kernel, of whatever namespace: for tests that run alone.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct KernelObjects {
    /// Programs with a name of ours.
    pub programs: BTreeSet<u32>,
    /// Maps with a name of ours.
    pub maps: BTreeSet<u32>,
    /// Links to those programs.
    pub links: BTreeSet<u32>,
}

impl KernelObjects {
    /// As they are now.
    #[track_caller]
    pub fn now() -> Self {
        use macvlan_common::names;
        let on_master = [names::XDP, names::XDP_FRAGS, names::INGRESS, names::EGRESS];
        let on_others =
            [names::CHILD_EGRESS, names::FLOOD_INGRESS, names::FLOOD_EGRESS, names::OWN_INGRESS, names::EAR];
        let ours = [&on_master[..], &on_others, &ON_DRIVER].concat();
        // What goes away while it is listed was not there.
        let programs = aya::programs::loaded_programs().filter_map(Result::ok);
        let programs: BTreeSet<u32> = programs
            .filter(|program| program.name_as_str().is_some_and(|name| ours.contains(&name)))
            .map(|program| program.id())
            .collect();
        let maps = aya::maps::loaded_maps().filter_map(Result::ok);
        let maps = maps.filter(|map| map.name_as_str().is_some_and(|name| names::MAPS.contains(&name)));
        let links = aya::programs::loaded_links().filter_map(Result::ok);
        let links = links.filter(|link| programs.contains(&link.program_id()));
        Self {
            maps: maps.map(|map| map.id()).collect(),
            links: links.map(|link| link.id()).collect(),
            programs,
        }
    }
}

impl KernelObjects {
    /// Waits until what is here and was not in `before` is gone. Tests beside this one make such objects
    /// too, and take them away when they end; what leaks stays.
    ///
    /// # Panics
    ///
    /// When something stays.
    #[track_caller]
    pub fn wait_until_gone(before: &Self) {
        let mut left = Self::now().without(before);
        let start = Instant::now();
        while left != Self::default() {
            assert!(start.elapsed() < 2 * patience(), "left in the kernel: {left:?}");
            thread::sleep(Duration::from_millis(50));
            left = left.which_is_in(&Self::now());
        }
    }

    fn without(&self, other: &Self) -> Self {
        self.each(other, |ids, others| ids - others)
    }

    fn which_is_in(&self, other: &Self) -> Self {
        self.each(other, |ids, others| ids & others)
    }

    fn each(&self, other: &Self, of: fn(&BTreeSet<u32>, &BTreeSet<u32>) -> BTreeSet<u32>) -> Self {
        Self {
            programs: of(&self.programs, &other.programs),
            maps: of(&self.maps, &other.maps),
            links: of(&self.links, &other.links),
        }
    }
}

/// What a process holds of the machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Held {
    /// Open files.
    pub files: usize,
    /// Bytes in memory.
    pub memory: u64,
}

impl Held {
    /// By this process, now.
    #[track_caller]
    pub fn now() -> Self {
        give_back_what_is_free();
        let files = fs::read_dir("/proc/self/fd").or_fail("list open files").count();
        let status = fs::read_to_string("/proc/self/status").or_fail("read a process's status");
        let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kibibytes = resident.and_then(|text| text.split_whitespace().next()?.parse::<u64>().ok());
        Self { files, memory: 1024 * kibibytes.or_fail("read a process's memory") }
    }
}

/// Lets all threads share one pool of memory. Else each thread that reads the kernel's BTF may take another pool, and
/// what a process holds grows by 20 MB each time, until all pools were used once.
pub fn share_memory() {
    // SAFETY: it takes integers, and changes nothing that is in use.
    #[cfg(target_env = "gnu")]
    let _ = unsafe { libc::mallopt(libc::M_ARENA_MAX, 1) };
}

/// What threads have freed stays with the allocator otherwise, more or less by chance.
fn give_back_what_is_free() {
    // SAFETY: it takes an integer, and frees nothing that is in use.
    #[cfg(target_env = "gnu")]
    let _ = unsafe { libc::malloc_trim(0) };
}

fn tcx_programs(device: &str, side: TcAttachType) -> Vec<(u32, String)> {
    if require::tcx().is_err() {
        // Where there are no such hooks, nothing hangs on them.
        return Vec::new();
    }
    let (_, programs) = SchedClassifier::query_tcx(device, side).or_fail("query TCX programs");
    let known = programs.iter().map(|program| {
        let name = program.name_as_str().unwrap_or_default();
        (program.id(), name.to_owned())
    });
    known.collect()
}

fn files_below(dir: &Path) -> BTreeSet<PathBuf> {
    let mut files = BTreeSet::new();
    let entries = match fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return files,
        Err(error) => panic!("cannot list {}: {error}", dir.display()),
    };
    for entry in entries.map(|entry| entry.or_fail("list pins")) {
        let path = entry.path();
        if entry.file_type().or_fail("look at a pin").is_dir() {
            files.extend(files_below(&path));
        }
        files.insert(path);
    }
    files
}

/// Takes out what changes by itself.
pub(crate) fn forget_changing(value: &mut Value) {
    match value {
        Value::Array(items) => items.iter_mut().for_each(forget_changing),
        Value::Object(fields) => {
            for name in
                ["stats", "stats64", "gc_timer", "hello_timer", "valid_life_time", "preferred_life_time"]
            {
                fields.remove(name);
            }
            // The kernel's link watch takes its time for the flood device, which is new.
            if fields.get("ifindex").and_then(Value::as_u64).is_some_and(|index| is_index(index as u32)) {
                fields.remove("operstate");
            }
            fields.values_mut().for_each(forget_changing);
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}
