//! Making the devices of a port: see [`macvlan_common::port`].

use std::os::fd::{AsFd, AsRawFd};

use anyhow::Result;
use macvlan_common::mac::Mac;
use netlink_packet_core::{NLM_F_CREATE, NLM_F_EXCL};
use netlink_packet_route::{
    RouteNetlinkMessage,
    link::{InfoData, InfoKind, InfoVeth, LinkAttribute, LinkFlags, LinkInfo, LinkMessage},
};

use crate::kernel::{
    netlink::{
        Netlink,
        macvlan::{NewChild, UNFINISHED_GROUP, new_child},
    },
    netns::Netns,
};

/// The pair of a port that is to be made.
#[derive(Debug, Clone, Copy)]
pub struct NewPair<'a> {
    /// Index of its host end.
    pub index: u32,
    /// Name of its host end.
    pub name: &'a str,
    /// Name of the other end, in its own namespace.
    pub peer: &'a str,
    /// MAC of the other end.
    pub mac: Mac,
    /// Largest L3 packet of both.
    pub mtu: u32,
}

impl Netlink {
    /// Makes the macvlan of a port with this index, down and unfinished, in the socket's own namespace.
    ///
    /// It hears all multicast: which groups the port's program wants, nobody here is told.
    ///
    /// # Errors
    ///
    /// The master is gone, a name or index is taken, or the mode does not fit its siblings.
    pub async fn create_port_macvlan(&self, index: u32, child: &NewChild<'_>) -> Result<()> {
        let mut message = new_child(child);
        message.attributes.push(LinkAttribute::IfName(child.name.to_owned()));
        message.header.index = index;
        message.header.flags = LinkFlags::Noarp | LinkFlags::Allmulti;
        message.header.change_mask = message.header.flags;
        self.change(RouteNetlinkMessage::NewLink(message), NLM_F_CREATE | NLM_F_EXCL).await
    }

    /// Makes the pair of a port, down: its host end here, the other in `netns`.
    ///
    /// # Errors
    ///
    /// The namespace is gone, a name or index is taken, or this kernel has no veth.
    pub async fn create_port_pair(&self, pair: &NewPair<'_>, netns: &Netns) -> Result<()> {
        let mut peer = LinkMessage::default();
        peer.attributes.extend([
            LinkAttribute::IfName(pair.peer.to_owned()),
            LinkAttribute::Address(pair.mac.octets().to_vec()),
            LinkAttribute::Mtu(pair.mtu),
            LinkAttribute::NetNsFd(netns.as_fd().as_raw_fd()),
        ]);
        let mut message = LinkMessage::default();
        message.header.index = pair.index;
        message.header.flags = LinkFlags::Noarp;
        message.header.change_mask = message.header.flags;
        message.attributes.extend([
            LinkAttribute::IfName(pair.name.to_owned()),
            LinkAttribute::Group(UNFINISHED_GROUP),
            LinkAttribute::Mtu(pair.mtu),
            LinkAttribute::LinkInfo(vec![
                LinkInfo::Kind(InfoKind::Veth),
                LinkInfo::Data(InfoData::Veth(InfoVeth::Peer(peer))),
            ]),
        ]);
        self.change(RouteNetlinkMessage::NewLink(message), NLM_F_CREATE | NLM_F_EXCL).await
    }
}
