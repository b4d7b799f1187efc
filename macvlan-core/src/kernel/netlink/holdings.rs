//! What the devices of a namespace hold: addresses, routes and permanent neighbours, whole, as the kernel
//! told of them, so that what was lost can be given back.

use std::collections::BTreeSet;

use anyhow::{Context, Error, Result};
use netlink_packet_core::{NLM_F_CREATE, NLM_F_EXCL, NLM_F_REPLACE};
use netlink_packet_route::{
    AddressFamily, RouteNetlinkMessage,
    address::{AddressAttribute, AddressMessage},
    neighbour::{NeighbourAttribute, NeighbourMessage, NeighbourState},
    route::{RouteAttribute, RouteFlags, RouteHeader, RouteMessage, RouteNextHopFlags, RouteType},
};
use nix::errno::Errno;

use crate::kernel::netlink::{Netlink, kernel_errno};

/// The addresses, routes and permanent neighbours in one namespace.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Holdings {
    addresses: Vec<AddressMessage>,
    routes: Vec<RouteMessage>,
    neighbours: Vec<NeighbourMessage>,
}

impl Netlink {
    /// Everything that the devices of the socket's namespace hold.
    ///
    /// # Errors
    ///
    /// The kernel does not list addresses, routes or neighbours.
    pub async fn holdings(&self) -> Result<Holdings> {
        let mut holdings = Holdings::default();
        let addresses = RouteNetlinkMessage::GetAddress(AddressMessage::default());
        for object in self.dump(addresses).await.context("cannot list addresses")? {
            if let RouteNetlinkMessage::NewAddress(address) = object {
                holdings.addresses.push(address);
            }
        }
        let routes = RouteNetlinkMessage::GetRoute(RouteMessage::default());
        for object in self.dump(routes).await.context("cannot list routes")? {
            if let RouteNetlinkMessage::NewRoute(route) = object {
                holdings.routes.extend(settable(route));
            }
        }
        let neighbours = RouteNetlinkMessage::GetNeighbour(NeighbourMessage::default());
        for object in self.dump(neighbours).await.context("cannot list neighbours")? {
            match object {
                RouteNetlinkMessage::NewNeighbour(entry)
                    if entry.header.state == NeighbourState::Permanent && is_ip(entry.header.family) =>
                {
                    holdings.neighbours.push(entry);
                }
                _ => {}
            }
        }
        Ok(holdings)
    }

    /// Gives these devices back what they held and have lost. The default routes of the namespace, through
    /// whatever device, become those of before. Gives what could not be.
    pub async fn give_back(&self, before: &Holdings, devices: &BTreeSet<u32>) -> Vec<Error> {
        let now = match self.holdings().await {
            Ok(now) => now,
            Err(error) => return vec![error],
        };
        let mut refused = Vec::new();
        let mut note = |done: Result<()>, what: &str| {
            let done = done.or_else(|error| match kernel_errno(&error) {
                // It came back by itself, or went.
                Some(Errno::EEXIST | Errno::ESRCH) => Ok(()),
                _ => Err(error),
            });
            refused.extend(done.with_context(|| format!("cannot {what}")).err());
        };

        let present: Vec<_> = now.addresses.iter().map(identity).collect();
        let is_lost = |address: &&AddressMessage| {
            devices.contains(&address.header.index) && !present.contains(&identity(address))
        };
        let (ipv6, ipv4): (Vec<_>, Vec<_>) = before
            .addresses
            .iter()
            .filter(is_lost)
            .partition(|address| address.header.family == AddressFamily::Inet6);
        // The latest IPv6 address comes first (`ipv6_link_dev_addr`), the latest IPv4 address last.
        for address in ipv4.into_iter().chain(ipv6.into_iter().rev()) {
            let message = RouteNetlinkMessage::NewAddress(address.clone());
            note(self.change(message, NLM_F_CREATE | NLM_F_EXCL).await, "give back an address");
        }

        let is_ours = |route: &&RouteMessage| outputs(route).any(|index| devices.contains(&index));
        let new = now.routes.iter().filter(|route| is_default(route) && !before.routes.contains(route));
        for route in new.filter(is_ours) {
            let message = RouteNetlinkMessage::DelRoute(route.clone());
            note(self.change(message, 0).await, "take back a default route");
        }
        let lost = before.routes.iter().filter(|route| !now.routes.contains(route));
        let mut lost: Vec<_> = lost.filter(|route| is_default(route) || is_ours(route)).collect();
        // What leads to a gateway comes before what goes through it.
        lost.sort_by_key(|route| !is_direct(route));
        for route in lost {
            // Without `NLM_F_APPEND`: of routes with one metric the first was replaced.
            let message = RouteNetlinkMessage::NewRoute(route.clone());
            note(self.change(message, NLM_F_CREATE).await, "give back a route");
        }

        let lost = before.neighbours.iter().filter(|entry| {
            let is_it = |other: &&NeighbourMessage| {
                other.header.ifindex == entry.header.ifindex && key(other) == key(entry)
            };
            devices.contains(&entry.header.ifindex) && !now.neighbours.iter().any(|other| is_it(&other))
        });
        for entry in lost {
            let mut entry = entry.clone();
            entry.attributes.retain(|attribute| {
                matches!(
                    attribute,
                    NeighbourAttribute::Destination(_) | NeighbourAttribute::LinkLayerAddress(_)
                )
            });
            let message = RouteNetlinkMessage::NewNeighbour(entry);
            note(self.change(message, NLM_F_CREATE | NLM_F_REPLACE).await, "give back a neighbour");
        }
        refused
    }
}

