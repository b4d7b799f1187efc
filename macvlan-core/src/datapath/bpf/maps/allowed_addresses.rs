//! The addresses of children held to theirs. They do not age: a child has what it was last seen to have.
//!
//! A container can give itself as many addresses as it likes. There is room for a share of each child, so that
//! none takes another's place: what is beyond its share is not its own, and is dropped.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, Result};
use aya::maps::{HashMap, Map, MapData};
use macvlan_common::{inspect::OwnAddress, l3::Address, mac::Mac};

use crate::{
    datapath::bpf::maps::{batch::Batch, neighbour_table::gone},
    model::members::AllowedAddresses,
};

/// However much room there is, the most that one child is told to have.
const MOST_OF_ONE: usize = 64;

/// The map of them.
pub struct AllowedAddressMap {
    map: HashMap<MapData, OwnAddress, u32>,
    batch: Batch,
    room: usize,
}

impl AllowedAddressMap {
    /// What is in this map, which has room for so many.
    ///
    /// # Errors
    ///
    /// It is of another kind, or the process has too many files open.
    pub fn new(map: MapData, room: u32) -> Result<Self> {
        Ok(Self { batch: Batch::of(&map)?, map: Map::HashMap(map).try_into()?, room: room as usize })
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

    /// Adds what is missing: before a child is held to its addresses. Gives what was there. Where room is short,
    /// what is nobody's any more goes first.
    ///
    /// # Errors
    ///
    /// The map cannot be written.
    pub fn allow(&mut self, own: &AllowedAddresses) -> Result<BTreeSet<OwnAddress>> {
        let mut present = self.entries()?;
        let wanted = self.within_shares(own);
        if present.union(&wanted).count() > self.room {
            self.forget_others(&present, own)?;
            present.retain(|entry| wanted.contains(entry));
        }
        for entry in wanted.difference(&present) {
            self.map.insert(entry, 1, 0).context("cannot write the map of children's own addresses")?;
        }
        Ok(present)
    }

    /// The children, of so many that are held to their addresses, whose share is used up.
    ///
    /// # Errors
    ///
    /// The map cannot be read.
    pub fn used_up(&self, held: usize) -> Result<BTreeMap<Mac, usize>> {
        let share = share(self.room, held);
        let mut counts = BTreeMap::<Mac, usize>::new();
        self.entries()?.iter().for_each(|entry| *counts.entry(Mac::from_key(entry.mac)).or_default() += 1);
        counts.retain(|_, count| *count >= share);
        Ok(counts)
    }

    /// Removes those that were `present` and are no longer: after a child is held to its addresses no more.
    ///
    /// # Errors
    ///
    /// The map cannot be written.
    pub fn forget_others(&mut self, present: &BTreeSet<OwnAddress>, own: &AllowedAddresses) -> Result<()> {
        for entry in present.difference(&self.within_shares(own)) {
            gone(self.map.remove(entry))?;
        }
        Ok(())
    }

    fn within_shares(&self, own: &AllowedAddresses) -> BTreeSet<OwnAddress> {
        within_shares(own, share(self.room, own.len()))
    }
}

/// How many addresses each of so many children may have. There is room for more than one of each.
fn share(room: usize, children: usize) -> usize {
    (room / children.max(1)).clamp(1, MOST_OF_ONE)
}

fn within_shares(own: &AllowedAddresses, share: usize) -> BTreeSet<OwnAddress> {
    let of_one = |(mac, addresses): (&Mac, &BTreeSet<Address>)| {
        let mac = mac.key();
        addresses
            .iter()
            .take(share)
            .map(move |address| OwnAddress { address: *address, mac })
            .collect::<Vec<_>>()
    };
    own.iter().flat_map(of_one).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_takes_the_place_of_another() {
        let mac = |last| Mac::new([2, 0, 0, 0, 0, last]);
        let many = |count: u8| (0..count).map(|last| Address::v4([10, 9, 0, last])).collect::<BTreeSet<_>>();
        let own = AllowedAddresses::from([(mac(1), many(200)), (mac(2), many(3)), (mac(3), many(200))]);
        let room = 64;
        let within = within_shares(&own, share(room, own.len()));
        let of = |wanted| within.iter().filter(|entry| entry.mac == mac(wanted).key()).count();
        assert!(within.len() <= room);
        assert_eq!((of(1), of(2), of(3)), (21, 3, 21));
        assert_eq!((share(1 << 20, 1), share(0, 5), share(5, 0)), (MOST_OF_ONE, 1, 5));
    }
}
