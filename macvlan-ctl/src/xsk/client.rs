//! One client: whole messages, each read into a buffer with an end, and descriptors on the way out alone.

use std::{
    io::IoSlice,
    os::fd::{AsRawFd, BorrowedFd, OwnedFd},
    time::Duration,
};

use nix::{
    errno::Errno,
    sys::{
        socket::{
            ControlMessage, MsgFlags, getsockopt, recv, sendmsg, setsockopt,
            sockopt::{PeerCredentials, ReceiveTimeout},
        },
        time::TimeVal,
    },
};

use crate::xsk::request::LONGEST;

/// A connection, and who made it.
pub struct Client {
    socket: OwnedFd,
    /// Its user, as the kernel names it here.
    pub user: u32,
}

impl Client {
    /// A new connection.
    pub fn new(socket: OwnedFd) -> Result<Self, Errno> {
        let user = getsockopt(&socket, PeerCredentials)?.uid();
        Ok(Self { socket, user })
    }

    /// Waits for each message no longer than this; zero is for ever.
    pub fn wait(&self, patience: Duration) -> Result<(), Errno> {
        let seconds = TimeVal::new(patience.as_secs().cast_signed(), 0);
        setsockopt(&self.socket, ReceiveTimeout, &seconds)
    }

    /// The next message; `None` once the client is gone, waits too long or sends what is too long. Descriptors that come
    /// with it are closed by the kernel: there is no room for them.
    pub fn receive<'a>(&self, buffer: &'a mut [u8; LONGEST]) -> Option<&'a [u8]> {
        let len = recv(self.socket.as_raw_fd(), buffer, MsgFlags::MSG_TRUNC).ok()?;
        buffer.get(..len).filter(|message| !message.is_empty())
    }

    /// Sends an answer. A client that leaves so many unread that no more fit is not waited for.
    pub fn send(&self, answer: &[u8], descriptors: &[BorrowedFd<'_>]) -> Result<(), Errno> {
        let descriptors: Vec<_> = descriptors.iter().map(AsRawFd::as_raw_fd).collect();
        let rights = [ControlMessage::ScmRights(&descriptors)];
        let control = if descriptors.is_empty() { &[][..] } else { &rights[..] };
        let flags = MsgFlags::MSG_NOSIGNAL | MsgFlags::MSG_DONTWAIT;
        sendmsg::<()>(self.socket.as_raw_fd(), &[IoSlice::new(answer)], control, flags, None).map(drop)
    }
}
