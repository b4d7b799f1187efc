//! The addresses of children held to theirs. They do not age: a child has what it was last seen to have.

use std::collections::BTreeSet;

use anyhow::{Context, Result, bail};
use aya::maps::{HashMap, Map, MapData, MapError};
use macvlan_common::{inspect::OwnAddress, mac::Mac};

use crate::{
    datapath::bpf::maps::{batch::Batch, neighbour_table::gone},
    model::members::AllowedAddresses,
};

/// The map of them.
pub struct AllowedAddressMap {
    map: HashMap<MapData, OwnAddress, u32>,
    batch: Batch,
    room: u32,
}

impl AllowedAddressMap {
    /// What is in this map, which has room for so many.
    ///
    /// # Errors
    ///
    /// It is of another kind, or the process has too many files open.
    pub fn new(map: MapData, room: u32) -> Result<Self> {
        Ok(Self { batch: Batch::of(&map)?, map: Map::HashMap(map).try_into()?, room })
    }

    /// What is in the map.
    ///
    /// # Errors
    ///
    /// The map cannot be read.
    pub fn read(&self) -> Result<AllowedAddresses> {
        let mut own = AllowedAddresses::new();
        for entry in self.entries()? {
            own.entry(Mac::from_key(entry.mac)).or_default().insert(entry.address);
        }
        Ok(own)
    }

    fn entries(&self) -> Result<BTreeSet<OwnAddress>> {
        let all = self.batch.hash::<OwnAddress, u32>();
        let all = all.context("cannot read the map of children's own addresses")?;
        Ok(all.into_iter().map(|(address, _)| address).collect())
    }

    /// Adds what is missing: before a child is held to its addresses. Gives what was there.
    ///
    /// # Errors
    ///
    /// There is no room, or the map cannot be written.
    pub fn allow(&mut self, own: &AllowedAddresses) -> Result<BTreeSet<OwnAddress>> {
        let present = self.entries()?;
        for entry in wanted(own).filter(|entry| !present.contains(entry)) {
            match self.map.insert(entry, 1, 0) {
                Err(MapError::SyscallError(error)) if error.io_error.raw_os_error() == Some(libc::E2BIG) => {
                    bail!(
                        "children held to their addresses have more than the maximum of {}: use anti-spoof \
                         mac for some, or detach, then attach with a larger --max-children",
                        self.room
                    )
                }
                other => other.context("cannot write the map of children's own addresses")?,
            }
        }
        Ok(present)
    }

    /// Removes those that were `present` and are no longer: after a child is held to its addresses no more.
    ///
    /// # Errors
    ///
    /// The map cannot be written.
    pub fn forget_others(&mut self, present: &BTreeSet<OwnAddress>, own: &AllowedAddresses) -> Result<()> {
        let kept: BTreeSet<OwnAddress> = wanted(own).collect();
        for entry in present.difference(&kept) {
            gone(self.map.remove(entry))?;
        }
        Ok(())
    }
}

fn wanted(own: &AllowedAddresses) -> impl Iterator<Item = OwnAddress> {
    own.iter().flat_map(|(mac, addresses)| {
        addresses.iter().map(|address| OwnAddress { address: *address, mac: mac.key() })
    })
}
