//! Addresses and routes of a container's device, as a plugin that manages addresses gave them.

use std::{
    fs,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    path::Path,
    time::{Duration, Instant},
};

use macvlan_core::kernel::{
    netlink::{Netlink, ipnet::IpNet, kernel_errno},
    netns::Netns,
};
use netlink_packet_core::{NLM_F_CREATE, NLM_F_EXCL};
use netlink_packet_route::{
    RouteNetlinkMessage,
    address::{AddressAttribute, AddressHeaderFlags, AddressMessage},
    route::{RouteAddress, RouteAttribute, RouteHeader, RouteMessage, RouteMetric, RouteScope},
};
use nix::errno::Errno;
use rtnetlink::RouteMessageBuilder;

use crate::{
    error::{CniError, CniResult, code},
    result::{AddResult, Route},
};

/// How long the kernel may look for duplicates of IPv6 addresses: as long as the reference plugin
/// waits.
const SETTLING: Duration = Duration::from_secs(10);

const POLL: Duration = Duration::from_millis(10);

/// Switches IPv6 on for a device that is to have such addresses.
pub fn allow_ipv6(netns: &Netns, ifname: &str) {
    let path = Path::new("/proc/sys/net/ipv6/conf").join(ifname).join("disable_ipv6");
    // Where it cannot be switched on the kernel refuses the address, and says so.
    let _ = netns.visit(|| Ok(fs::write(path, "0")?));
}

/// Gives a device its addresses.
///
/// # Errors
///
/// The device is gone, or an address is not allowed on it.
pub async fn add_addresses(inside: &Netlink, index: u32, nets: &[IpNet]) -> CniResult<()> {
    for net in nets {
        inside.add_address(index, *net).await?;
    }
    Ok(())
}

/// Waits until the kernel has found no duplicate of the device's IPv6 addresses.
///
/// # Errors
///
/// Code 101 when it found one, 11 when it does not come to an end.
pub async fn await_duplicate_detection(inside: &Netlink, index: u32, nets: &[IpNet]) -> CniResult<()> {
    if nets.iter().all(|net| net.address.is_ipv4()) {
        return Ok(());
    }
    let deadline = Instant::now() + SETTLING;
    loop {
        let objects = inside.dump(RouteNetlinkMessage::GetAddress(AddressMessage::default())).await?;
        let states: Vec<_> = objects.into_iter().filter_map(|object| state(object, index)).collect();
        let is_ours = |address: &IpAddr| nets.iter().any(|net| net.address == *address);
        let ours = || states.iter().filter(|(address, _)| is_ours(address));
        if let Some((address, _)) = ours().find(|(_, flags)| flags.contains(AddressHeaderFlags::Dadfailed)) {
            return Err(duplicate(*address, "the kernel's duplicate address detection"));
        }
        if !ours().any(|(_, flags)| flags.contains(AddressHeaderFlags::Tentative)) {
            return Ok(());
        }
        if Instant::now() > deadline {
            return Err(CniError::new(code::TRY_AGAIN, "IPv6 duplicate address detection does not end"));
        }
        tokio::time::sleep(POLL).await;
    }
}

/// The error that somebody else has an address.
pub fn duplicate(address: IpAddr, who: impl std::fmt::Display) -> CniError {
    let msg = format!("address {address} is in use on this network already");
    CniError::new(code::DUPLICATE_ADDRESS, msg).with_details(format!("found by {who}"))
}

fn state(object: RouteNetlinkMessage, index: u32) -> Option<(IpAddr, AddressHeaderFlags)> {
    let RouteNetlinkMessage::NewAddress(message) = object else { return None };
    if message.header.index != index {
        return None;
    }
    let address = message.attributes.iter().find_map(|attribute| match attribute {
        AddressAttribute::Address(address) => Some(*address),
        _ => None,
    })?;
    Some((address, message.header.flags))
}

/// Gives a device its routes. One without a gateway goes by way of the first gateway of its family,
/// and where there is none is on the link.
///
/// # Errors
///
/// The device is gone, or no address of it reaches a gateway.
pub async fn add_routes(inside: &Netlink, index: u32, result: &AddResult) -> CniResult<()> {
    for route in &result.routes {
        let message = route_message(index, route, result)?;
        let added = inside.change(RouteNetlinkMessage::NewRoute(message), NLM_F_CREATE | NLM_F_EXCL).await;
        match added {
            Err(error) if kernel_errno(&error) == Some(Errno::EEXIST) => {}
            other => other.map_err(|error| error.context(format!("cannot add route {:?}", route.dst)))?,
        }
    }
    Ok(())
}

