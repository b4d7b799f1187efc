//! What changed, as the kernel told it.

use std::collections::BTreeSet;

/// A device: the id of its namespace (`None`: the socket's own) and its index there.
pub type DeviceKey = (Option<i32>, u32);

/// Everything that changed since the last time.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Events {
    /// Messages read.
    pub count: u64,
    /// Devices that came, changed or went.
    pub devices: BTreeSet<DeviceKey>,
    /// Of these, the ones that went.
    pub deleted: BTreeSet<DeviceKey>,
    /// How often each device of the socket's own namespace was announced: the kernel announces a
    /// master whenever a child joins or leaves it (`NETDEV_CHANGEUPPER`).
    pub announced: Vec<u32>,
    /// Devices that went to another namespace, and what they are there. That is numbered as the namespace numbers it
    /// that they left, which for a third one is not as here.
    pub moved: Vec<(DeviceKey, DeviceKey)>,
    /// Devices whose addresses changed.
    pub addresses: BTreeSet<DeviceKey>,
    /// Ids of namespaces that were numbered.
    pub numbered: BTreeSet<i32>,
    /// Ids of namespaces that are gone.
    pub gone: BTreeSet<i32>,
    /// Messages that made no sense.
    pub malformed: u64,
    /// Some events were lost: everything may have changed.
    pub overrun: bool,
}

impl Events {
    /// Takes later events in.
    pub fn merge(&mut self, later: Self) {
        self.count += later.count;
        self.malformed += later.malformed;
        self.overrun |= later.overrun;
        self.devices.extend(later.devices);
        self.deleted.extend(later.deleted);
        self.announced.extend(later.announced);
        self.moved.extend(later.moved);
        self.addresses.extend(later.addresses);
        self.numbered.extend(later.numbered);
        self.gone.extend(later.gone);
    }
}
