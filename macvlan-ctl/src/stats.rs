//! `stats`: what was counted, of each master and each child.

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use macvlan_common::{
    counters::{ChildCounters, Count, DROP_REASONS, DropReason, FLOOD_ORIGINS, MasterCounters, Path},
    mac::Mac,
};
use serde::Serialize;

use crate::{
    container::{Container, Containers},
    datapath::{Carrier, Counters, Datapath},
    model::{Child, mac_text},
    netlink::Netlink,
    session::Access,
    session::{self, find_datapath},
    status::masters,
};

/// Frames and octets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct Pair {
    /// Frames.
    pub packets: u64,
    /// Octets, layer 2 without FCS.
    pub bytes: u64,
}

impl From<Count> for Pair {
    fn from(count: Count) -> Self {
        Self { packets: count.packets, bytes: count.bytes }
    }
}

/// Both directions, as the child sees them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct BothWays {
    /// Received.
    pub rx: Pair,
    /// Sent.
    pub tx: Pair,
}

/// Counters by reason; every reason is always there.
pub type Drops = BTreeMap<&'static str, Pair>;

/// One master, as `stats -j` prints it. `null` is what a data path cannot know.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct MasterStats {
    /// Its name.
    pub ifname: String,
    /// Unicast from the wire to nobody here.
    pub unknown_unicast: Option<Pair>,
    /// Broadcast and multicast by origin, once per frame however many hear it.
    pub flood: Option<BTreeMap<&'static str, Pair>>,
    /// Drops that no child is charged for.
    pub drops: Option<Drops>,
    /// Copies of broadcasts that the kernel had no memory for.
    pub copy_failed: Option<Pair>,
    /// Frames that the kernel counts as dropped on the master's receive side since it is there. Above
    /// all, broadcasts beyond macvlan's queue (`macvlan_broadcast_enqueue` in drivers/net/macvlan.c);
    /// but the driver and others count there too, and not what our programs drop.
    pub kernel_rx_dropped: Option<u64>,
    /// Its children.
    pub children: Vec<ChildStats>,
}

/// One child, as `stats -j` prints it. `null` is what a data path cannot know.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ChildStats {
    /// Name in its own namespace.
    pub ifname: String,
    /// Its MAC.
    #[serde(serialize_with = "mac_text")]
    pub address: Mac,
    /// The container it belongs to, where an engine says so.
    pub container: Option<Container>,
    /// In all, as the child's device counts itself: where the data path is the kernel's alone.
    pub stats64: Option<BothWays>,
    /// With what is beyond the master. Includes the broadcasts that the child sent.
    pub wire: Option<BothWays>,
    /// With the host.
    pub host: Option<BothWays>,
    /// With other children of the master.
    pub sibling: Option<BothWays>,
    /// What was dropped of its traffic.
    pub drops: Option<Drops>,
}

/// Counters of the master named `name` or, without a name, of every master with a data path or
/// children. Who asks again and again keeps `containers`.
///
/// # Errors
///
/// When there is no such master, or the kernel refuses to tell.
pub async fn stats(name: Option<&str>, containers: &mut Containers) -> Result<Vec<MasterStats>> {
    let stats = stats_unnamed(name, containers).await;
    match name {
        Some(name) => stats.with_context(|| format!("cannot tell of {name:?}")),
        None => stats,
    }
}

async fn stats_unnamed(name: Option<&str>, containers: &mut Containers) -> Result<Vec<MasterStats>> {
    let netlink = Netlink::open()?;
    let observed = crate::observe::children(&netlink, Access::Read).await?;
    let mut all = Vec::new();
    for master in masters(&netlink, &observed, name).await? {
        let (datapath, _) = find_datapath(&netlink, &master).await;
        let datapath = session::datapath_of(&netlink, &master, datapath, &observed).await?;
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
        let is_counted = |child: &&Child| child.mac == counted.address && child.name == counted.ifname;
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
/// When the kernel refuses to tell of the data path.
pub fn describe(ifname: &str, datapath: &dyn Datapath, children: &[Child]) -> Result<MasterStats> {
    let counters = datapath.counters()?;
    let carries_all = datapath.description().carrier == Carrier::Kernel;
    let children = children.iter().filter(|child| carries_all || counters.children.contains_key(&child.mac));
    Ok(MasterStats {
        ifname: ifname.to_owned(),
        unknown_unicast: counters.master.map(|master| master.unknown_unicast.into()),
        flood: counters.master.as_ref().map(floods),
        drops: counters.master.map(|master| drops(&master.drops)),
        copy_failed: counters.master.map(|master| master.copy_failed.into()),
        kernel_rx_dropped: None,
        children: children.map(|child| child_stats(child, &counters)).collect(),
    })
}

fn child_stats(child: &Child, counters: &Counters) -> ChildStats {
    let counted = counters.children.get(&child.mac);
    let totals = counters.totals.get(&(child.place.nsid, child.index));
    let path = |path: Path| counted.map(|counters| both_ways(counters, path));
    ChildStats {
        ifname: child.name.clone(),
        address: child.mac,
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

fn floods(counters: &MasterCounters) -> BTreeMap<&'static str, Pair> {
    FLOOD_ORIGINS.iter().map(|origin| (origin.as_str(), counters.flood[*origin as usize].into())).collect()
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
        let reasons =
            ["dhcp_guard", "isolated", "ra_guard", "rate", "reflected", "spoofed", "storm", "unknown"];
        assert_eq!(names, reasons);
    }
}
