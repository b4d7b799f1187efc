//! The demo's namespaces and devices.

use std::{
    net::Ipv4Addr,
    os::fd::{AsFd as _, AsRawFd as _},
};

use anyhow::{Context as _, Result};
use macvlan_common::child::Mode;
use macvlan_core::kernel::{
    netlink::{Netlink, ipnet::IpNet},
    netns::Netns,
};
use rtnetlink::LinkMacVlan;

use crate::lab::cables::{End, bring_up, cable, create, on};

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

    pub fn address(self) -> Ipv4Addr {
        let last = match self {
            Self::Host => 1,
            Self::Wire => 2,
            Self::Web => 11,
            Self::Db => 12,
        };
        Ipv4Addr::new(10, 98, 0, last)
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
            let address = IpNet { address: place.address().into(), prefix: PREFIX };
            let brought_up = on(lab.at(place), async || {
                bring_up(&Netlink::open()?, device, Some(address)).await.map(drop)
            });
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
        let [host, wire] = [(&self.host, master), (&self.wire, "wire")];
        cable(&netlink, end(host), end(wire)).await?;
        let index = netlink.link_by_name(master).await?.context("the master is gone")?.index;
        for (name, netns) in [("web", &self.web), ("db", &self.db)] {
            // Numbered, as a namespace without a name could not be found otherwise.
            netlink.assign_nsid(netns).await?;
            let mode = Mode::Bridge.to_kernel().into();
            let child = LinkMacVlan::new(name, index, mode).setns_by_fd(netns.as_fd().as_raw_fd());
            create(&netlink, child.build()).await?;
        }
        Ok(())
    }
}

fn end<'a>((netns, device): (&'a Netns, &'a str)) -> End<'a> {
    End { netns, device }
}
