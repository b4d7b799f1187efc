//! What figures depend on: processor, kernel, driver, offloads, mitigations.

use std::{collections::BTreeMap, fs, path::Path};

use anyhow::Result;
use macvlan_core::kernel::ethtool::Ethtool;
use serde::Serialize;

use crate::lab::cpu::Cpus;

/// Where it ran.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Machine {
    /// The processor's name.
    pub cpu: String,
    /// Processors that could be used.
    pub cpus: usize,
    /// Whether a hypervisor says that it is there.
    pub virtualized: bool,
    /// Bytes of memory.
    pub memory: u64,
    /// The kernel's release.
    pub kernel: String,
    /// The kernel's build.
    pub kernel_version: String,
    /// The machine's kind.
    pub arch: String,
    /// The master's driver.
    pub driver: Option<String>,
    /// The master's offloads that are on.
    pub offloads: Vec<String>,
    /// Against what the kernel protects itself, and how.
    pub mitigations: BTreeMap<String, String>,
    /// Settings that matter here.
    pub settings: BTreeMap<String, String>,
    /// Load of the last minute, before.
    pub load: Option<f64>,
}

/// Settings that change what networking costs.
const SETTINGS: [&str; 5] = [
    "net/core/bpf_jit_enable",
    "net/core/bpf_jit_harden",
    "net/core/netdev_max_backlog",
    "net/ipv4/tcp_congestion_control",
    "kernel/bpf_stats_enabled",
];

/// Vulnerabilities that a processor does not have are no news.
const UNAFFECTED: &str = "Not affected";

impl Machine {
    /// This one, with what a device in the namespace of the calling thread says of itself.
    ///
    /// # Errors
    ///
    /// `uname(2)` fails.
    pub fn look(cpus: &Cpus, device: &str) -> Result<Self> {
        let uname = nix::sys::utsname::uname()?;
        let text = |name: &std::ffi::OsStr| clean(&name.to_string_lossy());
        let cpuinfo = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let ethtool = Ethtool::open(device.parse()?)?;
        let offloads = ethtool.offloads().unwrap_or_default();
        Ok(Self {
            cpu: cpu_name(&cpuinfo),
            cpus: cpus.count(),
            virtualized: cpuinfo.split_whitespace().any(|word| word == "hypervisor"),
            memory: memory(&fs::read_to_string("/proc/meminfo").unwrap_or_default(), "MemTotal").unwrap_or(0),
            kernel: text(uname.release()),
            kernel_version: text(uname.version()),
            arch: text(uname.machine()),
            driver: ethtool.driver(),
            offloads: offloads.into_iter().filter(|(_, on)| *on).map(|(name, _)| name).collect(),
            mitigations: mitigations(Path::new("/sys/devices/system/cpu/vulnerabilities")),
            settings: settings(),
            load: load(),
        })
    }
}

fn cpu_name(cpuinfo: &str) -> String {
    // x86 says "model name"; others only what they are built like.
    let field = |name: &str| {
        let line = cpuinfo.lines().find(|line| line.starts_with(name))?;
        line.split_once(':').map(|(_, value)| clean(value))
    };
    field("model name").or_else(|| field("CPU part")).unwrap_or_else(|| "unknown".into())
}

/// A field of `/proc/meminfo`, in bytes.
pub fn memory(meminfo: &str, field: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':'))?;
    line.split_whitespace().next()?.parse::<u64>().ok()?.checked_mul(1024)
}

fn mitigations(directory: &Path) -> BTreeMap<String, String> {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    let read = entries.filter_map(|entry| {
        let text = fs::read_to_string(entry.path()).ok()?;
        Some((entry.file_name().to_string_lossy().into_owned(), clean(&text)))
    });
    read.filter(|(_, text)| text != UNAFFECTED).collect()
}

fn settings() -> BTreeMap<String, String> {
    let read = SETTINGS.iter().filter_map(|name| {
        let text = fs::read_to_string(format!("/proc/sys/{name}")).ok()?;
        Some((name.replace('/', "."), clean(&text)))
    });
    read.collect()
}

fn load() -> Option<f64> {
    fs::read_to_string("/proc/loadavg").ok()?.split_whitespace().next()?.parse().ok()
}

fn clean(text: &str) -> String {
    text.trim().chars().filter(|c| !c.is_control()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_processors_name_is_found_or_unknown() {
        assert_eq!(cpu_name("processor\t: 0\nmodel name\t: Some CPU @ 2 GHz\n"), "Some CPU @ 2 GHz");
        assert_eq!(cpu_name(""), "unknown");
    }

    #[test]
    fn memory_is_told_in_bytes() {
        let meminfo = "MemTotal:       24683744 kB\nSlab:  12 kB\nPercpu: x\n";
        assert_eq!(memory(meminfo, "Slab"), Some(12 * 1024));
        assert_eq!(memory(meminfo, "Percpu"), None);
        assert_eq!(memory(meminfo, "Mem"), None);
    }
}
