//! Rates of children, by slot.

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use aya::maps::{HashMap, Map, MapData, MapError};
use macvlan_common::rate::Meters;

use crate::{datapath::bpf::maps::batch::Batch, policy::rate::RateLimits};

/// The map of those children that are limited.
pub struct MeterMap {
    map: HashMap<MapData, u32, Meters>,
    batch: Batch,
}

impl MeterMap {
    /// What is in this map.
    ///
    /// # Errors
    ///
    /// It is of another kind, or the process has too many files open.
    pub fn new(map: MapData) -> Result<Self> {
        Ok(Self { batch: Batch::of(&map)?, map: Map::HashMap(map).try_into()? })
    }

    /// The limits of all children that are limited, by slot.
    ///
    /// # Errors
    ///
    /// The process lacks `CAP_BPF`.
    pub fn all(&self) -> Result<BTreeMap<u32, Meters>> {
        Ok(self.batch.hash().context("cannot read the rates of children")?.into_iter().collect())
    }

    /// Gives the child at this slot these limits; those that it has already stay as they are, with what
    /// was used of them.
    ///
    /// # Errors
    ///
    /// The map is full, or cannot be written.
    pub fn set(&mut self, slot: u32, limits: &RateLimits) -> Result<()> {
        let present = match self.map.get(&slot, 0) {
            Ok(present) => present,
            Err(MapError::KeyNotFound) => Meters::default(),
            Err(error) => return Err(error).context("cannot read the rates of a child"),
        };
        self.change(slot, &present, limits)
    }

    /// Likewise, where it has those of `present` now.
    ///
    /// # Errors
    ///
    /// The map is full, or the process lacks `CAP_BPF`.
    pub fn change(&mut self, slot: u32, present: &Meters, limits: &RateLimits) -> Result<()> {
        let wanted = limits.meters();
        let is_kept = [present.rx.unused() == wanted.rx, present.tx.unused() == wanted.tx];
        if is_kept == [true, true] {
            return Ok(());
        }
        let [rx, tx] = is_kept;
        let meters = Meters {
            rx: if rx { present.rx } else { wanted.rx },
            tx: if tx { present.tx } else { wanted.tx },
        };
        self.map.insert(slot, meters, 0).context("cannot write the rates of a child")
    }

    /// Forgets the limits at this slot, if there are any.
    ///
    /// # Errors
    ///
    /// The map cannot be written.
    pub fn forget(&mut self, slot: u32) -> Result<()> {
        match self.map.remove(&slot) {
            Ok(()) => Ok(()),
            Err(MapError::SyscallError(error)) if error.io_error.raw_os_error() == Some(libc::ENOENT) => {
                Ok(())
            }
            Err(error) => Err(error).context("cannot remove the rates of a child"),
        }
    }
}
