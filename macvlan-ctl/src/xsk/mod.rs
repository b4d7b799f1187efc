//! Bound AF_XDP sockets for programs without privileges: `xsk serve` makes them and hands them over.
//!
//! [`serve`] puts a program on the device that gives frames to sockets ([`Redirect`]), and listens on a Unix socket
//! (`listener`, `seqpacket`). Who may ask is told by the user id that the kernel names; what they ask is a message of
//! text (`request`), which `conversation` answers; `handover` is what comes with a socket. The kernel keeps account:
//! a queue has one socket, as long as somebody holds that.

mod conversation;
mod handover;
mod listener;
mod port;
mod request;
mod seqpacket;

use std::{io, path::PathBuf, sync::Arc, time::Duration};

use anyhow::{Result, anyhow, bail};
use macvlan_core::kernel::{errno::errno, ifname::IfName, netlink::Netlink, xsk::redirect::Redirect};
use tokio::{sync::Semaphore, time};

use crate::xsk::{conversation::converse, listener::Listener, port::Port};

pub use crate::xsk::port::{Given, Tell};

/// Connections at a time.
const MOST_CLIENTS: usize = 64;

/// How often to look whether the device is still there.
const LOOK: Duration = Duration::from_secs(1);

/// What is offered, and to whom.
#[derive(Debug, Clone)]
pub struct Offer {
    /// The device, in the namespace of the calling thread.
    pub device: IfName,
    /// Where to listen.
    pub socket: PathBuf,
    /// Users who are served beside root.
    pub users: Vec<u32>,
    /// Frames of each socket, a power of two.
    pub frames: u32,
}

/// An offer that clients can take.
pub struct Server {
    port: Arc<Port>,
    listener: Listener,
    users: Vec<u32>,
}

impl Server {
    /// Puts the program on the device, and listens. `tell` hears what is given to whom.
    ///
    /// # Errors
    ///
    /// There is no such device, it cannot have the program, or the path is taken.
    pub async fn start(offer: Offer, tell: Tell) -> Result<Self> {
        let name = offer.device.as_str();
        let netlink = Netlink::open()?;
        let Some(link) = netlink.link_by_name(name).await? else { bail!("no device {name:?}; see: ip link") };
        let redirect = Redirect::attach(link.index).map_err(|error| refused(name, &error))?;
        let listener = Listener::bind(&offer.socket)?;
        let (device, frames) = (offer.device, offer.frames);
        let port = Arc::new(Port { netlink, device, index: link.index, redirect, frames, tell });
        Ok(Self { port, listener, users: offer.users })
    }

    /// Whether the program is in the driver, not behind it.
    pub fn is_native(&self) -> bool {
        self.port.redirect.is_native
    }

    /// Serves clients for as long as the device is there.
    ///
    /// # Errors
    ///
    /// The device is gone.
    pub async fn serve(&self) -> Result<()> {
        tokio::select! {
            ended = self.accept() => ended,
            () = self.port_gone() => bail!("device {:?} is gone", self.port.device.as_str()),
        }
    }

    async fn accept(&self) -> Result<()> {
        let seats = Arc::new(Semaphore::new(MOST_CLIENTS));
        loop {
            let client = self.listener.accept().await?;
            let is_known = client.user == 0 || self.users.contains(&client.user);
            // Strangers are hung up on, and whoever finds no seat.
            if is_known && let Ok(seat) = Arc::clone(&seats).try_acquire_owned() {
                let port = Arc::clone(&self.port);
                tokio::spawn(async move {
                    converse(&client, &port).await;
                    drop(seat);
                });
            }
        }
    }

    async fn port_gone(&self) {
        while !matches!(self.port.link().await, Ok(None)) {
            time::sleep(LOOK).await;
        }
    }
}

fn refused(name: &str, error: &io::Error) -> anyhow::Error {
    let reason = match error.raw_os_error() {
        Some(libc::EBUSY) => "another XDP program is on it; see: ip link".to_owned(),
        // A veth, whose frames have to fit into a page.
        Some(libc::ERANGE) => "its frames are too large for XDP; set a smaller MTU at both ends".to_owned(),
        _ => errno(error),
    };
    anyhow!("cannot put a program on {name:?}: {reason}")
}
