//! The demo's namespaces and devices.

use std::net::Ipv4Addr;

use anyhow::{Context as _, Result};
use macvlan_common::child::Mode;
use macvlan_core::kernel::netlink::{Netlink, kind::Kind};

use crate::lab::{
    cables::{self, cable, create, move_to, on},
    station::Station,
};

/// Who takes part.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// The stack that owns the master.
    Host,
    /// A machine beyond the master.
    Wire,
    /// A child.
    Web,
    /// Another child.
    Db,
}

impl Role {
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
pub struct DemoLab {
    host: Station,
    wire: Station,
    web: Station,
    db: Station,
}

impl DemoLab {
    /// Builds it; `master` is the host's end of the wire.
    pub fn build(master: &'static str) -> Result<Self> {
        let station = |role: Role, device| Station::new(device, role.address());
        let lab = Self {
            host: station(Role::Host, master)?,
            wire: station(Role::Wire, "wire")?,
            web: station(Role::Web, "web")?,
            db: station(Role::Db, "db")?,
        };
        on(&lab.host.netns, async || lab.connect().await).context("cannot build the lab")?;
        [&lab.host, &lab.wire, &lab.web, &lab.db].into_iter().try_for_each(Station::come_up)?;
        Ok(lab)
    }

    pub fn at(&self, role: Role) -> &Station {
        match role {
            Role::Host => &self.host,
            Role::Wire => &self.wire,
            Role::Web => &self.web,
            Role::Db => &self.db,
        }
    }

    /// Makes the devices, from the host's namespace.
    async fn connect(&self) -> Result<()> {
        let netlink = Netlink::open()?;
        cable(&netlink, self.host.cable_end(), self.wire.cable_end()).await?;
        let master = netlink.link_by_name(self.host.device).await?.context("the master is gone")?.index;
        for child in [&self.web, &self.db] {
            create(&netlink, cables::child(Kind::Macvlan, child.device, master, Mode::Bridge, None)).await?;
            move_to(&netlink, child.device, &child.netns).await?;
        }
        Ok(())
    }
}
