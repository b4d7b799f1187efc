//! Routes to single hosts through one device, and the gateways behind another.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use anyhow::{Context, Result};
use netlink_packet_core::{NLM_F_CREATE, NLM_F_EXCL};
use netlink_packet_route::{
    AddressFamily, RouteNetlinkMessage,
    route::{
        RouteAddress, RouteAttribute, RouteHeader, RouteMessage, RouteProtocol, RouteScope, RouteType,
        RouteVia,
    },
};
use nix::errno::Errno;
use rtnetlink::RouteMessageBuilder;

use crate::kernel::netlink::{Netlink, kernel_errno};

/// Who made a route, for `ip route show proto 109`: no protocol of `/etc/iproute2/rt_protos`.
pub const OUR_PROTOCOL: u8 = 109;

/// The metric of our routes: whatever somebody else has to say of a host wins.
const METRIC: u32 = 0x6d76;

/// A route to one host on a link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HostRoute {
    /// The host.
    pub to: IpAddr,
    /// The address that we speak to it with.
    pub source: IpAddr,
}

impl Netlink {
    /// Our routes to hosts through the device with this index: each host, and our address for it. The
    /// socket must be a strict one (see [`open_strict`](Self::open_strict)).
    ///
    /// # Errors
    ///
    /// The device is gone.
    pub async fn host_routes(&self, index: u32) -> Result<BTreeMap<IpAddr, IpAddr>> {
        let routes = self.routes_through(index).await?;
        Ok(routes.into_iter().filter_map(host_route).map(|route| (route.to, route.source)).collect())
    }

    /// The gateways that are reached through the device with this index. The socket must be a strict
    /// one (see [`open_strict`](Self::open_strict)).
    ///
    /// # Errors
    ///
    /// The namespace is gone.
    pub async fn gateways(&self, index: u32) -> Result<BTreeSet<IpAddr>> {
        let routes = self.routes_through(index).await?;
        let attributes = routes.into_iter().flat_map(|route| route.attributes);
        Ok(attributes
            .filter_map(|attribute| match attribute {
                RouteAttribute::Gateway(address) => ip_of(&address),
                _ => None,
            })
            .collect())
    }

    /// The next hops that are reached through the device with this index, by the routes of all tables. The
    /// socket must be a strict one (see [`open_strict`](Self::open_strict)).
    ///
    /// # Errors
    ///
    /// Routes cannot be listed: no memory is left, or the dump was interrupted too often.
    pub async fn next_hops(&self, index: u32) -> Result<BTreeSet<IpAddr>> {
        let routes = self.dump_routes(index, RouteHeader::RT_TABLE_UNSPEC).await?;
        Ok(routes.iter().flat_map(|route| next_hops_through(&route.attributes, index)).collect())
    }

    /// The networks on the link of the device with this index, by the routes of all tables: those that it reaches
    /// without a gateway. The socket must be a strict one (see [`open_strict`](Self::open_strict)).
    ///
    /// # Errors
    ///
    /// As of [`next_hops`](Self::next_hops).
    pub async fn networks_on_link(&self, index: u32) -> Result<BTreeSet<(IpAddr, u8)>> {
        let routes = self.dump_routes(index, RouteHeader::RT_TABLE_UNSPEC).await?;
        Ok(routes.iter().filter_map(|route| network_on_link(route, index)).collect())
    }

    /// The index of the device that the default route with the least metric leads through, of either family; of one
    /// over several devices, the first.
    ///
    /// # Errors
    ///
    /// Routes cannot be listed: no memory is left, or the dump was interrupted too often.
    pub async fn default_route_device(&self) -> Result<Option<u32>> {
        let request = RouteNetlinkMessage::GetRoute(RouteMessage::default());
        let objects = self.dump(request).await.context("cannot list routes")?;
        let routes = objects.into_iter().filter_map(|object| match object {
            RouteNetlinkMessage::NewRoute(route) => default_route(&route),
            _ => None,
        });
        // Of equals, the first.
        Ok(routes.min_by_key(|(metric, _)| *metric).map(|(_, index)| index))
    }

    /// Makes a route to a host through a device; one of ours that is there already is left as it is.
    ///
    /// # Errors
    ///
    /// The device is gone or down, or another route has the place.
    pub async fn add_host_route(&self, index: u32, route: HostRoute) -> Result<()> {
        let message = RouteNetlinkMessage::NewRoute(message(index, route));
        match self.change(message, NLM_F_CREATE | NLM_F_EXCL).await {
            Err(error) if kernel_errno(&error) == Some(Errno::EEXIST) => Ok(()),
            other => other.with_context(|| format!("cannot add a route to {}", route.to)),
        }
    }

