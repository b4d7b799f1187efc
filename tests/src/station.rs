//! Somebody on the network of a lab.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use macvlan_bench::lab::{
    cables::{bring_up, on},
    namespaces::WITHOUT_IPV6,
    traffic::Endpoint,
};
use macvlan_common::mac::Mac;
use macvlan_core::kernel::netlink::{Netlink, ipnet::IpNet};

use crate::{
    fail::{OrFail as _, wait_for},
    netns::Netns,
};

/// Somebody on the network: a namespace, the device it talks through, and its addresses.
#[derive(Debug)]
pub struct Station {
    /// Where it lives.
    pub ns: Netns,
    /// Its device.
    pub dev: String,
    /// Its MAC.
    pub mac: Mac,
    /// Its IPv4 address, in 10.9.0.0/24.
    pub ip: Ipv4Addr,
    /// Its IPv6 address, in fd09::/64; set when the lab has IPv6.
    pub ip6: Ipv6Addr,
}

impl Station {
    /// Itself as an address for the given family.
    pub fn address(&self, family: Family) -> IpAddr {
        match family {
            Family::V4 => self.ip.into(),
            Family::V6 => self.ip6.into(),
        }
    }

    /// As traffic workloads take it.
    pub fn endpoint(&self) -> Endpoint<'_> {
        Endpoint { netns: &self.ns, address: self.ip }
    }

    /// Gives it a permanent neighbour.
    #[track_caller]
    pub fn knows(&self, other: &Self) {
        let (mac, dev) = (other.mac, &self.dev);
        self.ns.ip(&format!("neigh replace {} lladdr {mac} dev {dev} nud permanent", other.ip));
    }

    /// Gives it a permanent IPv6 neighbour.
    #[track_caller]
    pub fn knows6(&self, other: &Self) {
        let (mac, dev) = (other.mac, &self.dev);
        self.ns.ip(&format!("neigh replace {} lladdr {mac} dev {dev} nud permanent", other.ip6));
    }

    /// Gives its device its addresses, and brings it up.
    #[track_caller]
    pub fn come_up(&self, ipv6: Ipv6) {
        let Station { ns, dev, ip, ip6, .. } = self;
        let ip = IpNet { address: (*ip).into(), prefix: 24 };
        let ip6 = IpNet { address: (*ip6).into(), prefix: 64 };
        let (before, after) = match ipv6 {
            Ipv6::Off => (vec![ip], vec![]),
            Ipv6::Quiet => (vec![ip, ip6], vec![]),
            Ipv6::Full => (vec![ip], vec![ip6]),
        };
        on(ns, async || {
            let netlink = Netlink::open()?;
            let index = bring_up(&netlink, dev, before).await?;
            for address in after {
                netlink.add_address(index, address).await?;
            }
            Ok(())
        })
        .or_fail(format!("bring {dev} up"));
    }

    /// Waits until its device carries traffic.
    #[track_caller]
    pub fn wait_until_up(&self) {
        wait_for(format_args!("{} to come up", self.dev), || {
            let links = self.ns.ip_json(&format!("link show dev {}", self.dev));
            (links[0]["operstate"] == "UP").then_some(())
        });
    }
}

/// An address family.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Family {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

/// Both families.
pub const FAMILIES: [Family; 2] = [Family::V4, Family::V6];

/// How much IPv6 there is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ipv6 {
    /// None.
    Off,
    /// Addresses without duplicate address detection or router discovery.
    Quiet,
    /// As on any machine.
    Full,
}

impl Ipv6 {
    /// Settings that a namespace needs for it.
    pub fn settings(self) -> &'static [(&'static str, u32)] {
        match self {
            Self::Off => &WITHOUT_IPV6,
            Self::Quiet => &[
                ("ipv6/conf/default/accept_ra", 0),
                ("ipv6/conf/default/accept_dad", 0),
                ("ipv6/conf/default/dad_transmits", 0),
                ("ipv6/conf/default/router_solicitations", 0),
                // No link-local address.
                ("ipv6/conf/default/addr_gen_mode", 1),
            ],
            Self::Full => &[],
        }
    }
}
