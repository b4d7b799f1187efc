//! Route netlink: one request at a time, kernel reasons kept, interrupted dumps repeated.

pub mod address;
pub mod clsact;
pub mod events;
pub mod fdb;
pub mod link;
pub mod macvlan;
pub mod nsid;
pub mod sockets;

use std::{
    fmt, io,
    os::fd::{FromRawFd, IntoRawFd},
    time::Duration,
};

use anyhow::{Context, Result};
use futures_util::StreamExt as _;
use netlink_packet_core::{
    ErrorMessage, NLM_F_ACK, NLM_F_DUMP, NLM_F_DUMP_INTR, NLM_F_REQUEST, NetlinkMessage, NetlinkPayload,
};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_sys::{Socket, TokioSocket, protocols::NETLINK_ROUTE};

use crate::{
    crash,
    netns::{Netns, errno},
};

/// How often an interrupted dump is begun anew, and how long to wait before: it doubles each time.
const DUMP_TRIES: u32 = 12;
const DUMP_PAUSE: Duration = Duration::from_micros(250);

/// A route netlink socket in one network namespace.
#[derive(Debug, Clone)]
pub struct Netlink {
    handle: rtnetlink::Handle,
}

/// What the kernel answered to a refused request.
#[derive(Debug)]
pub struct KernelError {
    /// The error number.
    pub errno: nix::errno::Errno,
    /// What the kernel says of it (extended acknowledgement), where it does.
    pub message: Option<String>,
}

impl fmt::Display for KernelError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let error = io::Error::from_raw_os_error(self.errno as i32);
        match &self.message {
            Some(message) => write!(f, "{} ({message})", errno(&error)),
            None => f.write_str(&errno(&error)),
        }
    }
}

impl std::error::Error for KernelError {}

impl Netlink {
    /// A socket in the namespace of the calling thread. Must be called inside a tokio runtime.
    ///
    /// # Errors
    ///
    /// When the socket cannot be made.
    pub fn open() -> Result<Self> {
        Self::from_socket(new_socket().context("cannot open a netlink socket")?)
    }

    /// A socket in the namespace of the calling thread whose dumps heed every filter of the request:
    /// addresses of another namespace are given to no other (`inet_valid_dump_ifaddr_req`).
    ///
    /// # Errors
    ///
    /// When the socket cannot be made.
    pub fn open_strict() -> Result<Self> {
        let strict = || -> io::Result<Socket> {
            let socket = new_socket()?;
            socket.set_netlink_get_strict_chk(true)?;
            Ok(socket)
        };
        Self::from_socket(strict().context("cannot open a netlink socket")?)
    }

    /// A socket in another namespace. Must be called inside a tokio runtime.
    ///
    /// # Errors
    ///
    /// When the namespace cannot be entered.
    pub fn open_in(netns: &Netns) -> Result<Self> {
        let socket = netns.run(|| new_socket().context("cannot open a netlink socket"))?;
        Self::from_socket(socket)
    }

    fn from_socket(socket: Socket) -> Result<Self> {
        // SAFETY: the descriptor was just given up by its only owner.
        let socket = unsafe { TokioSocket::from_raw_fd(socket.into_raw_fd()) };
        let (connection, handle, _) = rtnetlink::from_socket(socket);
        tokio::spawn(connection);
        Ok(Self { handle })
    }

    /// Sends a request that changes something, and waits until the kernel has done it.
    ///
    /// # Errors
    ///
    /// [`KernelError`] when the kernel refuses.
    pub async fn change(&self, message: RouteNetlinkMessage, flags: u16) -> Result<()> {
        let mut request = NetlinkMessage::from(message);
        request.header.flags = NLM_F_REQUEST | NLM_F_ACK | flags;
        let mut answers = self.handle.clone().request(request)?;
        while let Some(answer) = answers.next().await {
            if let NetlinkPayload::Error(error) = answer.payload {
                crash::point("a netlink request");
                return check(&error);
            }
        }
        Ok(())
    }

