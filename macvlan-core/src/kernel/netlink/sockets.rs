//! One socket for each namespace, however many children are in it.

use std::collections::{HashMap, hash_map::Entry};

use anyhow::Result;

use crate::kernel::{
    netlink::Netlink,
    netns::{Netns, NetnsId},
};

/// Sockets opened so far.
#[derive(Debug, Default)]
pub struct Sockets(HashMap<NetnsId, Netlink>);

impl Sockets {
    /// The socket in `netns`.
    ///
    /// # Errors
    ///
    /// When the namespace cannot be entered.
    pub fn at(&mut self, netns: &Netns) -> Result<Netlink> {
        match self.0.entry(netns.id()) {
            Entry::Occupied(entry) => Ok(entry.get().clone()),
            Entry::Vacant(entry) => {
                // To enter even one's own needs `CAP_SYS_ADMIN`.
                let is_own = Netns::current()?.id() == netns.id();
                let socket = if is_own { Netlink::open() } else { Netlink::open_in(netns) };
                Ok(entry.insert(socket?).clone())
            }
        }
    }
}
