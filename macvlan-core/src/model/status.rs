//! What is in place on a master, as `status` prints it.

use std::num::NonZeroU32;

use macvlan_common::mac::Mac;
use serde::Serialize;

use crate::{
    kernel::netlink::kind::Kind,
    model::{
        child::{Child, mac_text},
        container::Container,
        description::{Carrier, Degraded, Demux, Description, Hairpin},
        master::Master,
        members::Members,
        options::DropUnknown,
    },
    policy::status::PolicyStatus,
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
    /// Whether its MAC is its own here, as far as the data path knows: it is up with carrier, not elsewhere,
    /// and not the host's.
    pub local: bool,
    /// Whether its MAC was heard on the wire since it last sent.
    pub elsewhere: bool,
    /// Whether it is a device of the host's own, which nobody asked for.
    pub host_owned: bool,
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
    let children =
        children.map(|child| describe_child(child, members, carries_all, netns.as_deref())).collect();
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

fn describe_child(
    child: &Child,
    members: &Members,
    carries_all: bool,
    own_netns: Option<&str>,
) -> ChildStatus {
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
        local: if carries_all { child.up && !child.protodown } else { members.is_local(child.mac) },
        elsewhere: members.elsewhere.contains(&child.mac),
        host_owned: policy.is_hosts(),
        host_access: policy.host_access() && !policy.is_hosts(),
        policy: PolicyStatus::of(policy, members.rates_of(child.mac), &members.groups),
        owned: child.owned,
        container: None,
    }
}
