//! What is told of each master, its data path and its BPF objects.

use std::collections::{BTreeMap, BTreeSet};

use macvlan_common::{
    counters::{Count, DROP_REASONS, FLOOD_ORIGINS, FloodOrigin, MasterCounters},
    mac::Mac,
};
use macvlan_core::model::{
    description::{Carrier, Degraded, counts_wire},
    keyword::Keyword,
    status::MasterStatus,
};
use prometheus::Result;

use crate::exporter::{
    family::Family,
    metrics::{self, Metric},
    render::boolean::{flag, word},
    scrape::{MasterScrape, Reading, Scrape},
};

/// Writes all metrics of masters.
pub fn write(snapshot: &Scrape, text: &mut String) -> Result<()> {
    each(snapshot, text, &metrics::MASTER_INFO, |family, master| {
        let status = &master.status;
        let netns = status.netns.as_deref().unwrap_or_default();
        let labels = [&*status.ifname, &status.ifindex.to_string(), &status.address.to_string(), netns];
        family.add(&labels, 1.0);
    })?;
    let mut family = Family::new(&metrics::MASTER_READY);
    for master in &snapshot.masters {
        family.add(&[&master.status.ifname], flag(master.is_up));
    }
    for name in &snapshot.waiting {
        family.add(&[name], flag(false));
    }
    family.write(text)?;
    each(snapshot, text, &metrics::MASTER_CHILDREN, |family, master| {
        let children = master.status.children.iter().filter(|child| child.adopted).count();
        family.add(&[&master.status.ifname], children as f64);
    })?;
    each(snapshot, text, &metrics::MASTER_UNADOPTED, |family, master| {
        family.add(&[&master.status.ifname], master.unadopted as f64);
    })?;
    each(snapshot, text, &metrics::MASTER_MAC_CONFLICTS, |family, master| {
        let mut counts: BTreeMap<Mac, usize> = BTreeMap::new();
        for child in &master.status.children {
            *counts.entry(child.address).or_default() += 1;
        }
        let conflicts = counts.values().filter(|count| **count > 1).count();
        family.add(&[&master.status.ifname], conflicts as f64);
    })?;
    each(snapshot, text, &metrics::MASTER_ADDRESS_CONFLICTS, |family, master| {
        let Reading::Whole { contested, .. } = &master.reading else { return };
        family.add(&[&master.status.ifname], *contested as f64);
    })?;
    write_counters(snapshot, text)?;
    write_datapath(snapshot, text)?;
    write_settings(snapshot, text)?;
    write_bpf(snapshot, text)?;
    each(snapshot, text, &metrics::FOLLOWER_CONTESTED, |family, master| {
        let Reading::Whole { .. } = &master.reading else { return };
        family.add(&[&master.status.ifname], master.contests as f64);
    })
}

fn write_counters(snapshot: &Scrape, text: &mut String) -> Result<()> {
    for (metrics, count) in [
        (
            [&metrics::MASTER_UNKNOWN_UNICAST_PACKETS, &metrics::MASTER_UNKNOWN_UNICAST_BYTES],
            (|status, master| counts_wire(status.ingress, status.demux).then_some(master.unknown_unicast))
                as fn(&MasterStatus, &MasterCounters) -> Option<Count>,
        ),
        ([&metrics::MASTER_COPY_FAILED_PACKETS, &metrics::MASTER_COPY_FAILED_BYTES], |_, master| {
            Some(master.copy_failed)
        }),
    ] {
        counted(snapshot, text, metrics, [None], |status, master| [count(status, master)])?;
    }
    each(snapshot, text, &metrics::MASTER_KERNEL_RX_DROPPED, |family, master| {
        if let Some(dropped) = master.rx_dropped {
            family.add(&[&master.status.ifname], dropped as f64);
        }
    })?;
    counted(
        snapshot,
        text,
        [&metrics::MASTER_FLOOD_PACKETS, &metrics::MASTER_FLOOD_BYTES],
        FLOOD_ORIGINS.map(|origin| Some(origin.as_str())),
        |status, master| {
            let is_counted =
                |origin| origin != FloodOrigin::Wire || counts_wire(status.ingress, status.demux);
            FLOOD_ORIGINS.map(|origin| is_counted(origin).then(|| master.flood[origin as usize]))
        },
    )?;
    counted(
        snapshot,
        text,
        [&metrics::MASTER_DROP_PACKETS, &metrics::MASTER_DROP_BYTES],
        DROP_REASONS.map(|reason| Some(reason.as_str())),
        |_, master| master.drops.map(Some),
    )
}

