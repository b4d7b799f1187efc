//! Sending frames as they are.

use std::{
    io,
    os::fd::{AsFd, AsRawFd as _, BorrowedFd, OwnedFd},
};

use crate::{
    netns::Netns,
    sniff::socket::{packet_socket, set_option},
};

/// A socket that sends frames as they are.
#[derive(Debug)]
pub struct Injector {
    fd: OwnedFd,
}

impl Injector {
    /// Sends out of `device`.
    pub fn new(ns: &Netns, device: &str) -> Self {
        Self { fd: packet_socket(ns, device, 0) }
    }

    /// Marks what it sends, as a container with CAP_NET_ADMIN may.
    pub fn with_mark(self, mark: u32) -> Self {
        self.set_mark(mark);
        self
    }

    /// Marks what it sends from now on.
    pub fn set_mark(&self, mark: u32) {
        set_option(&self.fd, libc::SOL_SOCKET, libc::SO_MARK, mark as libc::c_int);
    }

    /// Gives what it sends a priority.
    pub fn with_priority(self, priority: u32) -> Self {
        set_option(&self.fd, libc::SOL_SOCKET, libc::SO_PRIORITY, priority as libc::c_int);
        self
    }

    /// Hands frames to the driver past the device's queueing discipline and TC egress, as any
    /// container with CAP_NET_RAW may (packet(7), `PACKET_QDISC_BYPASS`).
    pub fn past_tc(self) -> Self {
        set_option(&self.fd, libc::SOL_PACKET, libc::PACKET_QDISC_BYPASS, 1);
        self
    }

    /// Sends one UDP datagram in IPv4, which the kernel is to cut to frames with so many bytes behind the headers
    /// (packet(7), `PACKET_VNET_HDR`; `VIRTIO_NET_HDR_GSO_UDP`). The checksum is left to it.
    #[track_caller]
    pub fn send_cut(&self, datagram: &[u8], size: u16) {
        const HEADERS: u16 = 14 + 20 + 8;
        const NEEDS_CHECKSUM: u8 = 1;
        const GSO_UDP: u8 = 3;
        set_option(&self.fd, libc::SOL_PACKET, libc::PACKET_VNET_HDR, 1);
        let mut header = vec![NEEDS_CHECKSUM, GSO_UDP];
        for word in [HEADERS, size, 14 + 20, 6] {
            header.extend(word.to_ne_bytes());
        }
        self.send(&[&header, datagram].concat());
        set_option(&self.fd, libc::SOL_PACKET, libc::PACKET_VNET_HDR, 0);
    }

    /// Sends one frame. That a program dropped it on its way out is no error here: the kernel tells
    /// the sender so (`ENOBUFS`), and tests count what arrives.
    #[track_caller]
    pub fn send(&self, frame: &[u8]) {
        // SAFETY: the pointer and the length are those of a live slice.
        let sent = unsafe { libc::send(self.fd.as_raw_fd(), frame.as_ptr().cast(), frame.len(), 0) };
        let error = io::Error::last_os_error();
        let dropped = sent < 0 && error.raw_os_error() == Some(libc::ENOBUFS);
        let whole = sent == frame.len() as isize;
        assert!(whole || dropped, "cannot send a frame of {} bytes: {error}", frame.len());
    }

    /// Sends the same frame several times.
    #[track_caller]
    pub fn send_times(&self, frame: &[u8], times: usize) {
        for _ in 0..times {
            self.send(frame);
        }
    }
}

impl AsFd for Injector {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}
