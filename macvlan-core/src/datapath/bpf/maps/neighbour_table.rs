//! Who has which address: what netlink tells, beside what the programs learn.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

use anyhow::{Context, Result};
use aya::maps::{HashMap, Map, MapData, MapError};
use macvlan_common::{
    l3::Address,
    mac::Mac,
    neigh::{LIFETIME, Owner, mac_of},
};
use nix::errno::Errno;

use crate::{
    datapath::bpf::maps::{batch::Batch, clock},
    model::{
        members::{ip_of, key_of},
        neighbours::ToldAddresses,
    },
};

/// Addresses there is room for, for each child there is room for.
const ADDRESSES_PER_CHILD: u32 = 4;

/// However few the children, there is room for this many: what some may teach us, and the host's own.
const FEWEST: u32 = 1024;

/// How many addresses fit beside so many children.
pub fn room_beside(max_children: u32) -> u32 {
    max_children.saturating_mul(ADDRESSES_PER_CHILD).max(FEWEST)
}

/// The owners of addresses, and where each child's are remembered.
pub struct NeighbourTable {
    owners: HashMap<MapData, Address, Owner>,
    places: HashMap<MapData, u64, Address>,
    all_owners: Batch,
    all_places: Batch,
}

impl NeighbourTable {
    /// What is in these maps.
    ///
    /// # Errors
    ///
    /// One is of another kind, or the process has too many files open.
    pub fn new(owners: MapData, places: MapData) -> Result<Self> {
        Ok(Self {
            all_owners: Batch::of(&owners)?,
            all_places: Batch::of(&places)?,
            owners: Map::HashMap(owners).try_into()?,
            places: Map::HashMap(places).try_into()?,
        })
    }

    /// Makes the maps say what netlink tells, and keep of what was learnt only what is fresh and was
    /// said by one of `speakers`. An address that another one claims stays contested while netlink tells the
    /// same of it as before. Of more addresses than there is room for, requests go to all.
    ///
    /// # Errors
    ///
    /// The map cannot be read or written.
    pub fn set(&mut self, told: &ToldAddresses, speakers: &BTreeSet<Mac>) -> Result<()> {
        let now = clock::monotonic()?;
        let mut missing: BTreeMap<Address, Owner> =
            told.iter().map(|(address, told)| (key_of(*address), told.owner(now))).collect();
        for (address, owner) in self.all()? {
            match missing.get(&address) {
                Some(wanted) if stays(&owner, wanted, now) => {
                    missing.remove(&address);
                }
                Some(_) => {}
                None if !owner.is_learnt() || owner.is_over(now) || !may_speak(speakers, owner.mac) => {
                    gone(self.owners.remove(&address))?;
                }
                None => {}
            }
        }
        for (address, owner) in missing {
            match self.owners.insert(address, owner, 0) {
                Err(MapError::SyscallError(error))
                    if matches!(error.io_error.raw_os_error(), Some(libc::E2BIG | libc::ENOMEM)) =>
                {
                    break;
                }
                other => other.context("cannot write the address map")?,
            }
        }
        self.forget_places(speakers)
    }

    /// The addresses that two claim, and who has each.
    ///
    /// # Errors
    ///
    /// The map or the clock cannot be read.
    pub fn contested(&self) -> Result<BTreeSet<(Mac, IpAddr)>> {
        let now = clock::monotonic()?;
        let all = self.all()?.into_iter();
        let contested = all.filter(|(_, owner)| owner.contested != 0 && !owner.is_over(now));
        Ok(contested.map(|(address, owner)| (Mac::from_key(owner.mac), ip_of(address))).collect())
    }

    fn all(&self) -> Result<Vec<(Address, Owner)>> {
        self.all_owners.hash().context("cannot read the address map")
    }

    fn forget_places(&mut self, speakers: &BTreeSet<Mac>) -> Result<()> {
        let places = self.all_places.hash::<u64, Address>().context("cannot read the address map")?;
        for (place, _) in places.into_iter().filter(|(place, _)| !may_speak(speakers, mac_of(*place))) {
            gone(self.places.remove(&place))?;
        }
        Ok(())
    }
}

/// What was in the table.
#[derive(Debug, Clone, PartialEq)]
pub struct Remembered {
    owners: Vec<(Address, Owner)>,
    places: Vec<(u64, Address)>,
}

impl NeighbourTable {
    /// What is in the table now.
    ///
    /// # Errors
    ///
    /// The kernel does not read out a map.
    pub fn remember(&self) -> Result<Remembered> {
        let places = self.all_places.hash().context("cannot read the address map")?;
        Ok(Remembered { owners: self.all()?, places })
    }

    /// Makes the table say what it said, but for what the programs have learnt since.
    ///
    /// # Errors
    ///
    /// The kernel does not read out or write a map.
    pub fn put_back(&mut self, before: &Remembered) -> Result<()> {
        let was: BTreeMap<Address, Owner> = before.owners.iter().copied().collect();
        for (address, owner) in self.all()? {
            if !owner.is_learnt() && !was.contains_key(&address) {
                gone(self.owners.remove(&address))?;
            }
        }
        for (address, owner) in was {
            self.owners.insert(address, owner, 0).context("cannot write the address map")?;
        }
        for (place, address) in &before.places {
            self.places.insert(place, address, 0).context("cannot write the address map")?;
        }
        Ok(())
    }
}

/// Whether what is known of an address is what netlink tells, contested or not, and not so old that it is
/// to be written anew, long before it is forgotten.
fn stays(owner: &Owner, wanted: &Owner, now: u64) -> bool {
    let is_same = (owner.kind, owner.mac) == (wanted.kind, wanted.mac);
    let is_ageing = now.saturating_sub(owner.seen) > LIFETIME / 4;
    is_same && if owner.contested == 0 { !is_ageing } else { !owner.is_over(now) }
}

fn may_speak(speakers: &BTreeSet<Mac>, mac: u64) -> bool {
    speakers.contains(&Mac::from_key(mac))
}

/// That an entry is gone already is no error.
pub fn gone(removed: Result<(), MapError>) -> Result<()> {
    match removed {
        Ok(()) | Err(MapError::KeyNotFound) => Ok(()),
        Err(MapError::SyscallError(error)) if error.io_error.raw_os_error() == Some(Errno::ENOENT as i32) => {
            Ok(())
        }
        Err(error) => Err(error).context("cannot forget an address"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_contest_stays_until_netlink_tells_otherwise() {
        const NOW: u64 = 10 * LIFETIME;
        let told = Owner { mac: 7, seen: NOW, kind: Owner::TOLD, ..Owner::default() };
        let known = Owner { seen: NOW - 1, ..told };
        assert!(stays(&known, &told, NOW));
        assert!(!stays(&Owner { seen: NOW - LIFETIME / 2, ..known }, &told, NOW), "to be renewed");
        let contested = Owner { contested: NOW - LIFETIME / 2, seen: NOW - LIFETIME, ..known };
        assert!(stays(&contested, &told, NOW));
        assert!(!stays(&contested, &Owner { mac: 8, ..told }, NOW), "it has moved");
        assert!(!stays(&Owner { contested: 1, ..contested }, &told, NOW), "it is over");
        assert!(!stays(&Owner { kind: Owner::CLAIM, ..known }, &told, NOW), "learnt");
    }
}