/// Writes frames, then bytes, of `N` counters of each master, told apart by a label if need be.
fn counted<const N: usize>(
    snapshot: &Scrape,
    text: &mut String,
    [packets, bytes]: [&Metric; 2],
    last_labels: [Option<&'static str>; N],
    counts: impl Fn(&MasterStatus, &MasterCounters) -> [Option<Count>; N],
) -> Result<()> {
    for (metric, value) in
        [(packets, (|count| count.packets) as fn(Count) -> u64), (bytes, |count| count.bytes)]
    {
        each(snapshot, text, metric, |family, master| {
            let Reading::Whole { counters, .. } = &master.reading else { return };
            let Some(counters) = &counters.master else { return };
            for (label, count) in last_labels.iter().zip(counts(&master.status, counters)) {
                let Some(count) = count else { continue };
                let labels: Vec<&str> = [&*master.status.ifname].into_iter().chain(*label).collect();
                family.add(&labels, value(count) as f64);
            }
        })?;
    }
    Ok(())
}

fn write_datapath(snapshot: &Scrape, text: &mut String) -> Result<()> {
    each(snapshot, text, &metrics::DATAPATH_INFO, |family, MasterScrape { status, reading, .. }| {
        let version = match reading {
            Reading::Whole { is_current: true, .. } => env!("CARGO_PKG_VERSION"),
            Reading::Whole { is_current: false, .. } => "other",
            Reading::Unpinned | Reading::Failed(_) => "",
        };
        let carrier = match status.datapath {
            Carrier::Bpf => "bpf",
            Carrier::Kernel => "kernel",
        };
        let (demux, hairpin) = (status.demux.as_str(), status.hairpin.as_str());
        family.add(&[&status.ifname, carrier, demux, hairpin, version], 1.0);
    })?;
    each(snapshot, text, &metrics::DATAPATH_DEGRADED, |family, MasterScrape { status, .. }| {
        // Said twice, it is still one series: reasons that are cut could be the same.
        let mut said = BTreeSet::new();
        for Degraded { feature, wanted, got, reason } in &status.degraded {
            if said.insert([feature, wanted, got]) {
                family.add(&[&status.ifname, feature, wanted, got, reason], 1.0);
            }
        }
    })?;
    each(snapshot, text, &metrics::DATAPATH_READABLE, |family, MasterScrape { status, reading, .. }| {
        let readable = match reading {
            Reading::Unpinned => return,
            Reading::Failed(_) => false,
            Reading::Whole { .. } => true,
        };
        family.add(&[&status.ifname], flag(readable));
    })
}

fn write_settings(snapshot: &Scrape, text: &mut String) -> Result<()> {
    each(snapshot, text, &metrics::SETTINGS, |family, MasterScrape { status, .. }| {
        let (switch, directed) = (word(status.vepa_switch), word(status.directed_neigh));
        let (single, ingress) = (word(status.single_mac), word(status.ingress));
        family.add(&[&status.ifname, status.drop_unknown.as_str(), switch, directed, single, ingress], 1.0);
    })?;
    each(snapshot, text, &metrics::STORM_LIMIT, |family, MasterScrape { status, .. }| {
        if let Some(limit) = status.storm_limit {
            family.add(&[&status.ifname], f64::from(limit.get()));
        }
    })
}

fn write_bpf(snapshot: &Scrape, text: &mut String) -> Result<()> {
    each(snapshot, text, &metrics::MAP_ENTRIES, |family, MasterScrape { status, reading, .. }| {
        let Reading::Whole { usage, .. } = reading else { return };
        for map in usage {
            family.add(&[&status.ifname, map.map], map.entries as f64);
        }
    })?;
    each(snapshot, text, &metrics::MAP_MAX_ENTRIES, |family, MasterScrape { status, reading, .. }| {
        let Reading::Whole { usage, .. } = reading else { return };
        for map in usage {
            family.add(&[&status.ifname, map.map], map.max_entries as f64);
        }
    })?;
    each(snapshot, text, &metrics::PROG_RUN_COUNT, |family, MasterScrape { status, reading, .. }| {
        let Reading::Whole { programs, .. } = reading else { return };
        for program in programs {
            family.add(&[&status.ifname, program.program], program.runs as f64);
        }
    })?;
    each(snapshot, text, &metrics::PROG_RUN_SECONDS, |family, MasterScrape { status, reading, .. }| {
        let Reading::Whole { programs, .. } = reading else { return };
        for program in programs {
            family.add(&[&status.ifname, program.program], program.time.as_secs_f64());
        }
    })
}

/// Writes one metric; `add` gives the samples of each master.
fn each(
    snapshot: &Scrape,
    text: &mut String,
    metric: &Metric,
    add: impl Fn(&mut Family<'_>, &MasterScrape),
) -> Result<()> {
    let mut family = Family::new(metric);
    for master in &snapshot.masters {
        add(&mut family, master);
    }
    family.write(text)
}
