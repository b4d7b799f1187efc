//! The device whose sockets are handed over.

use std::{io, os::fd::AsFd as _, time::Duration};

use anyhow::{Context as _, Result, anyhow, bail};
use macvlan_common::mac::Mac;
use macvlan_core::kernel::{
    errno::errno,
    ifname::IfName,
    netlink::{Netlink, link::Link},
    xsk::{redirect::Redirect, socket::BoundSocket},
};
use tokio::time::{self, Instant};

/// How long a queue may take to be free: the kernel lets go of a closed socket a little later
/// (`xp_release_deferred` in net/xdp/xsk_buff_pool.c).
const PATIENCE: Duration = Duration::from_secs(1);

/// Between two looks whether it is.
const AGAIN: Duration = Duration::from_millis(10);

/// What a client got.
#[derive(Debug, Clone, Copy)]
pub struct Given {
    /// The queue; `None` is the map of all.
    pub queue: Option<u32>,
    /// The client's process, when it connected.
    pub process: i32,
    /// Its user.
    pub user: u32,
}

/// Hears of what was given.
pub type Tell = Box<dyn Fn(Given) + Send + Sync>;

/// The device, and the program on it.
pub struct Port {
    /// Asks about the device.
    pub netlink: Netlink,
    /// Its name.
    pub device: IfName,
    /// Its index.
    pub index: u32,
    /// The program and its map.
    pub redirect: Redirect,
    /// Frames of each socket.
    pub frames: u32,
    /// Who hears of what was given.
    pub tell: Tell,
}

/// A socket that gets the frames of its queue, and what its user has to know of the device.
pub struct Ready {
    /// The socket.
    pub bound: BoundSocket,
    /// The device's MAC.
    pub mac: Mac,
    /// Its MTU.
    pub mtu: u32,
}

impl Port {
    /// The device as it is now; `None` once it is gone.
    ///
    /// # Errors
    ///
    /// The kernel does not answer.
    pub async fn link(&self) -> Result<Option<Link>> {
        self.netlink.link_by_index(self.index, None).await
    }

    /// A new socket on this queue.
    ///
    /// # Errors
    ///
    /// There is no such queue, somebody has it, or the device is gone.
    pub async fn open(&self, queue: u32) -> Result<Ready> {
        let name = self.device.as_str();
        let Some(link) = self.link().await? else { bail!("device {name} is gone") };
        let mac = link.mac.with_context(|| format!("device {name} has no MAC"))?;
        let bound = self.bind(queue).await?;
        let given = self.redirect.give(queue, bound.socket.as_fd());
        given.map_err(|error| anyhow!("queue {queue} of {name} cannot be given away: {}", errno(&error)))?;
        Ok(Ready { bound, mac, mtu: link.mtu })
    }

    async fn bind(&self, queue: u32) -> Result<BoundSocket> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            match BoundSocket::bind(self.index, queue, self.frames) {
                Err(error) if is(&error, libc::EBUSY) && Instant::now() < deadline => {
                    time::sleep(AGAIN).await;
                }
                bound => return bound.map_err(|error| self.cannot_bind(queue, &error)),
            }
        }
    }

    fn cannot_bind(&self, queue: u32, error: &io::Error) -> anyhow::Error {
        let name = self.device.as_str();
        match error.raw_os_error() {
            Some(libc::EBUSY) => {
                anyhow!("queue {queue} of {name} has a socket: end the program that holds it")
            }
            Some(libc::EINVAL) => anyhow!("{name} has no queue {queue}"),
            _ => anyhow!("cannot bind to queue {queue} of {name}: {}", errno(error)),
        }
    }
}

fn is(error: &io::Error, number: i32) -> bool {
    error.raw_os_error() == Some(number)
}
