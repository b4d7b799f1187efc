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
use nix::{
    errno::Errno,
    time::{ClockId, clock_gettime},
};

use crate::{datapath::bpf::maps::batch::Batch, model::members::key_of};

/// Addresses there is room for, for each child there is room for.
const ADDRESSES_PER_CHILD: u32 = 4;

/// How many addresses fit beside so many children.
pub fn room_beside(max_children: u32) -> u32 {
    // However few the children: 16 that each may teach us, and the host's own.
    max_children.saturating_mul(ADDRESSES_PER_CHILD).max(256)
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
    /// said by one of `speakers`. Of more addresses than there is room for, requests go to all.
    ///
    /// # Errors
    ///
    /// The map cannot be read or written.
    pub fn set(&mut self, told: &BTreeMap<IpAddr, Mac>, speakers: &BTreeSet<Mac>) -> Result<()> {
        let now = now()?;
        let mut missing: BTreeMap<Address, u64> =
            told.iter().map(|(address, mac)| (key_of(*address), mac.key())).collect();
        for (address, owner) in self.all()? {
            let is_told = owner.source == Owner::NETLINK;
            match missing.get(&address) {
                Some(mac) if is_told && owner.mac == *mac && !is_ageing(&owner, now) => {
                    missing.remove(&address);
                }
                Some(_) => {}
                None if is_told || owner.is_stale(now) || !may_speak(speakers, owner.mac) => {
                    gone(self.owners.remove(&address))?;
                }
                None => {}
            }
        }
        for (address, mac) in missing {
            let owner = Owner { mac, seen: now, source: Owner::NETLINK };
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
            if owner.source == Owner::NETLINK && !was.contains_key(&address) {
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

/// Old enough to be written anew, long before it is forgotten.
fn is_ageing(owner: &Owner, now: u64) -> bool {
    now.saturating_sub(owner.seen) > LIFETIME / 4
}

/// An address that two have claimed (0) stays so until it is stale.
fn may_speak(speakers: &BTreeSet<Mac>, mac: u64) -> bool {
    mac == 0 || speakers.contains(&Mac::from_key(mac))
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

/// The clock of `bpf_ktime_get_ns`.
fn now() -> Result<u64> {
    let now = clock_gettime(ClockId::CLOCK_MONOTONIC).context("cannot read the clock")?;
    let seconds = u64::try_from(now.tv_sec()).unwrap_or_default();
    Ok(seconds * 1_000_000_000 + u64::try_from(now.tv_nsec()).unwrap_or_default())
}