    /// Asks for one object.
    ///
    /// # Errors
    ///
    /// [`KernelError`] when the kernel refuses.
    pub async fn get(&self, message: RouteNetlinkMessage) -> Result<Option<RouteNetlinkMessage>> {
        let mut request = NetlinkMessage::from(message);
        request.header.flags = NLM_F_REQUEST;
        let mut answers = self.handle.clone().request(request)?;
        match answers.next().await.map(|answer| answer.payload) {
            Some(NetlinkPayload::InnerMessage(message)) => Ok(Some(message)),
            Some(NetlinkPayload::Error(error)) => check(&error).map(|()| None),
            _ => Ok(None),
        }
    }

    /// Asks for every object of a kind.
    ///
    /// The kernel marks an answer during which the objects changed (`NLM_F_DUMP_INTR`): such a
    /// dump may miss or repeat objects, so it is begun anew.
    ///
    /// # Errors
    ///
    /// [`KernelError`] when the kernel refuses, or when every try was interrupted.
    pub async fn dump(&self, message: RouteNetlinkMessage) -> Result<Vec<RouteNetlinkMessage>> {
        for attempt in 0..DUMP_TRIES {
            if attempt > 0 {
                tokio::time::sleep(DUMP_PAUSE * (1 << attempt)).await;
            }
            let mut request = NetlinkMessage::from(message.clone());
            request.header.flags = NLM_F_REQUEST | NLM_F_DUMP;
            let mut answers = self.handle.clone().request(request)?;
            let mut objects = Vec::new();
            let mut interrupted = false;
            while let Some(answer) = answers.next().await {
                interrupted |= answer.header.flags & NLM_F_DUMP_INTR != 0;
                match answer.payload {
                    NetlinkPayload::InnerMessage(object) => objects.push(object),
                    NetlinkPayload::Error(error) => check(&error)?,
                    _ => {}
                }
            }
            if !interrupted {
                return Ok(objects);
            }
        }
        anyhow::bail!("the kernel's tables kept changing while they were read: try again")
    }
}

fn new_socket() -> io::Result<Socket> {
    let socket = Socket::new(NETLINK_ROUTE)?;
    // Both only make errors clearer: a kernel without them is as good.
    let _ = socket.set_cap_ack(true);
    let _ = socket.set_ext_ack(true);
    Ok(socket)
}

fn check(error: &ErrorMessage) -> Result<()> {
    match error.raw_code() {
        0 => Ok(()),
        code => Err(KernelError {
            errno: nix::errno::Errno::from_raw(code.saturating_abs()),
            message: extended_ack(&error.header),
        }
        .into()),
    }
}

/// The text of an extended acknowledgement: attributes behind the header of the refused request
/// (`NLMSGERR_ATTR_MSG`, `include/uapi/linux/netlink.h`).
fn extended_ack(payload: &[u8]) -> Option<String> {
    const REQUEST_HEADER: usize = 16;
    const NLMSGERR_ATTR_MSG: u16 = 1;
    let mut attributes = payload.get(REQUEST_HEADER..)?;
    while let Some((head, rest)) = attributes.split_at_checked(4) {
        let len = usize::from(u16::from_ne_bytes([head[0], head[1]])).checked_sub(4)?;
        let value = rest.get(..len)?;
        if u16::from_ne_bytes([head[2], head[3]]) == NLMSGERR_ATTR_MSG {
            let text = value.split(|octet| *octet == 0).next()?;
            return Some(String::from_utf8_lossy(text).into_owned());
        }
        attributes = rest.get(len.next_multiple_of(4)..)?;
    }
    None
}

/// The errno in `error`'s chain, where the kernel gave one.
pub fn kernel_errno(error: &anyhow::Error) -> Option<nix::errno::Errno> {
    error.downcast_ref::<KernelError>().map(|error| error.errno)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_kernels_own_words_are_found() {
        let mut payload = vec![0; 16];
        payload.extend([8, 0, 2, 0, 1, 2, 3, 4]); // another attribute first
        payload.extend([11, 0, 1, 0]);
        payload.extend(b"no way\0\0");
        assert_eq!(extended_ack(&payload).as_deref(), Some("no way"));
    }

    proptest! {
        #[test]
        fn any_acknowledgement_is_read_without_a_panic(payload: Vec<u8>) {
            let _ = extended_ack(&payload);
        }
    }
}
