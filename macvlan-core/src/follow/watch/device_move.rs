//! A device on its way from one namespace to another.

use std::time::Duration;

use tokio::time::Instant;

use crate::kernel::netlink::events::changed::DeviceKey;

/// A device that left for another namespace.
#[derive(Debug, Clone, Copy)]
pub struct DeviceMove {
    pub from: DeviceKey,
    /// Where to, if that is known by our numbers.
    pub to: Option<DeviceKey>,
    /// Where to, by the numbers of the namespace that it left.
    pub there: Option<DeviceKey>,
    /// How long it may take.
    pub until: Instant,
    /// It was looked for.
    pub searched: bool,
}

impl DeviceMove {
    /// One that begins now.
    pub fn new(from: DeviceKey, to: Option<DeviceKey>, patience: Duration) -> Self {
        Self { from, to, there: None, until: Instant::now() + patience, searched: to.is_some() }
    }
}
