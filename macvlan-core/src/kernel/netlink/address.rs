//! Addresses and default routes of a child.

use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use anyhow::{Context, Error, Result};
use netlink_packet_core::{DefaultNla, NLM_F_CREATE, NLM_F_EXCL, NLM_F_REPLACE};
use netlink_packet_route::{
    AddressFamily, RouteNetlinkMessage,
    address::{AddressAttribute, AddressFlags, AddressMessage, AddressScope},
    route::{RouteAddress, RouteAttribute, RouteHeader, RouteMessage, RouteType},
};
use rtnetlink::{AddressMessageBuilder, RouteMessageBuilder};

use crate::kernel::netlink::Netlink;

pub use crate::kernel::netlink::ipnet::IpNet;

/// Asks about another namespace (`include/uapi/linux/if_addr.h`).
const IFA_TARGET_NETNSID: u16 = 10;

impl Netlink {
    /// Addresses of the devices of a namespace (`None`: the socket's own), by index. About another
    /// namespace, the socket must be a strict one (see [`open_strict`](Self::open_strict)).
    ///
    /// # Errors
    ///
    /// The namespace is gone.
    pub async fn addresses(&self, nsid: Option<i32>) -> Result<BTreeMap<u32, Vec<IpNet>>> {
        let addresses = self.assigned_addresses(nsid).await?;
        let nets = |assigned: Vec<Assigned>| assigned.into_iter().map(|assigned| assigned.net).collect();
        Ok(addresses.into_iter().map(|(index, assigned)| (index, nets(assigned))).collect())
    }

    /// As [`addresses`](Self::addresses), and whether they answer.
    ///
    /// # Errors
    ///
    /// As of that.
    pub async fn assigned_addresses(&self, nsid: Option<i32>) -> Result<BTreeMap<u32, Vec<Assigned>>> {
        let mut message = AddressMessage::default();
        let namespace = nsid.map(|nsid| DefaultNla::new(IFA_TARGET_NETNSID, nsid.to_ne_bytes().to_vec()));
        message.attributes.extend(namespace.map(AddressAttribute::Other));
        let objects = self.dump(RouteNetlinkMessage::GetAddress(message)).await;
        let mut addresses: BTreeMap<u32, Vec<Assigned>> = BTreeMap::new();
        for object in objects.context("cannot list addresses")? {
            let answers = answers(&object);
            if let Some((index, net)) = parse_address(object) {
                addresses.entry(index).or_default().push(Assigned { net, answers });
            }
        }
        Ok(addresses)
    }

    /// The addresses of one device of the socket's namespace by which others may reach this host for
    /// good: not those of a link alone, under test, found to be doubled, outdated or temporary.
    ///
    /// # Errors
    ///
    /// The namespace is gone.
    pub async fn lasting_addresses(&self, index: u32) -> Result<Vec<IpNet>> {
        let mut message = AddressMessage::default();
        // Only a strict socket's dump heeds it.
        message.header.index = index;
        let objects = self.dump(RouteNetlinkMessage::GetAddress(message)).await;
        let objects = objects.context("cannot list addresses")?;
        let lasting = objects.into_iter().filter(is_lasting).filter_map(parse_address);
        Ok(lasting.filter(|(of, _)| *of == index).map(|(_, net)| net).collect())
    }

    /// Gives a device an address of this host alone, without a look whether somebody has it (duplicate
    /// address detection); one that it has already is left as it is.
    ///
    /// # Errors
    ///
    /// The device is gone, or the address is not allowed on it.
    pub async fn add_own_address(&self, index: u32, address: IpAddr) -> Result<()> {
        let mut message = address_message(index, IpNet::host(address));
        message.attributes.retain(|attribute| !matches!(attribute, AddressAttribute::Broadcast(_)));
        message.attributes.push(AddressAttribute::Flags(AddressFlags::Nodad | AddressFlags::Noprefixroute));
        match self.change(RouteNetlinkMessage::NewAddress(message), NLM_F_CREATE | NLM_F_EXCL).await {
            Err(error) if super::kernel_errno(&error) == Some(nix::errno::Errno::EEXIST) => Ok(()),
            other => other.with_context(|| format!("cannot add address {address}")),
        }
    }

    /// Takes such an address away again; that it is gone already is no error.
    ///
    /// # Errors
    ///
    /// The device is gone, or has no such address.
    pub async fn remove_own_address(&self, index: u32, address: IpAddr) -> Result<()> {
        self.remove_address_if_there(index, IpNet::host(address)).await
    }

