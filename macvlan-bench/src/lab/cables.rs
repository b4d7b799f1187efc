//! Namespaces and devices that [`demo`](crate::demo) and [`bench`](crate::bench) build theirs from.
//!
//! The namespaces have no names: they live as long as somebody holds them open, so nothing of a lab
//! can be left behind, however the process ends.

use std::os::fd::{AsFd as _, AsRawFd as _};

use anyhow::{Context as _, Result, bail};
use macvlan_core::kernel::{
    netlink::{Netlink, ipnet::IpNet},
    netns::Netns,
};
use netlink_packet_core::{NLM_F_CREATE, NLM_F_EXCL};
use netlink_packet_route::{
    RouteNetlinkMessage,
    link::{InfoData, InfoVeth, LinkAttribute, LinkFlags, LinkInfo, LinkMessage},
};
use rtnetlink::LinkVeth;
use tokio::runtime::Builder;

/// Index of the loopback device, in every namespace (`LOOPBACK_IFINDEX`).
const LOOPBACK: u32 = 1;

/// Runs a task in a namespace, with an event loop of its own.
///
/// # Errors
///
/// When the namespace cannot be entered, and those of the task.
pub fn on<T: Send>(netns: &Netns, task: impl AsyncFnOnce() -> Result<T> + Send) -> Result<T> {
    netns.run(|| Builder::new_current_thread().enable_all().build()?.block_on(task()))
}

/// Makes a device.
///
/// # Errors
///
/// When the kernel refuses.
pub async fn create(netlink: &Netlink, message: LinkMessage) -> Result<()> {
    netlink.change(RouteNetlinkMessage::NewLink(message), NLM_F_CREATE | NLM_F_EXCL).await
}

/// One end of a cable: a namespace and the name of a device there.
#[derive(Debug, Clone, Copy)]
pub struct End<'a> {
    /// Where.
    pub netns: &'a Netns,
    /// Its name.
    pub device: &'a str,
}

/// Makes a veth pair, each end in its own namespace at once.
///
/// # Errors
///
/// When the kernel refuses.
pub async fn cable(netlink: &Netlink, one: End<'_>, other: End<'_>) -> Result<()> {
    let mut message = LinkVeth::new(one.device, other.device).build();
    message.attributes.push(LinkAttribute::NetNsFd(one.netns.as_fd().as_raw_fd()));
    for attribute in &mut message.attributes {
        let LinkAttribute::LinkInfo(infos) = attribute else { continue };
        for info in infos {
            if let LinkInfo::Data(InfoData::Veth(InfoVeth::Peer(peer))) = info {
                peer.attributes.push(LinkAttribute::NetNsFd(other.netns.as_fd().as_raw_fd()));
            }
        }
    }
    create(netlink, message).await.context("cannot make a veth pair")
}

/// Brings the loopback device and this one up, and gives the latter an address. The socket must be
/// in the device's namespace. Tells the device's index.
///
/// # Errors
///
/// When there is no such device, or the kernel refuses.
pub async fn bring_up(netlink: &Netlink, device: &str, address: Option<IpNet>) -> Result<u32> {
    let Some(link) = netlink.link_by_name(device).await? else { bail!("no device {device:?}") };
    if let Some(address) = address {
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