fn route_message(index: u32, route: &Route, result: &AddResult) -> CniResult<RouteMessage> {
    let (address, len) = route.destination()?;
    let of_family = |gateway: &IpAddr| gateway.is_ipv4() == address.is_ipv4();
    let gateway = route.gw.or_else(|| result.ips.iter().filter_map(|ip| ip.gateway).find(of_family));
    let mut message = match address {
        IpAddr::V4(to) => {
            let mut builder =
                RouteMessageBuilder::<Ipv4Addr>::new().output_interface(index).destination_prefix(to, len);
            builder = match gateway {
                Some(IpAddr::V4(via)) => builder.gateway(via),
                _ => builder.scope(RouteScope::Link),
            };
            builder.build()
        }
        IpAddr::V6(to) => {
            let mut builder =
                RouteMessageBuilder::<Ipv6Addr>::new().output_interface(index).destination_prefix(to, len);
            if let Some(IpAddr::V6(via)) = gateway {
                builder = builder.gateway(via);
            }
            builder.build()
        }
    };
    if let Some(scope) = route.scope {
        message.header.scope = scope.into();
    }
    if let Some(table) = route.table {
        message.header.table = u8::try_from(table).unwrap_or(RouteHeader::RT_TABLE_UNSPEC);
        message.attributes.push(RouteAttribute::Table(table));
    }
    message.attributes.extend(route.priority.map(RouteAttribute::Priority));
    let metrics = [route.mtu.map(RouteMetric::Mtu), route.advmss.map(RouteMetric::Advmss)];
    let metrics: Vec<_> = metrics.into_iter().flatten().collect();
    if !metrics.is_empty() {
        message.attributes.push(RouteAttribute::Metrics(metrics));
    }
    Ok(message)
}

/// Says which address or route of a result a device lacks.
///
/// # Errors
///
/// Code 100 when it lacks one.
pub async fn check(inside: &Netlink, index: u32, result: &AddResult) -> CniResult<()> {
    let lacks = |what: String| CniError::new(code::FAILED, format!("the container lacks {what}"));
    let addresses = inside.addresses(None).await?.remove(&index).unwrap_or_default();
    for ip in &result.ips {
        if !addresses.contains(&ip.net()?) {
            return Err(lacks(format!("address {}", ip.address)));
        }
    }
    if result.routes.is_empty() {
        return Ok(());
    }
    let objects = inside.dump(RouteNetlinkMessage::GetRoute(RouteMessage::default())).await?;
    let routes: Vec<(IpAddr, u8)> = objects.into_iter().filter_map(destination).collect();
    for route in &result.routes {
        if !routes.contains(&network(route.destination()?)) {
            return Err(lacks(format!("route {:?}", route.dst)));
        }
    }
    Ok(())
}

fn destination(object: RouteNetlinkMessage) -> Option<(IpAddr, u8)> {
    let RouteNetlinkMessage::NewRoute(message) = object else { return None };
    let is_ipv4 = message.header.address_family == netlink_packet_route::AddressFamily::Inet;
    let any: IpAddr = if is_ipv4 { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    let to = message.attributes.iter().find_map(|attribute| match attribute {
        RouteAttribute::Destination(RouteAddress::Inet(address)) => Some(IpAddr::V4(*address)),
        RouteAttribute::Destination(RouteAddress::Inet6(address)) => Some(IpAddr::V6(*address)),
        _ => None,
    });
    Some((to.unwrap_or(any), message.header.destination_prefix_length))
}

/// A prefix without the bits behind it.
fn network((address, len): (IpAddr, u8)) -> (IpAddr, u8) {
    let network = match address {
        IpAddr::V4(address) => {
            let mask = u32::MAX.checked_shl(32 - u32::from(len)).unwrap_or(0);
            Ipv4Addr::from_bits(address.to_bits() & mask).into()
        }
        IpAddr::V6(address) => {
            let mask = u128::MAX.checked_shl(128 - u32::from(len)).unwrap_or(0);
            Ipv6Addr::from_bits(address.to_bits() & mask).into()
        }
    };
    (network, len)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_has_no_bits_behind_it() {
        let prefix = |text: &str, len| network((text.parse().unwrap(), len)).0.to_string();
        assert_eq!(prefix("10.9.7.3", 16), "10.9.0.0");
        assert_eq!(prefix("10.9.7.3", 0), "0.0.0.0");
        assert_eq!(prefix("10.9.7.3", 32), "10.9.7.3");
        assert_eq!(prefix("fd09::7", 64), "fd09::");
        assert_eq!(prefix("fd09::7", 0), "::");
    }
}
