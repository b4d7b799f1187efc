//! What is in place on a master, as `status` prints it.

use std::num::NonZeroU32;

use macvlan_common::{child::Policy, mac::Mac};
use serde::Serialize;

use crate::{
    kernel::netlink::{ipnet::IpNet, kind::Kind},
    model::{
        child::{Child, mac_text},
        claims::claims,
        container::Container,
        description::{Carrier, Degraded, Demux, Description, Hairpin, HostFlood},
        held::WireAddress,
        master::Master,
        members::Members,
        options::{DropUnknown, Isolation},
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
    /// Whether frames from the wire, and between siblings, pass a program of ours in TC. Where they do not, they are neither
    /// counted by path nor directed.
    pub ingress: bool,
    /// Whether requests for a known address go to its owner alone.
    pub directed_neigh: bool,
    /// How the host's broadcasts get to the children: "device", "master" or "off".
    pub host_flood: HostFlood,
    /// Broadcast and multicast frames a second from the wire, and from each child; `None` is no limit.
    pub storm_limit: Option<NonZeroU32>,
    /// What is less than the best, and why.
    pub degraded: Vec<Degraded>,
    /// Whether unicast from the wire to nobody here is dropped: "off", "on" or "force".
    pub drop_unknown: DropUnknown,
    /// Whether the switch sends frames back out of the port they came in by.
    pub vepa_switch: bool,
    /// Whether children speak with the master's MAC on the wire.
    pub single_mac: bool,
    /// How certain it is that a frame with the host's MAC is the host's: "off" or "strict".
    pub isolation: Isolation,
    /// All its children.
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
    /// Whether the data path knows it; without one, the driver carries all.
    pub adopted: bool,
    /// Whether it reaches the host through the hairpin.
    pub host_access: bool,
    /// Why not, where it does not.
    pub host_access_reason: Option<String>,
    /// Whether its settings hang on its container, which is not known: it may the least meanwhile.
    pub unsettled: bool,
    /// What else was set for it.
    #[serde(flatten)]
    pub policy: PolicyStatus,
    /// We made it.
    pub owned: bool,
    /// The container it belongs to, where an engine says so.
    pub container: Option<Container>,
    /// Its IP addresses, where its namespace tells them.
    pub addresses: Vec<IpNet>,
    /// The addresses by which what comes from a wire of one MAC is given to it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub wire_addresses: Vec<WireAddress>,
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
    let degraded = description.degraded.iter().cloned();
    let degraded =
        degraded.chain(claims(master, children, members).into_iter().map(|(_, degraded)| degraded));
    let told = |child: &&Child| describe_child(child, &master.name, description, members, netns.as_deref());
    let children = children.iter().map(told).collect();
    MasterStatus {
        ifname: master.name.clone(),
        ifindex: master.index,
        address: master.mac,
        netns,
        datapath: description.carrier,
        demux: description.demux,
        hairpin: description.hairpin,
        ingress: description.ingress,
        directed_neigh: description.directs,
        host_flood: description.host_flood,
        storm_limit: description.storm_limit,
        degraded: degraded.collect(),
        drop_unknown: description.drop_unknown,
        vepa_switch: description.vepa_switch,
        single_mac: description.single_mac,
        isolation: description.isolation,
        children,
    }
}

fn describe_child(
    child: &Child,
    master: &str,
    description: &Description,
    members: &Members,
    own_netns: Option<&str>,
) -> ChildStatus {
    let carries_all = description.carrier == Carrier::Kernel;
    let known = members.policies.get(&child.mac).copied().filter(|_| !child.usurps);
    let adopted = carries_all || known.is_some();
    let policy = known.unwrap_or_default();
    let netns = match child.place.nsid {
        None => own_netns.map(str::to_owned),
        Some(_) => child.place.label.clone(),
    };
    let host_access_reason = match adopted {
        true => no_host_access(child, master, policy, description),
        false if child.usurps => Some("it has the MAC that another child is held to".to_owned()),
        false => Some(match description.adopts || child.is_ours() {
            true => format!("not adopted: macvlan-ctl attach {master}, or run"),
            false => "not adopted: adopt is off".to_owned(),
        }),
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
        local: match known {
            Some(_) if !carries_all => members.is_local(child.mac) && child.has_its_mac(),
            _ => child.up && !child.protodown,
        },
        elsewhere: members.elsewhere.contains(&child.mac),
        host_owned: policy.is_hosts() && child.place.nsid.is_none(),
        adopted,
        host_access: host_access_reason.is_none(),
        host_access_reason,
        unsettled: policy.is_unsettled(),
        policy: PolicyStatus::of(policy, members.rates_of(child.mac), &members.groups),
        owned: child.owned,
        container: None,
        addresses: child.addresses.clone(),
        wire_addresses: Vec::new(),
    }
}

/// What is wrong with a child that is left alone for its MAC.
pub const CLAIMED: &str = "the MAC of a gateway or neighbour of the host";

/// What is wrong with a child that may the least for now.
pub const UNSETTLED: &str = "its settings hang on its container, which is not known yet";

/// Why a child with this policy does not reach the host through the hairpin, if so.
fn no_host_access(child: &Child, master: &str, policy: Policy, description: &Description) -> Option<String> {
    if description.hairpin == Hairpin::Off {
        let reason = description.degraded.iter().rev().find(|degraded| degraded.feature == "hairpin");
        return Some(reason.map_or("the hairpin is off".into(), |off| off.reason.clone()));
    }
    if policy.is_hosts() {
        return Some(match child.place.nsid {
            None => "a device of the host's own".into(),
            Some(_) => format!(
                "it has {CLAIMED}; if it is that one: macvlan-ctl child set {master} {},host-access=on",
                child.mac
            ),
        });
    }
    (!policy.host_access()).then(|| match policy.is_unsettled() {
        true => UNSETTLED.into(),
        false => "host-access is off".into(),
    })
}

#[cfg(test)]
mod tests {
    use macvlan_common::child::Mode;

    use super::*;

    #[test]
    fn a_child_reaches_the_host_or_the_reason_is_told() {
        let mac = |last| Mac::new([2, 0, 0, 0, 0, last]);
        let children = [1, 2, 3, 4].map(|last| Child::example("web", mac(last)));
        let policy = |on| Policy::new(Mode::Bridge, on);
        let policies =
            [(mac(1), policy(true)), (mac(2), policy(false)), (mac(3), policy(true).with_hosts(true))];
        let members = Members { policies: policies.into(), ..Members::default() };
        let mut description = Description {
            carrier: Carrier::Bpf,
            demux: Demux::Tc,
            hairpin: Hairpin::Tcx,
            ingress: true,
            host_flood: HostFlood::Off,
            degraded: Vec::new(),
            adopts: true,
            drop_unknown: DropUnknown::Off,
            vepa_switch: false,
            isolation: Isolation::Off,
            single_mac: false,
            directs: true,
            storm_limit: None,
        };
        let reasons = |description: &Description| {
            children.each_ref().map(|child| {
                let told = describe_child(child, "eth0", description, &members, None);
                assert_eq!(told.host_access, told.host_access_reason.is_none());
                told.host_access_reason.unwrap_or_default()
            })
        };
        let strange = "not adopted: macvlan-ctl attach eth0, or run";
        let own = "a device of the host's own";
        assert_eq!(reasons(&description), ["", "host-access is off", own, strange]);
        description.adopts = false;
        assert_eq!(reasons(&description)[3], "not adopted: adopt is off");
        description.hairpin = Hairpin::Off;
        description.degraded = vec![Degraded::new("hairpin", "tcx", "off", "so")];
        assert_eq!(reasons(&description), ["so", "so", "so", "not adopted: adopt is off"]);
    }
}
