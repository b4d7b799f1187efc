//! Making the flood device, so that the host neither speaks nor hears there.

use anyhow::Result;
use macvlan_common::mac::Mac;
use netlink_packet_core::{NLM_F_CREATE, NLM_F_EXCL};
use netlink_packet_route::{
    RouteNetlinkMessage,
    link::{InfoData, InfoKind, InfoMacVlan, LinkAttribute, LinkFlags, LinkInfo, LinkMessage, MacVlanMode},
};

use crate::kernel::netlink::Netlink;

/// The alias of every flood device, for people.
pub const FLOOD_ALIAS: &str = "macvlan-ctl flood";

/// The least that macvlan takes, and below what IPv6 needs (1280): the device has no IPv6 at all. Frames are not
/// measured by it on their way out.
const MTU: u32 = 68;

/// The device that is to be made.
#[derive(Debug, Clone)]
pub struct NewFlood<'a> {
    /// Index of the master.
    pub master: u32,
    /// Its own index.
    pub index: u32,
    /// Its name.
    pub name: &'a str,
    /// Its MAC.
    pub mac: Mac,
}

impl Netlink {
    /// Makes a flood device on a master of the socket's own namespace, down: without ARP, multicast or IPv6, and
    /// with its own MAC for a broadcast address, so that the driver gives it no broadcasts.
    ///
    /// # Errors
    ///
    /// The master is gone, has a passthru child, or the name or index is taken.
    pub async fn create_flood(&self, flood: &NewFlood<'_>) -> Result<()> {
        let mut message = LinkMessage::default();
        message.header.index = flood.index;
        message.header.flags = LinkFlags::Noarp;
        message.header.change_mask = LinkFlags::Noarp | LinkFlags::Multicast;
        let mac = flood.mac.octets().to_vec();
        message.attributes.extend([
            LinkAttribute::IfName(flood.name.to_owned()),
            LinkAttribute::Link(flood.master),
            LinkAttribute::Address(mac.clone()),
            LinkAttribute::Broadcast(mac),
            LinkAttribute::Mtu(MTU),
            LinkAttribute::LinkInfo(vec![
                LinkInfo::Kind(InfoKind::MacVlan),
                // The longest queue that a device asks for is that of all: this one asks for none.
                LinkInfo::Data(InfoData::MacVlan(vec![
                    InfoMacVlan::Mode(MacVlanMode::Bridge),
                    InfoMacVlan::BcQueueLen(0),
                ])),
            ]),
        ]);
        self.change(RouteNetlinkMessage::NewLink(message), NLM_F_CREATE | NLM_F_EXCL).await
    }

    /// Says whose it is, and brings it up.
    ///
    /// # Errors
    ///
    /// The device is gone.
    pub async fn finish_flood(&self, index: u32) -> Result<()> {
        let mut message = LinkMessage::default();
        message.header.index = index;
        message.header.flags = LinkFlags::Up;
        message.header.change_mask = LinkFlags::Up;
        message.attributes.push(LinkAttribute::IfAlias(FLOOD_ALIAS.to_owned()));
        self.change(RouteNetlinkMessage::SetLink(message), 0).await
    }
}