    /// Gives devices that were just made their addresses, without waiting for one before the next.
    ///
    /// # Errors
    ///
    /// The first that the kernel refuses, and the device of which.
    pub async fn add_addresses(&self, wanted: &[(u32, IpNet)]) -> Result<(), (u32, Error)> {
        let mut rest = wanted;
        while !rest.is_empty() {
            let requests = rest.iter().map(|(index, net)| {
                let message = address_message(*index, *net);
                (RouteNetlinkMessage::NewAddress(message), NLM_F_CREATE | NLM_F_EXCL)
            });
            let answers = self.change_all(requests.collect()).await;
            let (asked, later) = rest.split_at(answers.len());
            for ((index, net), answer) in asked.iter().zip(answers) {
                match answer {
                    Err(error) if super::kernel_errno(&error) != Some(nix::errno::Errno::EEXIST) => {
                        return Err((*index, error.context(format!("cannot add address {net}"))));
                    }
                    _ => {}
                }
            }
            // After one that was there already, the rest was not asked for.
            rest = later;
        }
        Ok(())
    }

    /// Takes an address away; that it is gone already, or the device, is no error.
    ///
    /// # Errors
    ///
    /// The namespace is gone, or `CAP_NET_ADMIN` is missing.
    pub async fn remove_address_if_there(&self, index: u32, net: IpNet) -> Result<()> {
        use nix::errno::Errno::{EADDRNOTAVAIL, ENODEV};
        match self.remove_address(index, net).await {
            Err(error) if matches!(super::kernel_errno(&error), Some(EADDRNOTAVAIL | ENODEV)) => Ok(()),
            other => other,
        }
    }

    /// Gives a device an address; one that it has already is left as it is. Tells whether it had not.
    ///
    /// # Errors
    ///
    /// The device is gone, or the address is not allowed on it.
    pub async fn add_address(&self, index: u32, net: IpNet) -> Result<bool> {
        let message = address_message(index, net);
        let added = self.change(RouteNetlinkMessage::NewAddress(message), NLM_F_CREATE | NLM_F_EXCL).await;
        match added {
            Err(error) if super::kernel_errno(&error) == Some(nix::errno::Errno::EEXIST) => Ok(false),
            other => other.map(|()| true).with_context(|| format!("cannot add address {net}")),
        }
    }

    /// Takes an address from a device.
    ///
    /// # Errors
    ///
    /// The device is gone, or has no such address.
    pub async fn remove_address(&self, index: u32, net: IpNet) -> Result<()> {
        let removed = self.change(RouteNetlinkMessage::DelAddress(address_message(index, net)), 0).await;
        removed.with_context(|| format!("cannot remove address {net}"))
    }

    /// Makes `gateway` the default route through a device.
    ///
    /// # Errors
    ///
    /// The device is gone or down, or no address of it reaches the gateway.
    pub async fn set_default_route(&self, index: u32, gateway: IpAddr) -> Result<()> {
        let message = route_message(index, gateway);
        let set = self.change(RouteNetlinkMessage::NewRoute(message), NLM_F_CREATE | NLM_F_REPLACE).await;
        set.with_context(|| format!("cannot set default route via {gateway}"))
    }

    /// Takes away the default route through a device and a gateway.
    ///
    /// # Errors
    ///
    /// The device is gone, or has no such route.
    pub async fn remove_default_route(&self, index: u32, gateway: IpAddr) -> Result<()> {
        let removed = self.change(RouteNetlinkMessage::DelRoute(route_message(index, gateway)), 0).await;
        removed.with_context(|| format!("cannot remove default route via {gateway}"))
    }

    /// The default routes of the socket's namespace that [`set_default_route`](Self::set_default_route)
    /// would replace: those of the main table with the metric that the kernel gives unasked.
    ///
    /// # Errors
    ///
    /// The namespace is gone.
    pub async fn default_routes(&self) -> Result<Vec<DefaultRoute>> {
        let request = RouteNetlinkMessage::GetRoute(RouteMessage::default());
        let objects = self.dump(request).await.context("cannot list routes")?;
        Ok(objects.into_iter().filter_map(parse_default_route).collect())
    }
}

/// An address of a device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Assigned {
    /// The address.
    pub net: IpNet,
    /// The device answers for it: it is neither under test nor found to be somebody else's.
    pub answers: bool,
}

