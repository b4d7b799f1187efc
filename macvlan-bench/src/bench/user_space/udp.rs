//! A UDP socket: the base, as any program has it.

use std::{
    io, mem,
    net::UdpSocket,
    os::fd::{AsFd as _, AsRawFd as _, BorrowedFd},
};

use anyhow::{Context as _, Result};

use crate::{
    bench::user_space::{
        program::{BATCH, Program, ROOM, failure},
        station::Station,
    },
    lab::frames::PORT,
};

/// Bytes of each payload: frames are as short as the others'.
const PAYLOAD: usize = 18;

struct Socket {
    socket: UdpSocket,
    buffers: Vec<[u8; ROOM]>,
    peers: Vec<libc::sockaddr_in>,
    wire: libc::sockaddr_in,
}

/// Receives on [`PORT`] and sends to that of the wire.
pub fn open(station: &Station) -> Result<Box<dyn Program>> {
    let socket = station.run(|| UdpSocket::bind(("0.0.0.0", PORT)).context("cannot take datagrams"))?;
    socket.set_nonblocking(true).context("cannot read without waiting")?;
    // SAFETY: all zeros are an address of no family.
    let mut wire: libc::sockaddr_in = unsafe { mem::zeroed() };
    wire.sin_family = libc::AF_INET as u16;
    wire.sin_port = PORT.to_be();
    wire.sin_addr.s_addr = u32::from_ne_bytes(station.wire.address.octets());
    Ok(Box::new(Socket { socket, buffers: vec![[0; ROOM]; BATCH], peers: vec![wire; BATCH], wire }))
}

impl Socket {
    /// Gives a call one message for each buffer: how many it took.
    fn call(
        &mut self,
        len: usize,
        call: impl FnOnce(i32, &mut [libc::mmsghdr]) -> i32,
    ) -> io::Result<Vec<usize>> {
        let mut parts: Vec<libc::iovec> = self
            .buffers
            .iter_mut()
            .map(|buffer| libc::iovec { iov_base: buffer.as_mut_ptr().cast(), iov_len: len })
            .collect();
        let peers = self.peers.iter_mut();
        let mut messages: Vec<libc::mmsghdr> = parts
            .iter_mut()
            .zip(peers)
            .map(|(part, peer)| {
                // SAFETY: all zeros are an empty message.
                let mut message: libc::mmsghdr = unsafe { mem::zeroed() };
                message.msg_hdr.msg_name = (&raw mut *peer).cast();
                message.msg_hdr.msg_namelen = size_of::<libc::sockaddr_in>() as libc::socklen_t;
                message.msg_hdr.msg_iov = part;
                message.msg_hdr.msg_iovlen = 1;
                message
            })
            .collect();
        let count = call(self.socket.as_raw_fd(), &mut messages);
        match usize::try_from(count) {
            Ok(count) => Ok(messages[..count].iter().map(|message| message.msg_len as usize).collect()),
            Err(_) => failure().map_or_else(|| Ok(Vec::new()), Err),
        }
    }
}

impl Program for Socket {
    fn take(&mut self, answers: bool) -> io::Result<usize> {
        let lens = self.call(ROOM, |socket, messages| {
            let (start, count) = (messages.as_mut_ptr(), messages.len() as u32);
            // SAFETY: the messages and what they name are live, and as long as they say.
            unsafe { libc::recvmmsg(socket, start, count, libc::MSG_DONTWAIT as _, std::ptr::null_mut()) }
        })?;
        if answers {
            for ((buffer, peer), len) in self.buffers.iter().zip(&self.peers).zip(&lens) {
                let (peer, peer_len) = (std::ptr::from_ref(peer).cast(), size_of::<libc::sockaddr_in>());
                let payload = buffer[..*len].as_ptr().cast();
                // SAFETY: payload and address are live, and as long as said.
                unsafe { libc::sendto(self.socket.as_raw_fd(), payload, *len, 0, peer, peer_len as u32) };
            }
        }
        Ok(lens.len())
    }

    fn send(&mut self) -> io::Result<()> {
        self.peers.fill(self.wire);
        let sent = self.call(PAYLOAD, |socket, messages| {
            let (start, count) = (messages.as_mut_ptr(), messages.len() as u32);
            // SAFETY: as above.
            unsafe { libc::sendmmsg(socket, start, count, 0) }
        });
        sent.map(drop)
    }

    fn descriptor(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}
