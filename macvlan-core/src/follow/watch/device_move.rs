//! A device on its way from one namespace to another.

use std::time::Duration;

use tokio::time::Instant;

use crate::kernel::netlink::events::changed::DeviceKey;

/// A device that left for another namespace.
#[derive(Debug, Clone, Copy)]
pub struct DeviceMove {
    pub from: DeviceKey,
    /// Where to, if somebody said so.
    pub to: Option<DeviceKey>,
    /// How long it may take.
    pub until: Instant,
    /// It was looked for.
    pub searched: bool,
}

impl DeviceMove {
    /// One that begins now.
    pub fn new(from: DeviceKey, to: Option<DeviceKey>, patience: Duration) -> Self {
        Self { from, to, until: Instant::now() + patience, searched: to.is_some() }
    }
}