/// A default route. One over several next hops has neither device nor gateway.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DefaultRoute {
    /// IPv6, not IPv4.
    pub is_ipv6: bool,
    /// Index of its device.
    pub index: Option<u32>,
    /// Its gateway.
    pub gateway: Option<IpAddr>,
}

fn address_message(index: u32, net: IpNet) -> AddressMessage {
    match net.address {
        IpAddr::V4(address) => {
            AddressMessageBuilder::<Ipv4Addr>::new().index(index).address(address, net.prefix).build()
        }
        IpAddr::V6(address) => {
            AddressMessageBuilder::<Ipv6Addr>::new().index(index).address(address, net.prefix).build()
        }
    }
}

fn route_message(index: u32, gateway: IpAddr) -> RouteMessage {
    match gateway {
        IpAddr::V4(via) => {
            RouteMessageBuilder::<Ipv4Addr>::new().output_interface(index).gateway(via).build()
        }
        IpAddr::V6(via) => {
            RouteMessageBuilder::<Ipv6Addr>::new().output_interface(index).gateway(via).build()
        }
    }
}

fn parse_address(object: RouteNetlinkMessage) -> Option<(u32, IpNet)> {
    let RouteNetlinkMessage::NewAddress(message) = object else { return None };
    let (mut local, mut other) = (None, None);
    for attribute in message.attributes {
        match attribute {
            AddressAttribute::Local(address) => local = Some(address),
            // Of a point-to-point device the other end's, else the same.
            AddressAttribute::Address(address) => other = Some(address),
            _ => {}
        }
    }
    let address = local.or(other)?;
    Some((message.header.index, IpNet { address, prefix: message.header.prefix_len }))
}

/// Whether the device answers for the address (`ndisc_recv_ns` in net/ipv6/ndisc.c).
fn answers(object: &RouteNetlinkMessage) -> bool {
    let RouteNetlinkMessage::NewAddress(message) = object else { return false };
    let flags = flags_of(message);
    let is_tested = flags.contains(AddressFlags::Tentative) && !flags.contains(AddressFlags::Optimistic);
    !is_tested && !flags.contains(AddressFlags::Dadfailed)
}

fn flags_of(message: &AddressMessage) -> AddressFlags {
    let flags = message.attributes.iter().find_map(|attribute| match attribute {
        AddressAttribute::Flags(flags) => Some(*flags),
        _ => None,
    });
    flags.unwrap_or(AddressFlags::from_bits_retain(message.header.flags.bits().into()))
}

fn is_lasting(object: &RouteNetlinkMessage) -> bool {
    let RouteNetlinkMessage::NewAddress(message) = object else { return false };
    let is_ipv6 = message.header.family == AddressFamily::Inet6;
    let flags = flags_of(message);
    let passing = AddressFlags::Tentative | AddressFlags::Dadfailed | AddressFlags::Deprecated;
    // One bit means "temporary" of an IPv6 address, and "a further one" of an IPv4 address.
    let is_temporary = is_ipv6 && flags.contains(AddressFlags::Secondary);
    message.header.scope == AddressScope::Universe && !flags.intersects(passing) && !is_temporary
}

fn parse_default_route(object: RouteNetlinkMessage) -> Option<DefaultRoute> {
    // `IP6_RT_PRIO_USER`; IPv4 has 0.
    const IPV6_METRIC: u32 = 1024;
    let RouteNetlinkMessage::NewRoute(message) = object else { return None };
    let header = message.header;
    let is_main = header.table == RouteHeader::RT_TABLE_MAIN && header.kind == RouteType::Unicast;
    if !is_main || header.destination_prefix_length != 0 {
        return None;
    }
    let is_ipv6 = header.address_family == AddressFamily::Inet6;
    let mut route = DefaultRoute { is_ipv6, index: None, gateway: None };
    let mut metric = 0;
    for attribute in message.attributes {
        match attribute {
            RouteAttribute::Oif(index) => route.index = Some(index),
            RouteAttribute::Gateway(RouteAddress::Inet(gateway)) => route.gateway = Some(gateway.into()),
            RouteAttribute::Gateway(RouteAddress::Inet6(gateway)) => route.gateway = Some(gateway.into()),
            RouteAttribute::Priority(priority) => metric = priority,
            _ => {}
        }
    }
    (metric == if is_ipv6 { IPV6_METRIC } else { 0 }).then_some(route)
}
