//! What an attach may be told.

use std::num::NonZeroU32;

use anyhow::{Result, anyhow};
use macvlan_common::limit::MOST_FRAMES;

use crate::datapath::choose::{DropUnknown, TcChoice, XdpChoice};

/// Children that fit unless told otherwise.
pub const DEFAULT_MAX_CHILDREN: u32 = 4096;

/// Most children that may be asked for.
pub const MOST_CHILDREN: u32 = 1_048_576;

/// The limit of storms that a person asks for.
///
/// # Errors
///
/// When it would let nothing through, or is more than can be counted.
pub fn storm_limit(per_second: u32) -> Result<NonZeroU32> {
    let limit = NonZeroU32::new(per_second).filter(|limit| limit.get() <= MOST_FRAMES);
    limit.ok_or_else(|| {
        anyhow!(
            "a storm limit is 1 to {MOST_FRAMES} frames per second, not {per_second}; for none, leave it out"
        )
    })
}

/// What an attach may be told; `None` means "as it is" or, where nothing is, the default.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Options {
    /// Where to demultiplex.
    pub xdp: Option<XdpChoice>,
    /// How to attach to TC.
    pub tc: Option<TcChoice>,
    /// Leave children of others alone.
    pub no_adopt: bool,
    /// Let requests for a known address go to all, as those for unknown ones do.
    pub no_directed_neigh: bool,
    /// How many broadcast and multicast frames a second may come from the wire, and as many from each
    /// child; `None` is no limit.
    pub storm_limit: Option<NonZeroU32>,
    /// How many children fit.
    pub max_children: Option<u32>,
    /// What becomes of unicast from the wire to nobody here.
    pub drop_unknown: Option<DropUnknown>,
    /// Whether the switch sends frames back out of the port they came in by.
    pub vepa_switch: Option<bool>,
}
