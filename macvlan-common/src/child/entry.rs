//! What the maps hold of a child beside its policy: slot and counters.

use crate::counters::ChildCounters;

/// Value of the children map, one per CPU.
///
/// The slot never changes while the entry lives, so user space never writes over counters that
/// programs are adding to; what can change is in the policy array at that slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[repr(C)]
pub struct ChildEntry {
    /// Index in the policy array, the same on every CPU.
    pub slot: u32,
    /// Zero: keeps the counters aligned without hidden padding.
    pub reserved: u32,
    /// This CPU's share of the child's counters.
    pub counters: ChildCounters,
}

/// What a child that is gone had counted: should its MAC come back, it counts on from there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[repr(C)]
pub struct Retired {
    /// When it went, in nanoseconds since the machine started.
    pub since: u64,
    /// Summed over all CPUs.
    pub counters: ChildCounters,
}
