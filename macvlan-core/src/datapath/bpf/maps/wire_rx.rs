//! What children received from the wire by the programs' short way, which counts it at the child's slot.

use anyhow::{Context as _, Result};
use aya::maps::{MapData, PerCpuArray, PerCpuValues};
use macvlan_common::counters::{ChildCounters, Count, Path};

/// Counts by slot.
pub struct WireRx(PerCpuArray<MapData, Count>);

impl WireRx {
    /// What is in this map.
    pub fn new(map: PerCpuArray<MapData, Count>) -> Self {
        Self(map)
    }

    /// Begins anew for another child at this slot.
    ///
    /// # Errors
    ///
    /// The map cannot be written.
    pub fn clear(&mut self, slot: u32) -> Result<()> {
        let cpus = aya::util::nr_cpus().map_err(|(_, error)| error).context("cannot count the CPUs")?;
        let zeros = PerCpuValues::try_from(vec![Count::default(); cpus])?;
        self.0.set(slot, zeros, 0).context("cannot clear the counter of a slot")
    }

    /// Adds what was counted at this slot to what else was counted of its child.
    ///
    /// # Errors
    ///
    /// The map cannot be read.
    pub fn add_to(&self, counters: &mut ChildCounters, slot: u32) -> Result<()> {
        let shares = self.0.get(&slot, 0).context("cannot read the counter of a slot")?;
        shares.iter().for_each(|share| counters.rx[Path::Wire as usize].add(*share));
        Ok(())
    }
}