    /// Takes a route of ours away; that it is gone already is no error.
    ///
    /// # Errors
    ///
    /// The route is gone.
    pub async fn remove_host_route(&self, index: u32, route: HostRoute) -> Result<()> {
        match self.change(RouteNetlinkMessage::DelRoute(message(index, route)), 0).await {
            Err(error) if matches!(kernel_errno(&error), Some(Errno::ESRCH | Errno::ENODEV)) => Ok(()),
            other => other.with_context(|| format!("cannot remove the route to {}", route.to)),
        }
    }

    /// The routes of the main table through a device, of both families.
    async fn routes_through(&self, index: u32) -> Result<Vec<RouteMessage>> {
        let mut routes = self.dump_routes(index, RouteHeader::RT_TABLE_MAIN).await?;
        // A kernel that does not know the filter gives everything.
        routes.retain(|route| is_through(route, index));
        Ok(routes)
    }

    /// The routes of a table, of both families; those through a device alone where the kernel knows that
    /// filter.
    async fn dump_routes(&self, index: u32, table: u8) -> Result<Vec<RouteMessage>> {
        let mut all = Vec::new();
        let families = [
            RouteMessageBuilder::<Ipv4Addr>::new().build().header.address_family,
            RouteMessageBuilder::<Ipv6Addr>::new().build().header.address_family,
        ];
        for family in families {
            let mut request = RouteMessage::default();
            request.header.address_family = family;
            request.header.table = table;
            request.attributes.push(RouteAttribute::Oif(index));
            let objects = match self.dump(RouteNetlinkMessage::GetRoute(request)).await {
                // A kernel without IPv6, or a table of it that nothing is in yet.
                Err(error) if matches!(kernel_errno(&error), Some(Errno::EOPNOTSUPP | Errno::ENOENT)) => {
                    continue;
                }
                objects => objects.context("cannot list routes")?,
            };
            all.extend(objects.into_iter().filter_map(|object| match object {
                RouteNetlinkMessage::NewRoute(route) => Some(route),
                _ => None,
            }));
        }
        Ok(all)
    }
}

fn is_through(route: &RouteMessage, index: u32) -> bool {
    route.header.table == RouteHeader::RT_TABLE_MAIN && route.attributes.contains(&RouteAttribute::Oif(index))
}

/// The next hops in the attributes of a route through a device, or of one over several devices.
fn next_hops_through(attributes: &[RouteAttribute], index: u32) -> Vec<IpAddr> {
    let is_through = attributes.contains(&RouteAttribute::Oif(index));
    let mut hops = if is_through { next_hops(attributes) } else { Vec::new() };
    for attribute in attributes {
        if let RouteAttribute::MultiPath(several) = attribute {
            let through = several.iter().filter(|hop| hop.interface_index == index);
            hops.extend(through.flat_map(|hop| next_hops(&hop.attributes)));
        }
    }
    hops
}

fn next_hops(attributes: &[RouteAttribute]) -> Vec<IpAddr> {
    let address = |attribute: &RouteAttribute| match attribute {
        RouteAttribute::Gateway(address) => ip_of(address),
        RouteAttribute::Via(RouteVia::Inet(address)) => Some((*address).into()),
        RouteAttribute::Via(RouteVia::Inet6(address)) => Some((*address).into()),
        _ => None,
    };
    attributes.iter().filter_map(address).collect()
}

/// Metric and device, if it is a default route of the main table.
fn default_route(route: &RouteMessage) -> Option<(u32, u32)> {
    let header = &route.header;
    let is_default = header.table == RouteHeader::RT_TABLE_MAIN
        && header.kind == RouteType::Unicast
        && header.destination_prefix_length == 0;
    let (mut metric, mut index) = (0, None);
    for attribute in &route.attributes {
        match attribute {
            RouteAttribute::Priority(priority) => metric = *priority,
            RouteAttribute::Oif(device) => index = Some(*device),
            RouteAttribute::MultiPath(hops) => index = hops.first().map(|hop| hop.interface_index),
            _ => {}
        }
    }
    index.filter(|_| is_default).map(|index| (metric, index))
}

fn network_on_link(route: &RouteMessage, index: u32) -> Option<(IpAddr, u8)> {
    let has_gateway = !next_hops_through(&route.attributes, index).is_empty();
    let is_through = route.attributes.contains(&RouteAttribute::Oif(index));
    if route.header.kind != RouteType::Unicast || has_gateway || !is_through {
        return None;
    }
    let to = route.attributes.iter().find_map(|attribute| match attribute {
        RouteAttribute::Destination(address) => ip_of(address),
        _ => None,
    });
    let any = match route.header.address_family {
        AddressFamily::Inet => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        _ => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
    };
    let to = to.unwrap_or(any);
    (!to.is_multicast()).then_some((to, route.header.destination_prefix_length))
}

