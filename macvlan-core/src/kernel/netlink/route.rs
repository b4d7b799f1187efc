//! Routes to single hosts through one device, and the gateways behind another.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use anyhow::{Context, Result};
use netlink_packet_core::{NLM_F_CREATE, NLM_F_EXCL};
use netlink_packet_route::{
    RouteNetlinkMessage,
    route::{RouteAddress, RouteAttribute, RouteHeader, RouteMessage, RouteProtocol, RouteScope, RouteType},
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
        let mut all = Vec::new();
        let families = [
            RouteMessageBuilder::<Ipv4Addr>::new().build().header.address_family,
            RouteMessageBuilder::<Ipv6Addr>::new().build().header.address_family,
        ];
        for family in families {
            let mut request = RouteMessage::default();
            request.header.address_family = family;
            request.header.table = RouteHeader::RT_TABLE_MAIN;
            request.attributes.push(RouteAttribute::Oif(index));
            let objects = match self.dump(RouteNetlinkMessage::GetRoute(request)).await {
                // A kernel without IPv6, or a table of it that nothing is in yet.
                Err(error) if matches!(kernel_errno(&error), Some(Errno::EOPNOTSUPP | Errno::ENOENT)) => {
                    continue;
                }
                objects => objects.context("cannot list routes")?,
            };
            // A kernel that does not know the filter gives everything.
            all.extend(objects.into_iter().filter_map(|object| match object {
                RouteNetlinkMessage::NewRoute(route) if is_through(&route, index) => Some(route),
                _ => None,
            }));
        }
        Ok(all)
    }
}

fn is_through(route: &RouteMessage, index: u32) -> bool {
    route.header.table == RouteHeader::RT_TABLE_MAIN && route.attributes.contains(&RouteAttribute::Oif(index))
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
}
