//! Bound AF_XDP sockets for programs without privileges: `xsk serve` makes them and hands them over.
//!
//! [`Server`] puts a program on the device that gives frames to sockets ([`Redirect`]), and listens on a Unix socket
//! (`listener`, `client`). Who may ask is told by the user id that the kernel names; what they ask is a message of
//! text (`request`), which `conversation` answers, on a thread for each client; `handover` is what comes with a
//! socket. The kernel keeps account: a queue has one socket, as long as somebody holds that.

mod client;
mod conversation;
mod handover;
mod listener;
mod port;
mod request;

use std::{
    io,
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
    thread,
    time::Duration,
};

use anyhow::{Context as _, Result, anyhow, bail};
use macvlan_core::kernel::{errno::errno, ifname::IfName, netlink::Netlink, xsk::redirect::Redirect};

use crate::xsk::{
    conversation::converse,
    listener::{Listener, Place},
    port::Port,
};

/// Clients at a time.
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
    place: Place,
    users: Vec<u32>,
}

impl Server {
    /// Puts the program on the device, and listens.
    ///
    /// # Errors
    ///
    /// There is no such device, it cannot have the program, or the path is taken.
    pub async fn start(offer: Offer) -> Result<Self> {
        let name = offer.device.as_str();
        let link = Netlink::open()?.link_by_name(name).await?;
        let Some(link) = link else { bail!("no device {name:?}; see: ip link") };
        let redirect = Redirect::attach(link.index).map_err(|error| refused(name, &error))?;
        let (listener, place) = Listener::bind(&offer.socket)?;
        let (device, frames) = (offer.device, offer.frames);
        let (index, link, binding) = (link.index, Mutex::new(link), Mutex::default());
        let port = Port { device, index, link, redirect, frames, binding };
        Ok(Self { port: Arc::new(port), listener, place, users: offer.users })
    }

    /// Whether the program is in the driver, not behind it.
    pub fn is_native(&self) -> bool {
        self.port.redirect.is_native
    }

    /// Serves clients, on threads with the rights of the calling one, for as long as the device is there.
    ///
    /// # Errors
    ///
    /// No thread can be started, or the device is gone.
    pub async fn serve(self) -> Result<()> {
        let Self { port, listener, place: _place, users } = self;
        let (netlink, served) = (Netlink::open()?, Arc::clone(&port));
        start(Box::new(move || accept(&served, &listener, &users))).context("cannot start a thread")?;
        while let Some(link) = netlink.link_by_index(port.index, None).await? {
            *port.link.lock().unwrap_or_else(PoisonError::into_inner) = link;
            tokio::time::sleep(LOOK).await;
        }
        bail!("device {:?} is gone", port.device.as_str());
    }
}

fn accept(port: &Arc<Port>, listener: &Listener, users: &[u32]) {
    loop {
        let Ok(client) = listener.accept() else {
            // It is gone again, or this process has as many open files as it may.
            thread::sleep(LOOK);
            continue;
        };
        // The server has the port, and so has this thread.
        let has_seat = Arc::strong_count(port) < MOST_CLIENTS + 2;
        // Strangers are hung up on, and whoever finds no seat.
        if has_seat && (client.user == 0 || users.contains(&client.user)) {
            let port = Arc::clone(port);
            // Where no thread can be started, the client is hung up on.
            let _ = start(Box::new(move || converse(&client, &port)));
        }
    }
}

/// Starts a thread that nobody waits for.
fn start(work: Box<dyn FnOnce() + Send>) -> io::Result<()> {
    thread::Builder::new().spawn(work).map(drop)
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
