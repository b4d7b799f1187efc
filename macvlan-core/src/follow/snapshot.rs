//! What a follower knows of its masters at one moment, for those who only look: the exporter.

use std::{
    collections::BTreeMap,
    path::PathBuf,
    sync::atomic::{AtomicU64, Ordering},
};

use macvlan_common::mac::Mac;

use crate::{kernel::netlink::link::Totals, model::status::MasterStatus};

/// Every master that is followed.
#[derive(Debug, Clone, Default)]
pub struct Snapshot {
    /// In the order they were given.
    pub masters: Vec<MasterSnapshot>,
}

/// One master that is followed.
#[derive(Debug, Clone)]
pub struct MasterSnapshot {
    /// What `status` would say of it.
    pub status: MasterStatus,
    /// Where its maps are pinned; `None` where the kernel carries it alone.
    pub pins: Option<PathBuf>,
    /// What the kernel counted of each child by its MAC, where it carries them alone.
    pub totals: BTreeMap<Mac, Totals>,
}

/// What a follower has been through since it started. Every field only grows.
#[derive(Debug, Default)]
pub struct Tallies {
    /// Netlink events read.
    pub events: Tally,
    /// Netlink events that could not be understood.
    pub malformed: Tally,
    /// Times the kernel had more events than the socket could hold (`ENOBUFS`).
    pub overruns: Tally,
    /// Times everything was looked at anew.
    pub resyncs: Tally,
    /// Times the map was brought to what the kernel has.
    pub syncs: Tally,
    /// Of these, how many failed.
    pub errors: Tally,
}

/// A counter shared between threads.
#[derive(Debug, Default)]
pub struct Tally(AtomicU64);

impl Tally {
    /// Counts one.
    pub fn count(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts many.
    pub fn add(&self, number: u64) {
        self.0.fetch_add(number, Ordering::Relaxed);
    }

    /// How many there were.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}
