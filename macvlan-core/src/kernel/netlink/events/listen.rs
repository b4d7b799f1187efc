//! Hearing what changes.

use std::os::fd::OwnedFd;

use anyhow::{Context as _, Result};
use tokio::io::unix::AsyncFd;

use crate::kernel::netlink::events::{changed::Events, socket};

/// Largest message the kernel sends here (`NLMSG_GOODSIZE` and, with many attributes, more).
const LARGEST_MESSAGE: usize = 64 << 10;

/// A socket that hears them.
pub struct EventSocket {
    socket: AsyncFd<OwnedFd>,
    buffer: Vec<u8>,
    own: Option<i32>,
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
        Ok(Self { socket, buffer: vec![0; LARGEST_MESSAGE], own: None })
    }

    /// Takes notice of the id that the socket's own namespace has for itself: some kernels tell that of its events.
    pub fn know_own(&mut self, nsid: Option<i32>) {
        self.own = nsid;
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
            let (own, buffer) = (self.own, &mut self.buffer);
            let read = ready.try_io(|socket| socket::drain(socket.get_ref(), own, buffer, &mut events));
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