/// A route as it can be set, without what the kernel adds when it tells of one; `None` for one that comes
/// and goes with an address, or that the kernel remembers for itself.
fn settable(mut route: RouteMessage) -> Option<RouteMessage> {
    /// Ticks a second as the kernel tells of them (`USER_HZ`).
    const TICKS: u32 = 100;
    let header = &mut route.header;
    let comes_with_address = matches!(
        header.kind,
        RouteType::Local | RouteType::Broadcast | RouteType::Multicast | RouteType::Anycast
    );
    if comes_with_address || header.flags.contains(RouteFlags::Cloned) || !is_ip(header.address_family) {
        return None;
    }
    // What else there is tells of a state: `fib_create_info` in net/ipv4/fib_semantics.c refuses it.
    header.flags &= RouteFlags::Onlink;
    let has_object = route.attributes.iter().any(|attribute| matches!(attribute, RouteAttribute::NhId(_)));
    let is_kept = |attribute: &RouteAttribute| match attribute {
        // A next hop object stands for them (`fib_nh_match`, `fib6_config`).
        RouteAttribute::Oif(_)
        | RouteAttribute::Gateway(_)
        | RouteAttribute::Via(_)
        | RouteAttribute::MultiPath(_) => !has_object,
        RouteAttribute::CacheInfo(_) | RouteAttribute::Iif(_) => false,
        _ => true,
    };
    let expires = route.attributes.iter().find_map(|attribute| match attribute {
        RouteAttribute::CacheInfo(info) => Some(info.expires.cast_signed()).filter(|ticks| *ticks > 0),
        _ => None,
    });
    route.attributes.retain(is_kept);
    for attribute in &mut route.attributes {
        if let RouteAttribute::MultiPath(hops) = attribute {
            hops.iter_mut().for_each(|hop| hop.flags &= RouteNextHopFlags::Onlink);
        }
    }
    let seconds = expires.map(|ticks| ticks.cast_unsigned().div_ceil(TICKS));
    route.attributes.extend(seconds.map(RouteAttribute::Expires));
    Some(route)
}

fn is_default(route: &RouteMessage) -> bool {
    route.header.destination_prefix_length == 0 && route.header.table == RouteHeader::RT_TABLE_MAIN
}

fn is_direct(route: &RouteMessage) -> bool {
    let through = |attribute: &RouteAttribute| {
        matches!(
            attribute,
            RouteAttribute::Gateway(_) | RouteAttribute::Via(_) | RouteAttribute::MultiPath(_)
        )
    };
    !route.attributes.iter().any(through)
}

/// The devices that a route leads through.
fn outputs(route: &RouteMessage) -> impl Iterator<Item = u32> {
    route.attributes.iter().flat_map(|attribute| match attribute {
        RouteAttribute::Oif(index) => vec![*index],
        RouteAttribute::MultiPath(hops) => hops.iter().map(|hop| hop.interface_index).collect(),
        _ => Vec::new(),
    })
}

fn is_ip(family: AddressFamily) -> bool {
    matches!(family, AddressFamily::Inet | AddressFamily::Inet6)
}

/// What tells an address from others, but for what the kernel changes of it by itself.
fn identity(address: &AddressMessage) -> (u32, u8, Vec<&AddressAttribute>) {
    let names = address
        .attributes
        .iter()
        .filter(|attribute| matches!(attribute, AddressAttribute::Address(_) | AddressAttribute::Local(_)));
    (address.header.index, address.header.prefix_len, names.collect())
}

fn key(entry: &NeighbourMessage) -> Vec<&NeighbourAttribute> {
    let is_key = |attribute: &&NeighbourAttribute| {
        matches!(attribute, NeighbourAttribute::Destination(_) | NeighbourAttribute::LinkLayerAddress(_))
    };
    entry.attributes.iter().filter(is_key).collect()
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use netlink_packet_route::route::{RouteAddress, RouteCacheInfo, RouteProtocol};

    use super::*;

    fn default_route() -> RouteMessage {
        let mut route = RouteMessage::default();
        route.header.address_family = AddressFamily::Inet;
        route.header.table = RouteHeader::RT_TABLE_MAIN;
        route.header.kind = RouteType::Unicast;
        route.header.protocol = RouteProtocol::Dhcp;
        route.attributes.extend([
            RouteAttribute::Gateway(RouteAddress::Inet(Ipv4Addr::new(10, 9, 0, 1))),
            RouteAttribute::Oif(7),
            RouteAttribute::Priority(100),
        ]);
        route
    }

    #[test]
    fn a_route_is_kept_whole_but_for_its_state() {
        let mut told = default_route();
        told.header.flags = RouteFlags::Onlink | RouteFlags::Linkdown;
        // The third of eight numbers says when it ends (`struct rta_cacheinfo`).
        let numbers = [0, 0, 150, 0, 0, 0, 0, 0].map(u32::to_ne_bytes).concat();
        let info = RouteCacheInfo::parse(&numbers).unwrap();
        told.attributes.push(RouteAttribute::CacheInfo(info));
        let mut wanted = default_route();
        wanted.header.flags = RouteFlags::Onlink;
        wanted.attributes.push(RouteAttribute::Expires(2));
        assert_eq!(settable(told), Some(wanted.clone()));
        assert!(is_default(&wanted) && !is_direct(&wanted));
        assert_eq!(outputs(&wanted).collect::<Vec<_>>(), [7]);
    }

    #[test]
    fn what_comes_with_an_address_is_not_kept() {
        let mut told = default_route();
        told.header.kind = RouteType::Local;
        assert_eq!(settable(told), None);
    }
}
