//! What children exchanged by the programs' short ways, which count it at the child's slot.

use anyhow::{Context as _, Result};
use aya::maps::{MapData, PerCpuArray, PerCpuValues};
use macvlan_common::counters::{ChildCounters, SlotCounters};

/// Counters by slot.
pub struct BySlot(PerCpuArray<MapData, SlotCounters>);

impl BySlot {
    /// What is in this map.
    pub fn new(map: PerCpuArray<MapData, SlotCounters>) -> Self {
        Self(map)
    }

    /// Begins anew for another child at this slot.
    ///
    /// # Errors
    ///
    /// The map cannot be written.
    pub fn clear(&mut self, slot: u32) -> Result<()> {
        let cpus = aya::util::nr_cpus().map_err(|(_, error)| error).context("cannot count the CPUs")?;
        let zeros = PerCpuValues::try_from(vec![SlotCounters::default(); cpus])?;
        self.0.set(slot, zeros, 0).context("cannot clear the counters of a slot")
    }

    /// Adds what was counted at this slot to what else was counted of its child.
    ///
    /// # Errors
    ///
    /// The map cannot be read.
    pub fn add_to(&self, counters: &mut ChildCounters, slot: u32) -> Result<()> {
        let shares = self.0.get(&slot, 0).context("cannot read the counters of a slot")?;
        shares.iter().for_each(|share| share.add_to(counters));
        Ok(())
    }
}
