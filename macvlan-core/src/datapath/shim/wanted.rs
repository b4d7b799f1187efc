//! What a shim is to hold: pure, out of what the kernel tells of the host and the children.
//!
//! The addresses of a container's child are whatever the container says. So the host's way leads
//! through the shim to addresses on its own links alone, never to its own addresses or gateways, and
//! to no more than so many of each child.

use std::{
    collections::{BTreeSet, btree_map::Entry},
    net::IpAddr,
};

use macvlan_common::child::Mode;

use crate::{datapath::shim::contents::Contents, kernel::netlink::ipnet::IpNet, model::child::Child};

/// Most addresses of one child that the host's way leads to.
pub const MOST_ADDRESSES: usize = 64;

/// Names in a reason.
const MOST_NAMES: usize = 5;

/// The host, as far as it matters.
#[derive(Debug, Clone, Default)]
pub struct Host {
    /// Addresses of the master that last.
    pub addresses: Vec<IpNet>,
    /// Gateways behind the master.
    pub gateways: BTreeSet<IpAddr>,
}

/// What a shim is to hold for these children, and which of them the host cannot reach by it, in words.
/// One that may not talk to the host gets no route, but a neighbour: that tells later commands.
pub fn decide(host: &Host, children: &[Child], may_talk: &dyn Fn(&Child) -> bool) -> (Contents, Vec<String>) {
    let mut contents =
        Contents { addresses: host.addresses.iter().map(|net| net.address).collect(), ..Contents::default() };
    let (mut silent, mut far): (Vec<&str>, Vec<&str>) = (Vec::new(), Vec::new());
    for child in children.iter().filter(|child| child.up && !child.unfinished) {
        let may_talk = may_talk(child);
        if child.mode != Mode::Bridge {
            silent.extend(may_talk.then_some(child.name.as_str()));
            continue;
        }
        let sources = child.addresses.iter().map(|net| net.address);
        let sources = sources.filter_map(|address| Some((address, source_for(host, address)?)));
        let mut is_near = false;
        for (address, source) in sources.take(MOST_ADDRESSES) {
            is_near = true;
            // Of two children with one address the first has it: one way is as good as the other.
            if let Entry::Vacant(entry) = contents.neighbours.entry(address) {
                entry.insert(child.mac);
                contents.routes.extend(may_talk.then_some((address, source)));
            }
        }
        if may_talk && !is_near {
            far.push(&child.name);
        }
    }
    let mut left_out = Vec::new();
    if host.addresses.is_empty() {
        left_out.push("the master has no IP address to be reached at".to_owned());
    }
    if !silent.is_empty() {
        left_out.push(format!("a shim reaches children in mode bridge alone, not {}", list(&silent)));
    }
    if !far.is_empty() && !host.addresses.is_empty() {
        left_out.push(format!("no address in the master's own networks: {}", list(&far)));
    }
    (contents, left_out)
}

/// The address that the host speaks with to a child's address; `None` where it must not be led there.
fn source_for(host: &Host, address: IpAddr) -> Option<IpAddr> {
    let is_own = host
        .addresses
        .iter()
        .any(|net| net.address == address || net.is_reserved(address) && net.contains(address));
    if is_own || host.gateways.contains(&address) || !is_ordinary(address) {
        return None;
    }
    let nets = host.addresses.iter().filter(|net| net.contains(address));
    nets.max_by_key(|net| net.prefix).map(|net| net.address)
}

/// Whether one host may have this address on more than a link.
fn is_ordinary(address: IpAddr) -> bool {
    let is_of_a_link = match address {
        IpAddr::V4(address) => address.is_link_local() || address.is_broadcast(),
        IpAddr::V6(address) => address.is_unicast_link_local() || address.to_ipv4_mapped().is_some(),
    };
    !(is_of_a_link || address.is_loopback() || address.is_multicast() || address.is_unspecified())
}

