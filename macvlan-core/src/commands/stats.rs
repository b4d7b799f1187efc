//! `stats`: what was counted, of each master and each child.

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use macvlan_common::counters::{
    ChildCounters, Count, DROP_REASONS, DropReason, FLOOD_ORIGINS, FloodOrigin, MasterCounters, Path,
};

use crate::{
    commands::work::Work,
    datapath::Datapath,
    discovery::{
        access::Access,
        children::find_children,
        containers::Containers,
        datapath::{self, find_datapath},
        masters::masters,
    },
    kernel::netlink::Netlink,
    model::{
        child::Child,
        counters::Counters,
        description::Carrier,
        stats::{BothWays, ChildStats, Drops, MasterStats, Pair},
    },
};

/// Counters of the master named `name` or, without a name, of every master with a data path or
/// children. Who asks again and again keeps `containers`.
///
/// # Errors
///
/// There is no such master, or its maps cannot be read.
pub fn stats<'a>(name: Option<&'a str>, containers: &'a mut Containers) -> Work<'a, Vec<MasterStats>> {
    let stats = stats_unnamed(name, containers);
    Box::pin(async move {
        match name {
            Some(name) => stats.await.with_context(|| format!("cannot tell of {name:?}")),
            None => stats.await,
        }
    })
}

async fn stats_unnamed(name: Option<&str>, containers: &mut Containers) -> Result<Vec<MasterStats>> {
    let netlink = Netlink::open()?;
    let observed = find_children(&netlink, Access::Read).await?;
    let mut all = Vec::new();
    for master in masters(&netlink, &observed, name).await? {
        let (datapath, _) = find_datapath(&netlink, &master).await;
        let datapath = datapath::datapath_of(&netlink, &master, datapath, &observed).await?;
        let children = observed.of(master.index);
        let mut stats = describe(&master.name, datapath.as_ref(), children)?;
        let link = netlink.link_by_index(master.index, None).await;
        stats.kernel_rx_dropped = link.ok().flatten().and_then(|link| link.rx_dropped);
        name_containers(&mut stats, children, containers).await;
        all.push(stats);
    }
    Ok(all)
}

/// Fills in the container of each child, where one can be found.
pub async fn name_containers(stats: &mut MasterStats, children: &[Child], containers: &mut Containers) {
    for counted in &mut stats.children {
        let is_counted = |child: &&Child| {
            (child.mac, &child.name) == (counted.address, &counted.ifname)
                && (&child.place.label, child.place.number()) == (&counted.netns, counted.netnsid)
        };
        if let Some(child) = children.iter().find(is_counted) {
            counted.container = containers.of(&child.place).await;
        }
    }
}

/// What `stats` says of a master of this name with this data path and these children; what the kernel
/// counts of the master is left out.
///
/// # Errors
///
/// The maps of the data path cannot be read.
pub fn describe(ifname: &str, datapath: &dyn Datapath, children: &[Child]) -> Result<MasterStats> {
    let counters = datapath.counters()?;
    let carries_all = datapath.description().carrier == Carrier::Kernel;
    let children = children.iter().filter(|child| carries_all || counters.children.contains_key(&child.mac));
    let counted = datapath.description().counted_paths();
    let from_wire = counted.contains(&Path::Wire);
    Ok(MasterStats {
        ifname: ifname.to_owned(),
        unknown_unicast: counters.master.filter(|_| from_wire).map(|master| master.unknown_unicast.into()),
        flood: counters.master.as_ref().map(|master| floods(master, from_wire)),
        drops: counters.master.map(|master| drops(&master.drops)),
        copy_failed: counters.master.map(|master| master.copy_failed.into()),
        kernel_rx_dropped: None,
        children: children.map(|child| child_stats(child, &counters, counted)).collect(),
    })
}

fn child_stats(child: &Child, counters: &Counters, paths: &[Path]) -> ChildStats {
    let counted = counters.children.get(&child.mac);
    let totals = counters.totals.get(&(child.place.nsid, child.index));
    let path =
        |path: Path| counted.filter(|_| paths.contains(&path)).map(|counters| both_ways(counters, path));
    ChildStats {
        ifname: child.name.clone(),
        address: child.mac,
        netns: child.place.label.clone(),
        netnsid: child.place.number(),
        container: None,
        stats64: totals.map(|totals| BothWays { rx: totals.rx.into(), tx: totals.tx.into() }),
        wire: path(Path::Wire),
        host: path(Path::Host),
        sibling: path(Path::Sibling),
        drops: counted.map(|counters| drops(&counters.drops)),
    }
}

fn both_ways(counters: &ChildCounters, path: Path) -> BothWays {
    BothWays { rx: counters.rx[path as usize].into(), tx: counters.tx[path as usize].into() }
}

fn floods(counters: &MasterCounters, from_wire: bool) -> BTreeMap<&'static str, Pair> {
    let is_counted = |origin: &&FloodOrigin| from_wire || **origin != FloodOrigin::Wire;
    FLOOD_ORIGINS
        .iter()
        .filter(is_counted)
        .map(|origin| (origin.as_str(), counters.flood[*origin as usize].into()))
        .collect()
}

fn drops(counts: &[Count; DROP_REASONS.len()]) -> Drops {
    DROP_REASONS
        .iter()
        .map(|reason: &DropReason| (reason.as_str(), counts[*reason as usize].into()))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_is_there_before_anything_was_dropped() {
        let names: Vec<_> = drops(&[Count::default(); DROP_REASONS.len()]).into_keys().collect();
        let reasons = [
            "dhcp_guard",
            "foreign",
            "isolated",
            "ra_guard",
            "rate",
            "reflected",
            "spoofed",
            "storm",
            "stranger",
            "unknown",
        ];
        assert_eq!(names, reasons);
    }
}
