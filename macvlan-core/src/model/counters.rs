//! What a data path has counted.

use std::collections::BTreeMap;

use macvlan_common::{
    counters::{ChildCounters, MasterCounters},
    mac::Mac,
};

use crate::kernel::netlink::{events::changed::DeviceKey, link::Totals};

/// Counters of a master, summed over all CPUs. What a data path cannot know is absent.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Counters {
    /// The master's own.
    pub master: Option<MasterCounters>,
    /// Its children's, by MAC.
    pub children: BTreeMap<Mac, ChildCounters>,
    /// What the kernel's own driver counted of each child, by its device.
    pub totals: BTreeMap<DeviceKey, Totals>,
}