fn host_route(route: RouteMessage) -> Option<HostRoute> {
    if route.header.protocol != RouteProtocol::Other(OUR_PROTOCOL) {
        return None;
    }
    let (mut to, mut source) = (None, None);
    for attribute in &route.attributes {
        match attribute {
            RouteAttribute::Destination(address) => to = ip_of(address),
            RouteAttribute::PrefSource(address) => source = ip_of(address),
            _ => {}
        }
    }
    Some(HostRoute { to: to?, source: source? })
}

fn ip_of(address: &RouteAddress) -> Option<IpAddr> {
    match address {
        RouteAddress::Inet(address) => Some((*address).into()),
        RouteAddress::Inet6(address) => Some((*address).into()),
        _ => None,
    }
}

fn message(index: u32, route: HostRoute) -> RouteMessage {
    let protocol = RouteProtocol::Other(OUR_PROTOCOL);
    match (route.to, route.source) {
        (IpAddr::V4(to), IpAddr::V4(source)) => RouteMessageBuilder::<Ipv4Addr>::new()
            .destination_prefix(to, 32)
            .pref_source(source)
            .output_interface(index)
            .scope(RouteScope::Link)
            .kind(RouteType::Unicast)
            .protocol(protocol)
            .priority(METRIC)
            .build(),
        (IpAddr::V6(to), IpAddr::V6(source)) => RouteMessageBuilder::<Ipv6Addr>::new()
            .destination_prefix(to, 128)
            .pref_source(source)
            .output_interface(index)
            .kind(RouteType::Unicast)
            .protocol(protocol)
            .priority(METRIC)
            .build(),
        // The kernel refuses it: a host is spoken to in its own family.
        _ => RouteMessage::default(),
    }
}

#[cfg(test)]
mod tests {
    use netlink_packet_route::route::RouteNextHop;

    use super::*;

    #[test]
    fn a_route_of_ours_is_read_as_it_was_written() {
        for (to, source) in [("10.9.0.11", "10.9.0.2"), ("fd09::b", "fd09::2")] {
            let route = HostRoute { to: to.parse().unwrap(), source: source.parse().unwrap() };
            let written = message(7, route);
            assert!(is_through(&written, 7) && !is_through(&written, 8));
            assert_eq!(host_route(written), Some(route));
        }
    }

    #[test]
    fn a_route_of_somebody_else_is_not_ours() {
        let route = HostRoute { to: "10.9.0.11".parse().unwrap(), source: "10.9.0.2".parse().unwrap() };
        let mut written = message(7, route);
        written.header.protocol = RouteProtocol::Static;
        assert_eq!(host_route(written), None);
    }

    #[test]
    fn a_default_route_leads_through_its_device_or_the_first_of_several() {
        let route = |prefix, attributes| {
            let mut route = RouteMessage::default();
            route.header.table = RouteHeader::RT_TABLE_MAIN;
            route.header.kind = RouteType::Unicast;
            route.header.destination_prefix_length = prefix;
            route.attributes = attributes;
            route
        };
        let over = |index| {
            let mut hop = RouteNextHop::default();
            hop.interface_index = index;
            hop
        };
        let through = RouteAttribute::Oif(7);
        assert_eq!(default_route(&route(0, vec![through.clone()])), Some((0, 7)));
        assert_eq!(
            default_route(&route(0, vec![RouteAttribute::Priority(9), through.clone()])),
            Some((9, 7))
        );
        assert_eq!(
            default_route(&route(0, vec![RouteAttribute::MultiPath(vec![over(8), over(7)])])),
            Some((0, 8))
        );
        assert_eq!(default_route(&route(24, vec![through.clone()])), None);
        let mut other = route(0, vec![through]);
        other.header.table = RouteHeader::RT_TABLE_UNSPEC;
        assert_eq!(default_route(&other), None);
    }

    #[test]
    fn next_hops_are_those_through_the_device() {
        let gateway = |last| RouteAttribute::Gateway(RouteAddress::Inet(Ipv4Addr::new(10, 9, 0, last)));
        let over = |index, last| {
            let mut hop = RouteNextHop::default();
            hop.interface_index = index;
            hop.attributes = vec![gateway(last)];
            hop
        };
        let via = RouteAttribute::Via(RouteVia::Inet6(Ipv6Addr::LOCALHOST));
        let hops = |attributes: &[RouteAttribute]| next_hops_through(attributes, 7);
        let first: IpAddr = "10.9.0.1".parse().unwrap();
        assert_eq!(hops(&[gateway(1), RouteAttribute::Oif(7)]), [first]);
        assert_eq!(hops(&[RouteAttribute::Oif(7), via]), [IpAddr::V6(Ipv6Addr::LOCALHOST)]);
        assert_eq!(hops(&[gateway(1), RouteAttribute::Oif(8)]), [] as [IpAddr; 0]);
        assert_eq!(hops(&[RouteAttribute::MultiPath(vec![over(8, 2), over(7, 1)])]), [first]);
    }
}
