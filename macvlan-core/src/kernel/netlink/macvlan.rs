//! Making, changing and removing macvlan and macvtap devices.

use std::{
    net::IpAddr,
    os::fd::{AsFd, AsRawFd},
};

use anyhow::{Context, Result};
use macvlan_common::{child::Mode, mac::Mac};
use netlink_packet_core::{NLM_F_CREATE, NLM_F_EXCL};
use netlink_packet_route::{
    RouteNetlinkMessage,
    link::{
        InfoData, InfoKind, InfoMacVlan, InfoMacVtap, LinkAttribute, LinkFlags, LinkHeader, LinkInfo,
        LinkMessage, MacVlanMode,
    },
};
use nix::errno::Errno;
use sha2::{Digest as _, Sha256};

use crate::kernel::{
    netlink::{
        Netlink, WINDOW,
        ipnet::IpNet,
        kernel_errno,
        kind::Kind,
        link::{Link, ListOptions},
    },
    netns::Netns,
};

/// The alias of every device that we made: who carries it may be removed by us.
pub const OWNER_ALIAS: &str = "macvlan-ctl";

/// Device group of a device that is being made ("mvlc"). The kernel sets the group in the request
/// that creates a device, but an alias only afterwards: a device that bears this group and no
/// alias was left behind half made.
pub const UNFINISHED_GROUP: u32 = 0x6d76_6c63;

/// The group that devices are in unless told otherwise.
const DEFAULT_GROUP: u32 = 0;

/// What a device is called until it may bear `name`: always the same, so that one which a killed run left
/// is found.
pub fn passing_name(name: &str) -> String {
    let digest = Sha256::digest(name);
    format!("mvlc{:02x}{:02x}{:02x}{:02x}", digest[0], digest[1], digest[2], digest[3])
}

/// What a new device is to be.
#[derive(Debug, Clone)]
pub struct NewChild<'a> {
    /// Index of the master, in the socket's namespace.
    pub master: u32,
    /// Name in its own namespace.
    pub name: &'a str,
    /// macvlan or macvtap.
    pub kind: Kind,
    /// Its mode.
    pub mode: Mode,
    /// Its MAC; drawn by the kernel if `None`.
    pub mac: Option<Mac>,
    /// Largest L3 packet; the master's if `None`.
    pub mtu: Option<u32>,
    /// Frames that wait for broadcast delivery; the kernel's default if `None`.
    pub bcqueuelen: Option<u32>,
}

impl Netlink {
    /// Makes a device directly in `netns`, where `inside` is, down and unfinished: see
    /// [`finish_child`](Self::finish_child).
    ///
    /// # Errors
    ///
    /// The master or the namespace is gone, a name or MAC is taken, or the mode does not fit its siblings.
    pub async fn create_child(&self, child: &NewChild<'_>, netns: &Netns, inside: &Netlink) -> Result<Link> {
        self.create_inside(new_child(child), child.name, netns, inside).await
    }

