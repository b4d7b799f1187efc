//! What the kernel tells of its own accord: devices, addresses and namespace ids that change, in
//! this namespace and in every one that it has numbered.
//!
//! An event says which object changed, and no more is taken from it: whoever hears it asks for the
//! object as it is now. So events may be merged, doubled or late without harm, and only a lost one
//! matters, which the kernel owns up to (`ENOBUFS`).

mod message;
mod socket;

use std::{collections::BTreeSet, os::fd::OwnedFd};

use anyhow::{Context, Result};
use tokio::io::unix::AsyncFd;

/// Largest message the kernel sends here (`NLMSG_GOODSIZE` and, with many attributes, more).
const LARGEST_MESSAGE: usize = 64 << 10;

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
    /// Devices that went to another namespace, and what they are there; `None` where they went from
    /// another namespace to a third, which may have no number here.
    pub moved: Vec<(DeviceKey, Option<DeviceKey>)>,
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

/// A socket that hears them.
pub struct EventSocket {
    socket: AsyncFd<OwnedFd>,
    buffer: Vec<u8>,
}

impl EventSocket {
    /// Listens in the namespace of the calling thread. Must be called inside a tokio runtime.
    ///
    /// # Errors
    ///
    /// When the socket cannot be made, or may not hear of other namespaces.
    pub fn open() -> Result<Self> {
        let socket = socket::open().context("cannot listen to netlink events")?;
        // SAFETY: the socket is owned by the `AsyncFd`, nobody else has its descriptor.
        let socket = unsafe { AsyncFd::register(socket)? };
        Ok(Self { socket, buffer: vec![0; LARGEST_MESSAGE] })
    }

    /// Waits until something changed, and gives all that is there to read.
    ///
    /// # Errors
    ///
    /// When the socket is broken.
    pub async fn next(&mut self) -> Result<Events> {
        let mut events = Events::default();
        loop {
            let mut ready = self.socket.readable().await?;
            let buffer = &mut self.buffer;
            let read = ready.try_io(|socket| socket::drain(socket.get_ref(), buffer, &mut events));
            match read {
                Ok(outcome) => {
                    outcome.context("cannot read netlink events")?;
                    return Ok(events);
                }
                // Nothing was there after all.
                Err(_would_block) => {}
            }
        }
    }
}
