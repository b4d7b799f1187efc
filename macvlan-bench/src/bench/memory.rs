//! Memory of the kernel, and of our maps in it.

use std::{
    fs,
    os::fd::{AsFd as _, AsRawFd as _},
};

use anyhow::{Context as _, Result};
use aya::maps::MapData;
use macvlan_core::{
    kernel::master_key::MasterKey,
    kernel::{bpffs, netns::Netns},
};

use crate::{
    bench::{machine, wiring::DEVICE},
    lab::cables::index_of,
};

/// What devices and maps are made of, as `/proc/meminfo` calls it.
const KINDS: [&str; 3] = ["Slab", "Percpu", "VmallocUsed"];

/// Bytes of the kernel's own memory, but for what file systems cache.
///
/// # Errors
///
/// `/proc` is not mounted, or the pins of the data path cannot be read.
pub fn of_kernel() -> Result<u64> {
    let meminfo = fs::read_to_string("/proc/meminfo").context("cannot read /proc/meminfo")?;
    let kinds = KINDS.iter().filter_map(|kind| machine::memory(&meminfo, kind));
    Ok(kinds.sum())
}

/// Bytes of the maps on the master in this namespace (`memlock` of their descriptors).
///
/// # Errors
///
/// When nothing is attached there.
pub fn of_maps(host: &Netns) -> Result<u64> {
    let index = index_of(host, DEVICE)?;
    let key = host.run(|| MasterKey::of(index))?;
    let directory = bpffs::root().join(key.to_string());
    let entries = fs::read_dir(&directory).with_context(|| format!("cannot read {directory:?}"))?;
    let mut bytes = 0;
    for entry in entries {
        // Links and programs are pinned there too.
        if let Ok(map) = MapData::from_pin(entry?.path()) {
            let path = format!("/proc/self/fdinfo/{}", map.fd().as_fd().as_raw_fd());
            bytes += locked(&fs::read_to_string(path).context("cannot look at a map")?).unwrap_or(0);
        }
    }
    Ok(bytes)
}

fn locked(fdinfo: &str) -> Option<u64> {
    fdinfo.lines().find_map(|line| line.strip_prefix("memlock:"))?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_maps_memory_is_in_the_line_that_says_so() {
        assert_eq!(locked("pos:\t0\nmap_type:\t1\nmemlock:\t8192\n"), Some(8192));
        assert_eq!(locked("pos:\t0\n"), None);
    }
}
