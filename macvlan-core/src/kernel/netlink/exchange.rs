//! One socket to the kernel, and what is said over it: requests in a datagram, then their answers.
//!
//! The kernel does what a request asks while it is sent (`netlink_rcv_skb` in `net/netlink/af_netlink.c`), and
//! goes on with a dump while its parts are read (`netlink_recvmsg`). So an answer is there once the request is
//! sent, or never: nothing is waited for, and many requests cost one system call.

use std::{collections::VecDeque, fmt, io, os::fd::AsRawFd as _};

use anyhow::{Context as _, Result, bail};
use netlink_packet_core::{NetlinkHeader, NetlinkPayload};
use netlink_sys::{Socket, SocketAddr, protocols::NETLINK_ROUTE};
use nix::sys::socket::{MsgFlags, recv};

use crate::kernel::netlink::codec::{Message, messages};

/// Bytes of the largest datagram: more than a dump's (`SKB_WITH_OVERHEAD(32768)` in `netlink_recvmsg`), and than
/// a device's, unless it has hundreds of virtual functions (`min_dump_alloc`).
const LARGEST_DATAGRAM: usize = 64 << 10;

/// Who answers: the kernel, or a test in its place.
pub trait Peer: fmt::Debug + Send {
    /// Sends a datagram.
    ///
    /// # Errors
    ///
    /// The datagram is too large, or memory is short.
    fn send(&mut self, datagram: &[u8]) -> io::Result<()>;

    /// Reads a datagram, and gives its length, which is more than the buffer's where the end is lost.
    ///
    /// # Errors
    ///
    /// [`io::ErrorKind::WouldBlock`]: nothing is there. `ENOBUFS`: something was lost.
    fn receive(&mut self, buffer: &mut [u8]) -> io::Result<usize>;
}

/// The kernel, as a namespace's devices and addresses go.
#[derive(Debug)]
pub struct Kernel(Socket);

impl Kernel {
    /// A socket in the namespace of the calling thread. With `strict`, its dumps heed every filter of the
    /// request: addresses of another namespace are given to no other (`inet_valid_dump_ifaddr_req`).
    ///
    /// # Errors
    ///
    /// No socket is left, or this kernel cannot be strict.
    pub fn open(strict: bool) -> io::Result<Self> {
        let mut socket = Socket::new(NETLINK_ROUTE)?;
        socket.bind_auto()?;
        // Nobody but the kernel may send to a socket that is connected to it (`netlink_getsockbyportid`): a
        // container may be root in the namespace of this one.
        socket.connect(&SocketAddr::new(0, 0))?;
        socket.set_non_blocking(true)?;
        // Both only make errors clearer: a kernel without them is as good.
        let _ = socket.set_cap_ack(true);
        let _ = socket.set_ext_ack(true);
        if strict {
            socket.set_netlink_get_strict_chk(true)?;
        }
        Ok(Self(socket))
    }
}

impl Peer for Kernel {
    fn send(&mut self, datagram: &[u8]) -> io::Result<()> {
        self.0.send(datagram, 0).map(drop)
    }

    fn receive(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        Ok(recv(self.0.as_raw_fd(), buffer, MsgFlags::MSG_TRUNC)?)
    }
}

/// Requests and answers, one after the other.
#[derive(Debug)]
pub struct Exchange {
    peer: Box<dyn Peer>,
    buffer: Vec<u8>,
    /// Read, and not taken yet.
    read: VecDeque<Message>,
    /// The number of the next request.
    next: u32,
    /// The requests that are answered now: the number of the first, and how many.
    asked: (u32, u32),
    /// Their answers were not taken to the end.
    unfinished: bool,
}

impl Exchange {
    /// Talks to this peer.
    pub fn with(peer: impl Peer + 'static) -> Self {
        Self {
            peer: Box::new(peer),
            buffer: vec![0; LARGEST_DATAGRAM],
            read: VecDeque::new(),
            next: 1,
            asked: (1, 0),
            unfinished: false,
        }
    }

    /// Sends requests in one datagram, after throwing away what is left of earlier answers: a dump that is not
    /// read to its end is in the way of the next (`__netlink_dump_start`).
    ///
    /// # Errors
    ///
    /// They are too large together, or memory is short.
    pub fn ask(&mut self, requests: Vec<Message>) -> Result<()> {
        self.read.clear();
        while self.unfinished && self.receive()?.is_some() {}
        self.asked = (self.next, requests.len() as u32);
        self.next = self.next.wrapping_add(self.asked.1);
        let mut datagram = Vec::new();
        for (number, mut request) in requests.into_iter().enumerate() {
            request.header.sequence_number = self.asked.0.wrapping_add(number as u32);
            request.finalize();
            let start = datagram.len();
            datagram.resize(start + request.buffer_len().next_multiple_of(4), 0);
            request.serialize(&mut datagram[start..]);
        }
        self.unfinished = true;
        self.peer.send(&datagram).context("cannot ask the kernel")
    }

    /// The next message of the answers, and to which of the requests it belongs: the first is 0.
    ///
    /// # Errors
    ///
    /// The kernel gives no answer, or some of it was lost.
    pub fn answer(&mut self) -> Result<(usize, Message)> {
        loop {
            while let Some(message) = self.read.pop_front() {
                let number = message.header.sequence_number.wrapping_sub(self.asked.0);
                if number < self.asked.1 {
                    return Ok((number as usize, message));
                }
            }
            let Some(len) = self.receive()? else { bail!("the kernel gives no answer") };
            let len = len.min(self.buffer.len());
            self.read.extend(messages(&mut self.buffer[..len]));
        }
    }

    /// The answers were taken to their end.
    pub fn finish(&mut self) {
        self.unfinished = false;
    }

    /// Reads a datagram, if one is there, and gives its length.
    fn receive(&mut self) -> Result<Option<usize>> {
        loop {
            match self.peer.receive(&mut self.buffer) {
                Ok(len) => return Ok(Some(len)),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(None),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.raw_os_error() == Some(libc::ENOBUFS) => {
                    self.read.push_back(lost(self.asked.0));
                    return Ok(Some(0));
                }
                Err(error) => return Err(error).context("cannot read the kernel's answer"),
            }
        }
    }
}

/// What stands for an answer that was lost.
fn lost(number: u32) -> Message {
    let mut header = NetlinkHeader::default();
    header.sequence_number = number;
    Message::new(header, NetlinkPayload::Overrun(Vec::new()))
}