    /// Makes many devices as [`create_child`](Self::create_child) does, without waiting for one before the
    /// next, and does not look at what came of them. Gives the answers in the same order; once one was
    /// refused, the rest may have none.
    pub async fn create_children(&self, children: &[(NewChild<'_>, &Netns)]) -> Vec<Result<()>> {
        let requests = children.iter().map(|(child, netns)| {
            let device = named(new_child(child), child.name, netns);
            (RouteNetlinkMessage::NewLink(device), NLM_F_CREATE | NLM_F_EXCL)
        });
        self.change_all(requests.collect()).await
    }

    /// Makes a device of this name, whatever it is called in the message, directly in `netns`, where
    /// `inside` is.
    ///
    /// Kernels look for the name in the namespace of the socket (`rtnl_newlink` in net/core/rtnetlink.c,
    /// seen on 5.10 to 6.12), and "eth0" is both a master and what containers call theirs. There the device
    /// is made under a [`passing_name`] and renamed.
    ///
    /// # Errors
    ///
    /// The namespace is gone, a name is taken, or this kernel lacks the kind of device.
    pub async fn create_inside(
        &self,
        device: LinkMessage,
        name: &str,
        netns: &Netns,
        inside: &Netlink,
    ) -> Result<Link> {
        match self.create_named(device.clone(), name, netns).await {
            Err(error) if kernel_errno(&error) == Some(Errno::EEXIST) => {
                if inside.link_by_name(name).await?.is_some() {
                    return Err(error);
                }
                // Not every kernel renames a device that is up (`dev_change_name` in net/core/dev.c).
                let mut nameless = device;
                let header = std::mem::take(&mut nameless.header);
                self.create_named(nameless, &passing_name(name), netns).await?;
                inside.take_name(&passing_name(name), name, header).await?;
            }
            made => made?,
        }
        inside.link_by_name(name).await?.context("it vanished while it was made")
    }

    async fn create_named(&self, device: LinkMessage, name: &str, netns: &Netns) -> Result<()> {
        let device = named(device, name, netns);
        self.change(RouteNetlinkMessage::NewLink(device), NLM_F_CREATE | NLM_F_EXCL).await
    }

    /// Renames a device that was just made, and brings it up where `header` says so; removes it when that
    /// fails.
    async fn take_name(&self, passing: &str, name: &str, header: LinkHeader) -> Result<()> {
        let link = self.link_by_name(passing).await?.context("it vanished while it was made")?;
        let mut message = LinkMessage::default();
        message.header = header;
        message.header.index = link.index;
        message.attributes.push(LinkAttribute::IfName(name.to_owned()));
        let renamed = self.change(RouteNetlinkMessage::SetLink(message), 0).await;
        if renamed.is_err() {
            // The error that led here is the one to report.
            let _ = self.delete_link(link.index, None).await;
        }
        renamed
    }

    /// Marks devices as ours, by this alias, and finished, and brings those up of which that is asked.
    /// The socket must be in the devices' namespace. Gives the answers in the same order; once one was
    /// refused, the rest may have none.
    pub async fn finish_children(&self, children: &[(u32, bool)], alias: &str) -> Vec<Result<()>> {
        let requests = children.iter().map(|(index, up)| {
            let mut message = LinkMessage::default();
            message.header.index = *index;
            message
                .attributes
                .extend([LinkAttribute::IfAlias(alias.to_owned()), LinkAttribute::Group(DEFAULT_GROUP)]);
            if *up {
                message.header.flags |= LinkFlags::Up;
                message.header.change_mask |= LinkFlags::Up;
            }
            (RouteNetlinkMessage::SetLink(message), 0)
        });
        self.change_all(requests.collect()).await
    }

    /// Marks one device so: see [`finish_children`](Self::finish_children).
    ///
    /// # Errors
    ///
    /// The device is gone, or the kernel refuses to bring it up.
    pub async fn finish_child(&self, index: u32, alias: &str, up: bool) -> Result<()> {
        self.finish_children(&[(index, up)], alias).await.into_iter().collect()
    }

    /// Gives a device its addresses and default routes. The socket must be in the device's
    /// namespace.
    ///
    /// # Errors
    ///
    /// The device is gone, or an address or gateway is not allowed on it.
    pub async fn address_child(&self, index: u32, addresses: &[IpNet], gateways: &[IpAddr]) -> Result<()> {
        for net in addresses {
            self.add_address(index, *net).await?;
        }
        for gateway in gateways {
            self.set_default_route(index, *gateway).await?;
        }
        Ok(())
    }

    /// Changes what is given of an existing device. The socket must be in the device's namespace.
    ///
    /// # Errors
    ///
    /// The device is gone, a MAC is taken, or the mode does not fit its siblings.
    pub async fn change_child(&self, index: u32, kind: Kind, change: &Change) -> Result<()> {
        let mut message = LinkMessage::default();
        message.header.index = index;
        message.attributes.extend(change.mac.map(|mac| LinkAttribute::Address(mac.octets().to_vec())));
        message.attributes.extend(change.mtu.map(LinkAttribute::Mtu));
        if let Some(up) = change.up {
            message.header.change_mask |= LinkFlags::Up;
            if up {
                message.header.flags |= LinkFlags::Up;
            }
        }
        let base = message.clone();
        if change.mode.is_some() || change.bcqueuelen.is_some() {
            let info = link_info(kind, change.mode, change.bcqueuelen);
            message.attributes.push(LinkAttribute::LinkInfo(info));
            // Only RTM_NEWLINK hands the kind's own attributes to the kind (`rtnl_changelink`).
            return self.change(RouteNetlinkMessage::NewLink(message), 0).await;
        }
        self.change(RouteNetlinkMessage::SetLink(base), 0).await
    }

    /// Removes one device, in the namespace with this id or the socket's own.
    ///
    /// # Errors
    ///
    /// The device may not be deleted; that it is gone already is no error.
    pub async fn delete_link(&self, index: u32, nsid: Option<i32>) -> Result<()> {
        let mut message = LinkMessage::default();
        message.header.index = index;
        message.attributes.extend(nsid.map(LinkAttribute::IfNetnsId));
        match self.change(RouteNetlinkMessage::DelLink(message), 0).await {
            Err(error) if kernel_errno(&error) == Some(Errno::ENODEV) => Ok(()),
            other => other,
        }
    }

    /// Removes many devices of the socket's own namespace at once.
    ///
    /// One by one the kernel waits for RCU on each: 20 ms a device. A group goes in one wait. The
    /// devices are moved to a group that nobody in that namespace uses, drawn at random.
    ///
    /// # Errors
    ///
    /// A device may not be deleted; devices that are gone already are no error.
    pub async fn delete_links(&self, indexes: &[u32]) -> Result<()> {
        if let [index] = indexes {
            return self.delete_link(*index, None).await;
        }
        let group = self.unused_group().await?;
        let requests = indexes.iter().map(|index| {
            let mut message = LinkMessage::default();
            message.header.index = *index;
            message.attributes.push(LinkAttribute::Group(group));
            (RouteNetlinkMessage::SetLink(message), 0)
        });
        let mut moved = 0_u32;
        for chunk in requests.collect::<Vec<_>>().chunks(WINDOW) {
            for answer in self.change_all(chunk.to_vec()).await {
                match answer {
                    Err(error) if kernel_errno(&error) == Some(Errno::ENODEV) => {}
                    other => {
                        other.context("cannot group devices for removal")?;
                        moved += 1;
                    }
                }
            }
        }
        if moved == 0 {
            return Ok(());
        }
        let mut message = LinkMessage::default();
        message.attributes.push(LinkAttribute::Group(group));
        self.change(RouteNetlinkMessage::DelLink(message), 0).await
    }

    async fn unused_group(&self) -> Result<u32> {
        let links = self.links(ListOptions::default()).await?;
        loop {
            let random = getrandom::u32().context("cannot draw the number of a group")?;
            // Not negative to who takes it for signed, and larger than what people choose.
            let group = random >> 1 | 1 << 16;
            if group != UNFINISHED_GROUP && links.iter().all(|link| link.group != group) {
                return Ok(group);
            }
        }
    }
}

/// What of a device is to change.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Change {
    /// Another mode.
    pub mode: Option<Mode>,
    /// Another MAC.
    pub mac: Option<Mac>,
    /// Another MTU.
    pub mtu: Option<u32>,
    /// Another broadcast queue length.
    pub bcqueuelen: Option<u32>,
    /// Up or down.
    pub up: Option<bool>,
}

impl Change {
    /// Nothing is to change.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

pub(super) fn new_child(child: &NewChild<'_>) -> LinkMessage {
    let mut message = LinkMessage::default();
    message.attributes.extend([
        LinkAttribute::Link(child.master),
        LinkAttribute::Group(UNFINISHED_GROUP),
        LinkAttribute::LinkInfo(link_info(child.kind, Some(child.mode), child.bcqueuelen)),
    ]);
    message.attributes.extend(child.mac.map(|mac| LinkAttribute::Address(mac.octets().to_vec())));
    message.attributes.extend(child.mtu.map(LinkAttribute::Mtu));
    message
}

fn named(mut device: LinkMessage, name: &str, netns: &Netns) -> LinkMessage {
    device.attributes.retain(|attribute| !matches!(attribute, LinkAttribute::IfName(_)));
    device.attributes.push(LinkAttribute::IfName(name.to_owned()));
    device.attributes.push(LinkAttribute::NetNsFd(netns.as_fd().as_raw_fd()));
    device
}

fn link_info(kind: Kind, mode: Option<Mode>, bcqueuelen: Option<u32>) -> Vec<LinkInfo> {
    let mode = mode.map(|mode| MacVlanMode::from(mode.to_kernel()));
    match kind {
        Kind::Macvlan | Kind::Port => {
            let mut data: Vec<_> = mode.map(InfoMacVlan::Mode).into_iter().collect();
            data.extend(bcqueuelen.map(InfoMacVlan::BcQueueLen));
            vec![LinkInfo::Kind(InfoKind::MacVlan), LinkInfo::Data(InfoData::MacVlan(data))]
        }
        Kind::Macvtap => {
            let mut data: Vec<_> = mode.map(InfoMacVtap::Mode).into_iter().collect();
            data.extend(bcqueuelen.map(InfoMacVtap::BcQueueLen));
            vec![LinkInfo::Kind(InfoKind::MacVtap), LinkInfo::Data(InfoData::MacVtap(data))]
        }
    }
}
