//! Which MACs a device lets in besides its own.

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use macvlan_common::mac::Mac;
use netlink_packet_route::{
    AddressFamily, RouteNetlinkMessage,
    neighbour::{NeighbourAttribute, NeighbourFlags, NeighbourMessage},
};

use crate::kernel::netlink::Netlink;

impl Netlink {
    /// Unicast MACs in the receive filters of the devices, by index (`bridge fdb show`, entries
    /// marked `self`). A macvlan child that is up puts its own into that of its master, wherever
    /// it lives (`macvlan_open` in `drivers/net/macvlan.c`).
    ///
    /// # Errors
    ///
    /// Netlink does not list the receive filters.
    pub async fn unicast_filters(&self) -> Result<BTreeMap<u32, Vec<Mac>>> {
        let mut message = NeighbourMessage::default();
        message.header.family = AddressFamily::Bridge;
        let objects = self.dump(RouteNetlinkMessage::GetNeighbour(message)).await;
        let mut filters: BTreeMap<u32, Vec<Mac>> = BTreeMap::new();
        for object in objects.context("cannot list receive filters")? {
            if let RouteNetlinkMessage::NewNeighbour(entry) = object
                && entry.header.flags.contains(NeighbourFlags::Own)
                && let Some(mac) = mac_of(&entry)
                && !mac.is_group()
            {
                filters.entry(entry.header.ifindex).or_default().push(mac);
            }
        }
        Ok(filters)
    }
}

/// The MAC of a neighbour, where it has one.
pub(crate) fn mac_of(entry: &NeighbourMessage) -> Option<Mac> {
    entry.attributes.iter().find_map(|attribute| match attribute {
        NeighbourAttribute::LinkLayerAddress(bytes) => {
            <[u8; 6]>::try_from(bytes.as_slice()).ok().map(Mac::new)
        }
        _ => None,
    })
}
