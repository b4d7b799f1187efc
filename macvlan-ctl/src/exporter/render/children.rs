//! What is told of each child.

use std::collections::BTreeMap;

use macvlan_common::{
    counters::{ChildCounters, Count, DROP_REASONS, DropReason, PATHS, Path},
    mac::Mac,
};
use macvlan_core::{
    kernel::netlink::link::Totals,
    model::{
        description::{Carrier, counted_paths},
        status::{ChildStatus, MasterStatus},
    },
    policy::rate::RateLimit,
};
use prometheus::Result;

use crate::exporter::{
    family::Family,
    metrics::{self, Metric},
    render::boolean::{flag, word},
    scrape::{MasterScrape, Reading, Scrape},
};

/// What stands for the path where only the kernel counts, which does not tell paths apart.
const ALL_PATHS: &str = "all";

/// What a child receives or sends, in frames or bytes.
struct Counter {
    by_path: Metric,
    of_device: Metric,
    paths_of: fn(&ChildCounters) -> &[Count; PATHS.len()],
    total_of: fn(Totals) -> Count,
    value: fn(Count) -> u64,
}

const COUNTERS: [Counter; 4] = [
    Counter {
        by_path: metrics::CHILD_RECEIVE_PACKETS,
        of_device: metrics::CHILD_DEVICE_RECEIVE_PACKETS,
        paths_of: |child| &child.rx,
        total_of: |totals| totals.rx,
        value: packets,
    },
    Counter {
        by_path: metrics::CHILD_RECEIVE_BYTES,
        of_device: metrics::CHILD_DEVICE_RECEIVE_BYTES,
        paths_of: |child| &child.rx,
        total_of: |totals| totals.rx,
        value: bytes,
    },
    Counter {
        by_path: metrics::CHILD_TRANSMIT_PACKETS,
        of_device: metrics::CHILD_DEVICE_TRANSMIT_PACKETS,
        paths_of: |child| &child.tx,
        total_of: |totals| totals.tx,
        value: packets,
    },
    Counter {
        by_path: metrics::CHILD_TRANSMIT_BYTES,
        of_device: metrics::CHILD_DEVICE_TRANSMIT_BYTES,
        paths_of: |child| &child.tx,
        total_of: |totals| totals.tx,
        value: bytes,
    },
];

/// Writes all metrics of children.
pub fn write(snapshot: &Scrape, text: &mut String) -> Result<()> {
    identities(snapshot, text)?;
    for (metric, value) in [
        (&metrics::CHILD_UP, (|child| child.up) as fn(&ChildStatus) -> bool),
        (&metrics::CHILD_HOST_ACCESS, |child| child.host_access),
        (&metrics::CHILD_ELSEWHERE, |child| child.elsewhere),
        (&metrics::CHILD_UNSETTLED, |child| child.unsettled),
    ] {
        let mut family = Family::new(metric);
        for master in &snapshot.masters {
            for child in by_mac(master).values() {
                let labels = [&*master.status.ifname, &child.address.to_string()];
                family.add(&labels, flag(value(child)));
            }
        }
        family.write(text)?;
    }
    wire_addresses(snapshot, text)?;
    policies(snapshot, text)?;
    rate_limits(snapshot, text, &metrics::CHILD_RATE_LIMIT_BYTES, |limit| Some(limit.bits? as f64 / 8.0))?;
    rate_limits(snapshot, text, &metrics::CHILD_RATE_LIMIT_PACKETS, |limit| Some(limit.packets? as f64))?;
    let paths = PATHS.map(Path::as_str);
    let reasons = DROP_REASONS.map(DropReason::as_str);
    for Counter { by_path, of_device, paths_of, total_of, value } in COUNTERS {
        let mut family = Family::new(&by_path);
        counted(snapshot, &mut family, paths, |status, child| {
            let counted = counted_paths(status.ingress, status.demux);
            PATHS.map(|path| counted.contains(&path).then(|| value(paths_of(child)[path as usize])))
        });
        let mut in_all = Family::new(&of_device);
        for MasterScrape { status, totals, .. } in &snapshot.masters {
            for (mac, totals) in totals {
                let (mac, value) = (mac.to_string(), value(total_of(*totals)) as f64);
                match status.datapath {
                    Carrier::Kernel => family.add(&[&status.ifname, &mac, ALL_PATHS], value),
                    // Beside paths that are counted, it is none of them.
                    Carrier::Bpf => in_all.add(&[&status.ifname, &mac], value),
                }
            }
        }
        family.write(text)?;
        in_all.write(text)?;
    }
    for (metric, value) in
        [(&metrics::CHILD_DROP_PACKETS, packets as fn(Count) -> u64), (&metrics::CHILD_DROP_BYTES, bytes)]
    {
        let mut family = Family::new(metric);
        counted(snapshot, &mut family, reasons, |_, child| child.drops.map(|count| Some(value(count))));
        family.write(text)?;
    }
    Ok(())
}