fn list(names: &[&str]) -> String {
    let more = if names.len() > MOST_NAMES { ", ..." } else { "" };
    format!("{}{more}", names[..names.len().min(MOST_NAMES)].join(", "))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use macvlan_common::mac::Mac;

    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn host() -> Host {
        Host {
            addresses: vec!["10.9.0.2/24".parse().unwrap(), "fd09::2/64".parse().unwrap()],
            gateways: [ip("10.9.0.1")].into(),
        }
    }

    fn child(name: &str, last: u8, addresses: &[&str]) -> Child {
        let addresses = addresses.iter().map(|text| text.parse().unwrap()).collect();
        Child { addresses, ..Child::example(name, Mac::new([2, 0, 0, 0, 0, last])) }
    }

    fn routed(child: &Child) -> Vec<IpAddr> {
        decide(&host(), std::slice::from_ref(child), &|_| true).0.routes.into_keys().collect()
    }

    #[test]
    fn each_address_is_spoken_to_with_the_hosts_own_in_its_network() {
        let web = child("web", 5, &["10.9.0.11/24", "fd09::b/64"]);
        let (contents, left_out) = decide(&host(), std::slice::from_ref(&web), &|_| true);
        assert_eq!(contents.addresses, [ip("10.9.0.2"), ip("fd09::2")].into());
        let wanted = [(ip("10.9.0.11"), ip("10.9.0.2")), (ip("fd09::b"), ip("fd09::2"))];
        assert_eq!(contents.routes, wanted.into());
        assert_eq!(contents.access(), [(web.mac, true)].into());
        assert!(left_out.is_empty());
        let (contents, left_out) = decide(&host(), std::slice::from_ref(&web), &|_| false);
        assert_eq!((contents.routes, left_out), (BTreeMap::new(), Vec::new()));
    }

    #[test]
    fn a_container_cannot_draw_the_hosts_traffic_to_itself() {
        // Its gateway, itself, everybody, a stranger, a link's own, this machine.
        for address in [
            "10.9.0.1/24",
            "10.9.0.2/24",
            "10.9.0.255/24",
            "10.9.0.0/24",
            "8.8.8.8/32",
            "fe80::1/64",
            "127.0.0.2/8",
            "169.254.1.1/16",
            "fd09::/64",
            "2001:db8::1/64",
            "0.0.0.0/0",
            "224.0.0.1/4",
        ] {
            let net = address.split_once('/').unwrap();
            let net = IpNet { address: ip(net.0), prefix: net.1.parse().unwrap() };
            let evil = Child { addresses: vec![net], ..child("evil", 5, &[]) };
            assert_eq!(routed(&evil), Vec::<IpAddr>::new(), "{address}");
        }
        let many = (0..200).map(|last| format!("10.9.0.{last}/24").parse().unwrap()).collect();
        assert_eq!(routed(&Child { addresses: many, ..child("many", 5, &[]) }).len(), MOST_ADDRESSES);
    }

    #[test]
    fn who_cannot_be_reached_is_named() {
        let private = Child { mode: Mode::Private, ..child("private", 5, &["10.9.0.11/24"]) };
        let far = child("far", 6, &["10.8.0.11/24"]);
        let down = Child { up: false, ..child("down", 7, &[]) };
        let (contents, left_out) = decide(&host(), &[private.clone(), far.clone(), down], &|_| true);
        assert!(contents.routes.is_empty());
        assert_eq!(left_out.len(), 2);
        assert!(left_out[0].ends_with("not private") && left_out[1].ends_with(": far"), "{left_out:?}");
        assert!(decide(&host(), &[private, far.clone()], &|_| false).1.is_empty());
        assert_eq!(decide(&Host::default(), &[far], &|_| true).1.len(), 1);
    }

    #[test]
    fn who_may_not_talk_is_remembered_by_a_neighbour_without_a_route() {
        let (web, db) = (child("web", 5, &["10.9.0.11/24"]), child("db", 6, &["10.9.0.12/24"]));
        let (contents, _) = decide(&host(), &[web.clone(), db.clone()], &|child| child.name == "web");
        assert_eq!(contents.access(), [(web.mac, true), (db.mac, false)].into());
    }

    #[test]
    fn of_two_networks_the_narrower_has_the_hosts_address() {
        let wide =
            Host { addresses: vec!["10.0.0.2/8".parse().unwrap(), "10.9.0.2/24".parse().unwrap()], ..host() };
        assert_eq!(source_for(&wide, ip("10.9.0.7")), Some(ip("10.9.0.2")));
        assert_eq!(source_for(&wide, ip("10.1.0.7")), Some(ip("10.0.0.2")));
    }
}
