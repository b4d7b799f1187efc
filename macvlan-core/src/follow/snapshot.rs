//! What a follower knows of its masters at one moment, for those who only look: the exporter.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
    sync::atomic::{AtomicU64, Ordering},
};

use macvlan_common::mac::Mac;

use crate::{kernel::netlink::link::Totals, model::status::MasterStatus};

/// Every master that is followed.
#[derive(Debug, Clone, Default)]
pub struct Snapshot {
    /// Those that are attached to, in the order they were given.
    pub masters: Vec<MasterSnapshot>,
    /// Those that are waited for, by the names they were given.
    pub waiting: Vec<Waiting>,
}

impl Snapshot {
    /// The masters that are not there, not up, or not attached to, each with the reason.
    pub fn not_ready(&self) -> impl Iterator<Item = (&str, &str)> {
        let down = self.masters.iter().filter(|master| !master.is_up);
        let down = down.map(|master| (master.status.ifname.as_str(), "it is down"));
        down.chain(self.waiting.iter().map(|waiting| (&*waiting.name, &*waiting.why)))
    }
}

/// A master that is waited for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Waiting {
    /// Its name.
    pub name: String,
    /// Why it is not attached to.
    pub why: String,
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
    /// Whether the device is administratively up.
    pub is_up: bool,
    /// How often another one has come to claim an address of a child.
    pub contests: u64,
    /// Children that the data path should know and does not.
    pub unadopted: usize,
    /// Children of which nobody has asked yet which container they are in.
    pub unnamed: BTreeSet<Mac>,
}

impl MasterSnapshot {
    /// A master that is up and has adopted its children, by what `status` says and where its maps are pinned.
    pub fn new(status: MasterStatus, pins: Option<PathBuf>) -> Self {
        let (totals, unnamed) = (BTreeMap::new(), BTreeSet::new());
        Self { status, pins, totals, is_up: true, contests: 0, unadopted: 0, unnamed }
    }
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
