//! The device whose sockets are handed over.

use std::{
    io,
    os::fd::AsFd as _,
    sync::{Mutex, PoisonError},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Result, anyhow};
use macvlan_core::kernel::{
    errno::errno,
    ifname::IfName,
    netlink::link::Link,
    xsk::{redirect::Redirect, socket::BoundSocket},
};

/// How long a queue may take to be free: the kernel lets go of a closed socket a little later
/// (`xp_release_deferred` in net/xdp/xsk_buff_pool.c).
const PATIENCE: Duration = Duration::from_millis(500);

/// Between two looks whether it is.
const AGAIN: Duration = Duration::from_millis(20);

/// The device, and the program on it.
pub struct Port {
    /// Its name.
    pub device: IfName,
    /// Its index.
    pub index: u32,
    /// The device as it was a moment ago.
    pub link: Mutex<Link>,
    /// The program and its map.
    pub redirect: Redirect,
    /// Frames of each socket.
    pub frames: u32,
    /// Held while a socket is bound: clients that ask for what is taken cost no more than one does.
    pub binding: Mutex<()>,
}

impl Port {
    /// A new socket that gets the frames of this queue.
    ///
    /// # Errors
    ///
    /// There is no such queue, or somebody has it.
    pub fn open(&self, queue: u32) -> Result<BoundSocket> {
        let name = self.device.as_str();
        self.bind(queue).map_err(|error| match error.raw_os_error() {
            Some(libc::EBUSY) => {
                anyhow!("queue {queue} of {name} has a socket: end the program that holds it")
            }
            Some(libc::EINVAL | libc::E2BIG) => anyhow!("{name} has no queue {queue}"),
            _ => anyhow!("cannot bind to queue {queue} of {name}: {}", errno(&error)),
        })
    }

    fn bind(&self, queue: u32) -> io::Result<BoundSocket> {
        let _alone = self.binding.lock().unwrap_or_else(PoisonError::into_inner);
        let deadline = Instant::now() + PATIENCE;
        loop {
            match BoundSocket::bind(self.index, queue, self.frames) {
                Err(error) if error.raw_os_error() == Some(libc::EBUSY) && Instant::now() < deadline => {
                    thread::sleep(AGAIN);
                }
                bound => {
                    let bound = bound?;
                    self.redirect.give(queue, bound.socket.as_fd())?;
                    return Ok(bound);
                }
            }
        }
    }
}
