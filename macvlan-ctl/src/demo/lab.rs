//! The demo's namespaces and devices.

use std::{
    net::{IpAddr, Ipv4Addr},
    os::fd::{AsFd as _, AsRawFd as _},
};

use anyhow::{Context as _, Result};
use macvlan_common::child::Mode;
use netlink_packet_core::{NLM_F_CREATE, NLM_F_EXCL};
use netlink_packet_route::{
    RouteNetlinkMessage,
    link::{LinkAttribute, LinkFlags, LinkMessage},
};
use rtnetlink::{LinkMacVlan, LinkVeth};

use super::on;
use crate::{
    netlink::{Netlink, address::IpNet},
    netns::Netns,
};

/// Who takes part.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// The stack that owns the master.
    Host,
    /// A machine beyond the master.
    Wire,
    /// A child.
    Web,
    /// Another child.
    Db,
}

const PREFIX: u8 = 24;

impl Place {
    pub fn name(self) -> &'static str {
        match self {
            Self::Host => "host",
            Self::Wire => "wire",
            Self::Web => "web",
            Self::Db => "db",
        }
    }

    pub fn address(self) -> IpAddr {
        let last = match self {
            Self::Host => 1,
            Self::Wire => 2,
            Self::Web => 11,
            Self::Db => 12,
        };
        Ipv4Addr::new(10, 98, 0, last).into()
    }
}

/// Four namespaces, a wire, and two children that somebody else made.
pub struct Lab {
    host: Netns,
    wire: Netns,
    web: Netns,
    db: Netns,
}

impl Lab {
    /// Builds it; `master` is the host's end of the wire.
    pub fn build(master: &str) -> Result<Self> {
        let lab = Self {
            host: Netns::create()?,
            wire: Netns::create()?,
            web: Netns::create()?,
            db: Netns::create()?,
        };
        on(&lab.host, async || lab.connect(master).await).context("cannot build the lab")?;
        for (place, device) in
            [(Place::Host, master), (Place::Wire, "wire"), (Place::Web, "web"), (Place::Db, "db")]
        {
            let brought_up = on(lab.at(place), async || bring_up(device, place).await);
            brought_up.with_context(|| format!("cannot bring {:?} up", place.name()))?;
        }
        Ok(lab)
    }

    pub fn at(&self, place: Place) -> &Netns {
        match place {
            Place::Host => &self.host,
            Place::Wire => &self.wire,
            Place::Web => &self.web,
            Place::Db => &self.db,
        }
    }

    /// Makes the devices, from the host's namespace.
    async fn connect(&self, master: &str) -> Result<()> {
        let netlink = Netlink::open()?;
        create(&netlink, LinkVeth::new(master, "wire").build()).await?;
        move_to(&netlink, "wire", &self.wire).await?;
        let index = netlink.link_by_name(master).await?.context("the master is gone")?.index;
        for (name, netns) in [("web", &self.web), ("db", &self.db)] {
            let mode = Mode::Bridge.to_kernel().into();
            create(&netlink, LinkMacVlan::new(name, index, mode).build()).await?;
            move_to(&netlink, name, netns).await?;
        }
        Ok(())
    }
}

async fn create(netlink: &Netlink, message: LinkMessage) -> Result<()> {
    netlink.change(RouteNetlinkMessage::NewLink(message), NLM_F_CREATE | NLM_F_EXCL).await
}

/// Moved, not made there: so the kernel numbers the namespace, which has no name to be found by.
async fn move_to(netlink: &Netlink, name: &str, netns: &Netns) -> Result<()> {
    let link = netlink.link_by_name(name).await?.context("a device vanished")?;
    let mut message = LinkMessage::default();
    message.header.index = link.index;
    message.attributes.push(LinkAttribute::NetNsFd(netns.as_fd().as_raw_fd()));
    netlink.change(RouteNetlinkMessage::SetLink(message), 0).await
}

/// Gives a device its address and brings it up, in the namespace of the calling thread.
async fn bring_up(device: &str, place: Place) -> Result<()> {
    let netlink = Netlink::open()?;
    let link = netlink.link_by_name(device).await?.context("a device vanished")?;
    netlink.add_address(link.index, IpNet { address: place.address(), prefix: PREFIX }).await?;
    for index in [LOOPBACK, link.index] {
        let mut message = LinkMessage::default();
        message.header.index = index;
        message.header.flags |= LinkFlags::Up;
        message.header.change_mask |= LinkFlags::Up;
        netlink.change(RouteNetlinkMessage::SetLink(message), 0).await?;
    }
    Ok(())
}

/// Index of the loopback device, in every namespace (`LOOPBACK_IFINDEX`).
const LOOPBACK: u32 = 1;
