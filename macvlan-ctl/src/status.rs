//! `status`: what is in place on each master, and why not more.

use std::num::NonZeroU32;

use anyhow::{Context, Result};
use macvlan_common::mac::Mac;
use serde::Serialize;

use crate::{
    container::{Container, Containers},
    datapath::{Carrier, Datapath, Degraded, Demux, Description, Hairpin, choose::DropUnknown},
    master::Master,
    model::{Child, Kind, mac_text},
    netlink::{
        Netlink,
        link::{Link, ListOptions},
    },
    netns::known,
    observe::Observed,
    policy::PolicyStatus,
    session::{self, find_datapath},
    session::{Access, Members},
};

/// One master, as `status -j` prints it.
#[derive(Debug, Clone, Serialize)]
pub struct MasterStatus {
    /// Its name.
    pub ifname: String,
    /// Its index.
    pub ifindex: u32,
    /// Its MAC.
    #[serde(serialize_with = "mac_text")]
    pub address: Mac,
    /// Name or path of its namespace, where one is known.
    pub netns: Option<String>,
    /// Who carries the frames.
    pub datapath: Carrier,
    /// Where frames from the wire are demultiplexed.
    pub demux: Demux,
    /// How host and children reach each other.
    pub hairpin: Hairpin,
    /// Whether requests for a known address go to its owner alone.
    pub directed_neigh: bool,
    /// Broadcast and multicast frames a second from the wire, and from each child; `None` is no limit.
    pub storm_limit: Option<NonZeroU32>,
    /// What is less than the best, and why.
    pub degraded: Vec<Degraded>,
    /// Whether unicast from the wire to nobody here is dropped: "off", "on" or "force".
    pub drop_unknown: DropUnknown,
    /// Whether the switch sends frames back out of the port they came in by.
    pub vepa_switch: bool,
    /// Its children: those the data path knows or, without one, all.
    pub children: Vec<ChildStatus>,
}

/// One child, as `status -j` prints it.
#[derive(Debug, Clone, Serialize)]
pub struct ChildStatus {
    /// Name in its own namespace.
    pub ifname: String,
    /// Index in its own namespace.
    pub ifindex: u32,
    /// Name or path of its namespace, where one is known.
    pub netns: Option<String>,
    /// Id of its namespace; `None` is the master's own.
    pub netnsid: Option<i32>,
    /// Its MAC.
    #[serde(serialize_with = "mac_text")]
    pub address: Mac,
    /// Its mode.
    pub mode: &'static str,
    /// macvlan or macvtap.
    pub kind: Kind,
    /// Largest L3 packet.
    pub mtu: u32,
    /// Administratively up.
    pub up: bool,
    /// Whether it reaches the host through the hairpin.
    pub host_access: bool,
    /// What else was set for it.
    #[serde(flatten)]
    pub policy: PolicyStatus,
    /// We made it.
    pub owned: bool,
    /// The container it belongs to, where an engine says so.
    pub container: Option<Container>,
}

/// The master named `name` or, without a name, every master with a data path or children.
///
/// # Errors
///
/// When there is no such master, or the kernel refuses to tell.
pub async fn status(name: Option<&str>) -> Result<Vec<MasterStatus>> {
    let statuses = status_unnamed(name).await;
    match name {
        Some(name) => statuses.with_context(|| format!("cannot tell of {name:?}")),
        None => statuses,
    }
}

async fn status_unnamed(name: Option<&str>) -> Result<Vec<MasterStatus>> {
    let netlink = Netlink::open()?;
    let observed = crate::observe::children(&netlink, Access::Read).await?;
    let mut containers = Containers::default();
    let mut statuses = Vec::new();
    for master in masters(&netlink, &observed, name).await? {
        let (datapath, _) = find_datapath(&netlink, &master).await;
        let datapath = session::datapath_of(&netlink, &master, datapath, &observed).await?;
        let children = observed.of(master.index);
        let mut status = describe(&master, datapath.as_ref(), children)?;
        name_containers(&mut status, children, &mut containers).await;
        statuses.push(status);
    }
    Ok(statuses)
}

/// The named master, or all that have a data path or children.
///
/// # Errors
///
/// When there is no such master, or the kernel refuses to tell.
pub async fn masters(netlink: &Netlink, observed: &Observed, name: Option<&str>) -> Result<Vec<Master>> {
    if let Some(name) = name {
        return Ok(vec![Master::find(netlink, name).await?]);
    }
    let mut masters = Vec::new();
    for link in netlink.links(ListOptions::default()).await? {
        if is_candidate(&link)
            && let Ok(master) = Master::from_link(netlink, link).await
            && (!observed.of(master.index).is_empty() || crate::datapath::bpf::is_pinned(&master))
        {
            masters.push(master);
        }
    }
    Ok(masters)
}

fn is_candidate(link: &Link) -> bool {
    !link.loopback && !link.is_child() && link.mac.is_some()
}

/// Fills in the container of each child, where one can be found.
pub async fn name_containers(status: &mut MasterStatus, children: &[Child], containers: &mut Containers) {
    for told in &mut status.children {
        let is_told = |child: &&Child| {
            (child.mac, child.index) == (told.address, told.ifindex)
                && (child.place.nsid.is_none() || child.place.label == told.netns)
        };
        if let Some(child) = children.iter().find(is_told) {
            told.container = containers.of(&child.place).await;
        }
    }
}

/// What `status` says of a master with this data path and these children; containers are left out.
///
/// # Errors
///
/// When the kernel refuses to tell of the data path.
pub fn describe(master: &Master, datapath: &dyn Datapath, children: &[Child]) -> Result<MasterStatus> {
    let netns = known().into_iter().find(|known| known.id == master.netns.id()).map(|known| known.label);
    let netns = netns.filter(|label| !label.starts_with("/proc/"));
    let children: Vec<&Child> = children.iter().collect();
    Ok(compose(master, netns, datapath.description(), &Members::of(datapath)?, &children))
}

/// What `status` says of a master in the namespace named `netns`, with a data path of this
/// description and these members, and these children.
pub fn compose(
    master: &Master,
    netns: Option<String>,
    description: &Description,
    members: &Members,
    children: &[&Child],
) -> MasterStatus {
    let carries_all = description.carrier == Carrier::Kernel;
    let children = children.iter().filter(|child| carries_all || members.policies.contains_key(&child.mac));
    let children = children.map(|child| describe_child(child, members, netns.as_deref())).collect();
    MasterStatus {
        ifname: master.name.clone(),
        ifindex: master.index,
        address: master.mac,
        netns,
        datapath: description.carrier,
        demux: description.demux,
        hairpin: description.hairpin,
        directed_neigh: description.directs,
        storm_limit: description.storm_limit,
        degraded: description.degraded.clone(),
        drop_unknown: description.drop_unknown,
        vepa_switch: description.vepa_switch,
        children,
    }
}

fn describe_child(child: &Child, members: &Members, own_netns: Option<&str>) -> ChildStatus {
    let policy = members.policies.get(&child.mac).copied().unwrap_or_default();
    let netns = match child.place.nsid {
        None => own_netns.map(str::to_owned),
        Some(_) => child.place.label.clone(),
    };
    ChildStatus {
        ifname: child.name.clone(),
        ifindex: child.index,
        netns,
        netnsid: child.place.number(),
        address: child.mac,
        mode: child.mode.as_str(),
        kind: child.kind,
        mtu: child.mtu,
        up: child.up,
        host_access: policy.host_access(),
        policy: PolicyStatus::of(policy, members.rates_of(child.mac), &members.groups),
        owned: child.owned,
        container: None,
    }
}
