//! Rates of children, by slot.

use std::collections::BTreeSet;

use anyhow::{Context, Result};
use aya::maps::{HashMap, MapData, MapError};
use macvlan_common::rate::Meters;

use crate::policy::rate::RateLimits;

/// The map of those children that are limited.
pub struct MeterMap(HashMap<MapData, u32, Meters>);

impl MeterMap {
    /// What is in this map.
    pub fn new(map: HashMap<MapData, u32, Meters>) -> Self {
        Self(map)
    }

    /// The limits of the child at this slot.
    ///
    /// # Errors
    ///
    /// When the kernel refuses to tell.
    pub fn of(&self, slot: u32) -> Result<RateLimits> {
        match self.0.get(&slot, 0) {
            Ok(meters) => Ok(RateLimits::of(&meters)),
            Err(MapError::KeyNotFound) => Ok(RateLimits::default()),
            Err(error) => Err(error).context("cannot read the rates of a child"),
        }
    }

    /// Gives the child at this slot these limits; those that it has already stay as they are, with what
    /// was used of them.
    ///
    /// # Errors
    ///
    /// When the kernel refuses.
    pub fn set(&mut self, slot: u32, limits: &RateLimits) -> Result<()> {
        let wanted = limits.meters();
        let present = match self.0.get(&slot, 0) {
            Ok(present) => present,
            Err(MapError::KeyNotFound) => Meters::default(),
            Err(error) => return Err(error).context("cannot read the rates of a child"),
        };
        let is_kept = [present.rx.unused() == wanted.rx, present.tx.unused() == wanted.tx];
        if is_kept == [true, true] {
            return Ok(());
        }
        let [rx, tx] = is_kept;
        let meters = Meters {
            rx: if rx { present.rx } else { wanted.rx },
            tx: if tx { present.tx } else { wanted.tx },
        };
        self.0.insert(slot, meters, 0).context("cannot write the rates of a child")
    }

    /// Forgets the limits at this slot, if there are any.
    ///
    /// # Errors
    ///
    /// When the kernel refuses.
    pub fn forget(&mut self, slot: u32) -> Result<()> {
        match self.0.remove(&slot) {
            Ok(()) => Ok(()),
            Err(MapError::SyscallError(error)) if error.io_error.raw_os_error() == Some(libc::ENOENT) => {
                Ok(())
            }
            Err(error) => Err(error).context("cannot remove the rates of a child"),
        }
    }

    /// Forgets the limits at all slots but these.
    ///
    /// # Errors
    ///
    /// When the kernel refuses.
    pub fn keep(&mut self, slots: &BTreeSet<u32>) -> Result<()> {
        let keys: Result<Vec<u32>, MapError> = self.0.keys().collect();
        for slot in keys.context("cannot read the rates of children")? {
            if !slots.contains(&slot) {
                self.0.remove(&slot).context("cannot remove the rates of a child")?;
            }
        }
        Ok(())
    }
}
