//! The packet socket itself, and its options.

use std::{
    io,
    os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd},
};

use crate::netns::Netns;

/// `include/uapi/asm-generic/socket.h`; not in every version of the libc crate.
pub const SO_RCVMARK: libc::c_int = 75;

/// As above.
pub const SO_RCVPRIORITY: libc::c_int = 82;

/// A socket that is bound to a device, for frames with this EtherType; 0 for none.
pub fn packet_socket(ns: &Netns, device: &str, protocol: u16) -> OwnedFd {
    let index = ns.ifindex(device);
    ns.enter(|| {
        // Protocol 0: sees nothing until it is bound.
        // SAFETY: takes and gives back integers.
        let fd = unsafe { libc::socket(libc::AF_PACKET, libc::SOCK_RAW | libc::SOCK_CLOEXEC, 0) };
        assert!(fd >= 0, "cannot open a packet socket: {}", io::Error::last_os_error());
        // SAFETY: a descriptor just opened, which nobody else has.
        let fd = unsafe { OwnedFd::from_raw_fd(fd) };
        // SAFETY: all-zero is a valid `sockaddr_ll`.
        let mut address: libc::sockaddr_ll = unsafe { std::mem::zeroed() };
        address.sll_family = libc::AF_PACKET as u16;
        address.sll_protocol = protocol.to_be();
        address.sll_ifindex = index as i32;
        let len = size_of_val(&address) as u32;
        // SAFETY: the pointer is to a live `sockaddr_ll` of that length.
        let bound = unsafe { libc::bind(fd.as_raw_fd(), (&raw const address).cast(), len) };
        assert!(bound == 0, "cannot bind to {device}: {}", io::Error::last_os_error());
        fd
    })
}

/// Sets an option.
pub fn set_option(fd: &OwnedFd, level: libc::c_int, option: libc::c_int, value: libc::c_int) {
    let done = try_option(fd, level, option, value);
    done.unwrap_or_else(|error| panic!("cannot set socket option {level}/{option}: {error}"));
}

/// Sets an option that not every kernel has.
pub fn try_option(
    fd: &OwnedFd,
    level: libc::c_int,
    option: libc::c_int,
    value: libc::c_int,
) -> io::Result<()> {
    let len = size_of_val(&value) as u32;
    // SAFETY: the pointer is to a live integer of that length.
    let done = unsafe { libc::setsockopt(fd.as_raw_fd(), level, option, (&raw const value).cast(), len) };
    if done == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Frames that found the socket's buffer full since the last call.
pub fn lost(fd: &OwnedFd) -> u32 {
    let mut stats = libc::tpacket_stats { tp_packets: 0, tp_drops: 0 };
    let mut len = size_of_val(&stats) as u32;
    // SAFETY: the pointers are to a live structure and to its length.
    let done = unsafe {
        libc::getsockopt(
            fd.as_raw_fd(),
            libc::SOL_PACKET,
            libc::PACKET_STATISTICS,
            (&raw mut stats).cast(),
            &raw mut len,
        )
    };
    assert!(done == 0, "cannot read packet statistics: {}", io::Error::last_os_error());
    stats.tp_drops
}
