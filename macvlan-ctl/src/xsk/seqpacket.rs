//! One client: whole messages, each read into a buffer of its own bounds, and descriptors on the way out alone.

use std::{
    io::{self, IoSlice},
    os::fd::{AsRawFd, BorrowedFd, OwnedFd},
};

use nix::sys::socket::{ControlMessage, MsgFlags, getsockopt, recv, sendmsg, sockopt::PeerCredentials};
use tokio::io::{Interest, unix::AsyncFd};

use crate::xsk::request::LONGEST;

/// A connection, and who made it.
pub struct Client {
    socket: AsyncFd<OwnedFd>,
    /// Its user, as the kernel names it here.
    pub user: u32,
    /// Its process.
    pub process: i32,
}

impl Client {
    /// A connection that does not block.
    pub fn new(socket: OwnedFd) -> io::Result<Self> {
        let who = getsockopt(&socket, PeerCredentials)?;
        // SAFETY: the socket is owned by the `AsyncFd`, nobody else has its descriptor.
        let socket = unsafe { AsyncFd::register_with_interest(socket, Interest::READABLE)? };
        Ok(Self { socket, user: who.uid(), process: who.pid() })
    }

    /// The next message; `None` once the client is gone, or sends what is too long. Descriptors that come with it
    /// are closed by the kernel: there is no room for them.
    pub async fn receive<'a>(&self, buffer: &'a mut [u8; LONGEST]) -> Option<&'a [u8]> {
        let received = self.socket.async_io(Interest::READABLE, |socket| {
            Ok(recv(socket.as_raw_fd(), buffer, MsgFlags::MSG_TRUNC)?)
        });
        let len = received.await.ok()?;
        buffer.get(..len).filter(|message| !message.is_empty())
    }

    /// Sends an answer. A client that leaves so many unread that no more fit is not waited for.
    pub fn send(&self, answer: &[u8], descriptors: &[BorrowedFd<'_>]) -> io::Result<()> {
        let descriptors: Vec<_> = descriptors.iter().map(AsRawFd::as_raw_fd).collect();
        let rights = [ControlMessage::ScmRights(&descriptors)];
        let control = if descriptors.is_empty() { &[][..] } else { &rights[..] };
        let flags = MsgFlags::MSG_NOSIGNAL | MsgFlags::MSG_DONTWAIT;
        sendmsg::<()>(self.socket.as_raw_fd(), &[IoSlice::new(answer)], control, flags, None)?;
        Ok(())
    }
}