fn wire_addresses(snapshot: &Scrape, text: &mut String) -> Result<()> {
    let mut family = Family::new(&metrics::CHILD_WIRE_ADDRESSES);
    for master in snapshot.masters.iter().filter(|master| master.status.single_mac) {
        let Reading::Whole { wire_addresses, .. } = &master.reading else { continue };
        for mac in by_mac(master).keys() {
            let count = wire_addresses.get(mac).copied().unwrap_or_default();
            family.add(&[&master.status.ifname, &mac.to_string()], count as f64);
        }
    }
    family.write(text)
}

fn rate_limits(
    snapshot: &Scrape,
    text: &mut String,
    metric: &Metric,
    value: fn(RateLimit) -> Option<f64>,
) -> Result<()> {
    let mut family = Family::new(metric);
    for master in &snapshot.masters {
        for (mac, child) in by_mac(master) {
            let mac = mac.to_string();
            for (direction, limit) in [("receive", child.policy.rate_rx), ("transmit", child.policy.rate_tx)]
            {
                if let Some(value) = limit.and_then(value) {
                    family.add(&[&master.status.ifname, &mac, direction], value);
                }
            }
        }
    }
    family.write(text)
}

fn identities(snapshot: &Scrape, text: &mut String) -> Result<()> {
    let mut family = Family::new(&metrics::CHILD_INFO);
    for master in &snapshot.masters {
        // A name that is not known yet would be a series of its own.
        for child in by_mac(master).values().filter(|child| !master.unnamed.contains(&child.address)) {
            let container = child.container.as_ref();
            family.add(
                &[
                    &master.status.ifname,
                    &child.address.to_string(),
                    container.and_then(|container| container.name.as_deref()).unwrap_or_default(),
                    child.mode,
                    child.kind.as_str(),
                    word(child.owned),
                ],
                1.0,
            );
        }
    }
    family.write(text)
}

fn policies(snapshot: &Scrape, text: &mut String) -> Result<()> {
    let mut family = Family::new(&metrics::CHILD_POLICY);
    for master in &snapshot.masters {
        for child in by_mac(master).values() {
            let policy = &child.policy;
            family.add(
                &[
                    &master.status.ifname,
                    &child.address.to_string(),
                    word(policy.sibling_access),
                    policy.group.as_deref().unwrap_or_default(),
                    policy.anti_spoof,
                    policy.vepa_reflect,
                ],
                1.0,
            );
        }
    }
    family.write(text)
}

/// The children of a master, one for each MAC. A container may give its child the MAC of another
/// while it is down (`macvlan_set_mac_address` in drivers/net/macvlan.c): two identities for one MAC
/// would break every join, so the one that is up has it.
fn by_mac(master: &MasterScrape) -> BTreeMap<Mac, &ChildStatus> {
    let mut children: BTreeMap<Mac, &ChildStatus> = BTreeMap::new();
    let rank = |child: &ChildStatus| (!child.up, child.netnsid, child.ifindex);
    for child in &master.status.children {
        let known = children.entry(child.address).or_insert(child);
        if rank(child) < rank(known) {
            *known = child;
        }
    }
    children
}

/// Adds `N` values for each child that the programs count, told apart by the last label.
fn counted<const N: usize>(
    snapshot: &Scrape,
    family: &mut Family<'_>,
    last_labels: [&'static str; N],
    values: impl Fn(&MasterStatus, &ChildCounters) -> [Option<u64>; N],
) {
    for MasterScrape { status, reading, .. } in &snapshot.masters {
        let Reading::Whole { counters, .. } = reading else { continue };
        for (mac, child) in &counters.children {
            let mac = mac.to_string();
            for (label, value) in last_labels.iter().zip(values(status, child)) {
                if let Some(value) = value {
                    family.add(&[&status.ifname, &mac, label], value as f64);
                }
            }
        }
    }
}

fn packets(count: Count) -> u64 {
    count.packets
}

fn bytes(count: Count) -> u64 {
    count.bytes
}
