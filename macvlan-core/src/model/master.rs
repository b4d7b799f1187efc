//! The lower device.

use anyhow::{Result, bail};
use macvlan_common::mac::Mac;

use crate::kernel::{master_key::MasterKey, netns::Netns};

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
    /// The layer below it works.
    pub carrier: bool,
    /// The namespace it is in: that of this process.
    pub netns: Netns,
    /// What tells it from every other master of this machine.
    pub key: MasterKey,
}

impl Master {
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
