//! Frames with a time of departure, as `SO_TXTIME` lets a sender with CAP_NET_ADMIN name one.

use std::{
    io,
    os::fd::{AsFd as _, AsRawFd as _},
    time::Duration,
};

use crate::sniff::Injector;

/// `struct sock_txtime` of `include/uapi/linux/net_tstamp.h`.
#[repr(C)]
struct SockTxtime {
    clock: libc::clockid_t,
    flags: u32,
}

/// One control message with its only content, laid out as `CMSG_DATA` expects on 64-bit machines.
#[repr(C)]
struct Departure {
    header: libc::cmsghdr,
    nanoseconds: u64,
}

/// A sender of frames that are to leave at a time it names.
#[derive(Debug)]
pub struct Departures {
    injector: Injector,
}

impl Departures {
    /// Makes a sender name times of the wall clock.
    ///
    /// # Panics
    ///
    /// The kernel has no `SO_TXTIME` (before 4.19).
    #[track_caller]
    pub fn new(injector: Injector) -> Self {
        let setting = SockTxtime { clock: libc::CLOCK_REALTIME, flags: 0 };
        let len = size_of_val(&setting) as u32;
        // SAFETY: the pointer is to a live `sock_txtime` of that length.
        let done = unsafe {
            libc::setsockopt(
                injector.as_fd().as_raw_fd(),
                libc::SOL_SOCKET,
                libc::SO_TXTIME,
                (&raw const setting).cast(),
                len,
            )
        };
        assert!(done == 0, "cannot set SO_TXTIME: {}", io::Error::last_os_error());
        Self { injector }
    }

    /// Sends a frame that is to leave at `time`, counted from 1970.
    ///
    /// # Panics
    ///
    /// The device is gone or down.
    #[track_caller]
    pub fn send_at(&self, frame: &[u8], time: Duration) {
        let mut part = libc::iovec { iov_base: frame.as_ptr().cast_mut().cast(), iov_len: frame.len() };
        // SAFETY: all-zero is a valid `cmsghdr`.
        let mut header: libc::cmsghdr = unsafe { std::mem::zeroed() };
        header.cmsg_len = size_of::<Departure>();
        header.cmsg_level = libc::SOL_SOCKET;
        header.cmsg_type = libc::SCM_TXTIME;
        let mut control = Departure { header, nanoseconds: time.as_nanos() as u64 };
        // SAFETY: all-zero is a valid `msghdr`.
        let mut message: libc::msghdr = unsafe { std::mem::zeroed() };
        message.msg_iov = &raw mut part;
        message.msg_iovlen = 1;
        message.msg_control = (&raw mut control).cast();
        message.msg_controllen = size_of_val(&control);
        // SAFETY: every pointer in `message` is to live memory of the length beside it, which
        // `sendmsg` only reads.
        let sent = unsafe { libc::sendmsg(self.injector.as_fd().as_raw_fd(), &raw const message, 0) };
        assert_eq!(sent, frame.len() as isize, "cannot send a frame: {}", io::Error::last_os_error());
    }
}
