//! The contract of one MAC on the wire as a table: frames, and what becomes of them.
//!
//! The unit tests run it through the functions on bytes in memory, the device tests through the programs.

mod build;
mod memory;
#[cfg(test)]
mod tests;

pub use self::{
    build::{CHILD, CHILD4, CHILD6, HOST4, HOST6, MASTER, OTHER, PEER, PEER4, PEER6, cases},
    memory::{Memory, frame_checksums_hold},
};
use crate::{counters::DropReason, l3::Address};

/// A frame on its way to or from the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// A child's, that goes on to the wire.
    Out,
    /// From the wire.
    In,
}

/// What a child taught: VLAN, address, key of its MAC, kind.
pub type Taught = (u32, Address, u64, u64);

/// What becomes of a frame.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fate {
    /// It goes on as these bytes.
    Frame(Vec<u8>),
    /// It is dropped.
    Drop(DropReason),
}

/// A row of the contract.
#[derive(Debug, Clone)]
pub struct Case {
    /// The row in words.
    pub name: &'static str,
    /// Where the frame goes.
    pub way: Way,
    /// The frame as it comes.
    pub frame: Vec<u8>,
    /// What becomes of it.
    pub fate: Fate,
    /// What is learnt of it.
    pub taught: Vec<Taught>,
}
