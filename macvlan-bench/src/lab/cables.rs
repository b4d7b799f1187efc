//! Devices: cables between namespaces, macvlan children, ports of bridges; and how they come up.

use std::os::fd::{AsFd as _, AsRawFd as _};

use anyhow::{Context as _, Result, anyhow, bail};
use macvlan_common::{child::Mode, mac::Mac};
use macvlan_core::kernel::{
    netlink::{Netlink, ipnet::IpNet, kind::Kind},
    netns::Netns,
};
use netlink_packet_core::{NLM_F_CREATE, NLM_F_EXCL};
use netlink_packet_route::{
    RouteNetlinkMessage,
    link::{InfoData, InfoVeth, LinkAttribute, LinkFlags, LinkInfo, LinkMessage},
};
use rtnetlink::{LinkMacVlan, LinkMacVtap, LinkVeth};
use tokio::runtime::Builder;

/// Index of the loopback device, in every namespace (`LOOPBACK_IFINDEX`).
const LOOPBACK: u32 = 1;

/// Runs a task in a namespace, with an event loop of its own.
///
/// # Errors
///
/// The namespace cannot be entered, or the task fails.
pub fn on<T: Send>(netns: &Netns, task: impl AsyncFnOnce() -> Result<T> + Send) -> Result<T> {
    netns.run(|| Builder::new_current_thread().enable_all().build()?.block_on(task()))
}

/// Makes a device.
///
/// # Errors
///
/// The name is taken, or the kernel has no devices of this kind.
pub async fn create(netlink: &Netlink, message: LinkMessage) -> Result<()> {
    netlink.change(RouteNetlinkMessage::NewLink(message), NLM_F_CREATE | NLM_F_EXCL).await
}

/// One end of a cable: a namespace and the device there.
#[derive(Debug, Clone)]
pub struct CableEnd<'a> {
    /// Its name.
    pub device: &'a str,
    attributes: Vec<LinkAttribute>,
}

impl<'a> CableEnd<'a> {
    /// A device of this name in a namespace.
    pub fn new(netns: &'a Netns, device: &'a str) -> Self {
        Self { device, attributes: vec![LinkAttribute::NetNsFd(netns.as_fd().as_raw_fd())] }
    }

    /// With this MAC.
    pub fn mac(self, mac: Mac) -> Self {
        self.with(LinkAttribute::Address(mac.octets().to_vec()))
    }

    /// With this MTU.
    pub fn mtu(self, mtu: u32) -> Self {
        self.with(LinkAttribute::Mtu(mtu))
    }

    /// In this device group.
    pub fn group(self, group: u32) -> Self {
        self.with(LinkAttribute::Group(group))
    }

    fn with(mut self, attribute: LinkAttribute) -> Self {
        self.attributes.push(attribute);
        self
    }
}

/// Makes a veth pair, each end in its own namespace at once.
///
/// # Errors
///
/// A name is taken there.
pub async fn cable(netlink: &Netlink, one: CableEnd<'_>, other: CableEnd<'_>) -> Result<()> {
    create(netlink, veth(one, other)).await.context("cannot make a veth pair")
}

/// What makes a veth pair, as of its first end.
pub fn veth(one: CableEnd<'_>, other: CableEnd<'_>) -> LinkMessage {
    let mut message = LinkVeth::new(one.device, other.device).build();
    message.attributes.extend(one.attributes);
    let infos = message.attributes.iter_mut().filter_map(|attribute| match attribute {
        LinkAttribute::LinkInfo(infos) => Some(infos),
        _ => None,
    });
    for info in infos.flatten() {
        if let LinkInfo::Data(InfoData::Veth(InfoVeth::Peer(peer))) = info {
            peer.attributes.extend(other.attributes.iter().cloned());
        }
    }
    message
}

/// What makes a child of a master; the kernel draws its MAC if it is not given one.
pub fn child(kind: Kind, name: &str, master: u32, mode: Mode, mac: Option<Mac>) -> LinkMessage {
    let mut message = match kind {
        // Of a port, its macvlan.
        Kind::Macvlan | Kind::Port => LinkMacVlan::new(name, master, mode.to_kernel().into()).build(),
        Kind::Macvtap => LinkMacVtap::new(name, master, mode.to_kernel().into()).build(),
    };
    message.attributes.extend(mac.map(|mac| LinkAttribute::Address(mac.octets().to_vec())));
    message
}

/// Moves a device to another namespace, as container engines do it: the kernel numbers that then.
///
/// # Errors
///
/// There is no such device, or its name is taken there.
pub async fn move_to(netlink: &Netlink, device: &str, netns: &Netns) -> Result<()> {
    let Some(link) = netlink.link_by_name(device).await? else { bail!("no device {device:?}") };
    let to = LinkAttribute::NetNsFd(netns.as_fd().as_raw_fd());
    set(netlink, link.index, [to]).await.with_context(|| format!("cannot move {device:?}"))
}

/// Puts a device in a bridge. Tells the device's index.
///
/// # Errors
///
/// One of the two is gone.
pub async fn add_port(netlink: &Netlink, bridge: &str, port: &str) -> Result<u32> {
    let Some(bridge) = netlink.link_by_name(bridge).await? else { bail!("no bridge {bridge:?}") };
    let Some(link) = netlink.link_by_name(port).await? else { bail!("no device {port:?}") };
    let controller = LinkAttribute::Controller(bridge.index);
    set(netlink, link.index, [controller]).await.with_context(|| format!("cannot add port {port:?}"))?;
    Ok(link.index)
}

/// Changes attributes of a device.
///
/// # Errors
///
/// The device is gone, or has no such attribute.
pub async fn set(
    netlink: &Netlink,
    index: u32,
    attributes: impl IntoIterator<Item = LinkAttribute>,
) -> Result<()> {
    let mut message = LinkMessage::default();
    message.header.index = index;
    message.attributes.extend(attributes);
    netlink.change(RouteNetlinkMessage::SetLink(message), 0).await
}

/// Brings the loopback device and this one up, and gives the latter these addresses. The socket must be
/// in the device's namespace. Tells the device's index.
///
/// # Errors
///
/// There is no such device, or it cannot come up.
pub async fn bring_up(
    netlink: &Netlink,
    device: &str,
    addresses: impl IntoIterator<Item = IpNet>,
) -> Result<u32> {
    let Some(link) = netlink.link_by_name(device).await? else { bail!("no device {device:?}") };
    for address in addresses {
        netlink.add_address(link.index, address).await?;
    }
    for index in [LOOPBACK, link.index] {
        let mut message = LinkMessage::default();
        message.header.index = index;
        message.header.flags |= LinkFlags::Up;
        message.header.change_mask |= LinkFlags::Up;
        netlink.change(RouteNetlinkMessage::SetLink(message), 0).await?;
    }
    Ok(link.index)
}

/// The MAC of a device.
///
/// # Errors
///
/// There is no such device.
pub fn mac_of(netns: &Netns, device: &str) -> Result<Mac> {
    let link = on(netns, async || Netlink::open()?.link_by_name(device).await)?;
    link.and_then(|link| link.mac).ok_or_else(|| anyhow!("{device:?} has no MAC"))
}

/// The index of a device.
///
/// # Errors
///
/// There is no such device.
pub fn index_of(netns: &Netns, device: &str) -> Result<u32> {
    let link = on(netns, async || Netlink::open()?.link_by_name(device).await)?;
    link.map(|link| link.index).ok_or_else(|| anyhow!("no device {device:?}"))
}
