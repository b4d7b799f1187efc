//! The lower device: finding it, and saying why one cannot be a master.

use std::fmt;

use anyhow::{Context, Result, anyhow, bail};
use macvlan_common::mac::Mac;

use crate::{
    ids::IfName,
    netlink::{Netlink, link::Link},
    netns::Netns,
};

/// A device that macvlan children can be on.
#[derive(Debug)]
pub struct Master {
    /// Its name.
    pub name: String,
    /// Its index.
    pub index: u32,
    /// Its MAC.
    pub mac: Mac,
    /// Its MTU.
    pub mtu: u32,
    /// What made it ("veth", "bond", ...), `None` for hardware.
    pub kind: Option<String>,
    /// Administratively up.
    pub up: bool,
    /// The namespace it is in: that of this process.
    pub netns: Netns,
    /// What tells it from every other master of this machine.
    pub key: MasterKey,
}

/// Names a master's pin directory and lock: unique over all namespaces, as long as the master lives.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MasterKey(String);

impl fmt::Display for MasterKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl MasterKey {
    /// The key of the device with this index in the namespace of the calling thread.
    ///
    /// # Errors
    ///
    /// When the namespace cannot be told from others.
    pub fn of(index: u32) -> Result<Self> {
        Ok(Self(format!("{}{index}", Self::prefix()?)))
    }

    /// What the keys of this namespace's masters begin with.
    ///
    /// # Errors
    ///
    /// When the namespace cannot be told from others.
    pub fn prefix() -> Result<String> {
        match Netns::current_cookie() {
            Some(cookie) => Ok(format!("ns{cookie}-if")),
            None => Ok(format!("inode{}-if", Netns::current()?.id().inode())),
        }
    }
}

impl Master {
    /// The device named `name`, as long as it can carry macvlans at all.
    ///
    /// # Errors
    ///
    /// When there is none, or it is the wrong kind of device.
    pub async fn find(netlink: &Netlink, name: &str) -> Result<Self> {
        // The kernel's own word on a name that is too long speaks of mathematics.
        name.parse::<IfName>()?;
        let link = netlink.link_by_name(name).await?;
        let link = link.ok_or_else(|| anyhow!("no such device; see: ip link"))?;
        Self::from_link(netlink, link).await
    }

    /// The master that `link` is.
    ///
    /// # Errors
    ///
    /// When it is the wrong kind of device.
    pub async fn from_link(netlink: &Netlink, link: Link) -> Result<Self> {
        if link.loopback {
            bail!("the loopback device carries no macvlan; name a physical, VLAN, bond or bridge device");
        }
        if link.is_child() {
            bail!("it is itself a {}; attach to its master", link.kind.as_deref().unwrap_or("macvlan"));
        }
        if let Some(index) = link.controller {
            refuse_port(netlink, index).await?;
        }
        let mac = link.mac.context("it is not an Ethernet device")?;
        let key = MasterKey::of(link.index)?;
        Ok(Self {
            name: link.name,
            index: link.index,
            mac,
            mtu: link.mtu,
            kind: link.kind,
            up: link.up,
            netns: Netns::current()?,
            key,
        })
    }

    /// Refuses a master that is down: it would pass nothing, and its children could not go up.
    ///
    /// # Errors
    ///
    /// When it is down.
    pub fn require_up(&self) -> Result<()> {
        if !self.up {
            bail!("it is down; first run: ip link set {} up", self.name);
        }
        Ok(())
    }
}

/// A port of a bridge, bond or team hands every frame to that device: its receive handler is taken.
async fn refuse_port(netlink: &Netlink, controller: u32) -> Result<()> {
    let Some(controller) = netlink.link_by_index(controller, None).await? else { return Ok(()) };
    let what = match controller.kind.as_deref() {
        Some("bridge") => "a port of bridge",
        Some("bond") => "a slave of bond",
        Some("team") => "a port of team",
        _ => return Ok(()),
    };
    bail!("it is {what} {:?}; attach to {:?} instead", controller.name, controller.name)
}
