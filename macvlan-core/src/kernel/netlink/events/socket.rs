//! The socket: from which namespaces and groups it hears, and how it is read.

use std::{
    io,
    mem::size_of,
    os::fd::{AsRawFd, OwnedFd},
};

use nix::sys::socket::{
    AddressFamily, NetlinkAddr, SockFlag, SockProtocol, SockType, bind, setsockopt, socket, sockopt::RcvBuf,
};

use crate::kernel::netlink::events::{bytes::i32_at, changed::Events};

/// Receive buffer: some 10,000 events may wait.
const RECEIVE_BUFFER: usize = 8 << 20;

/// Messages read before they are handed on, so that a storm cannot hold up everything else.
const MOST_AT_ONCE: usize = 4096;

/// A socket that hears of devices, addresses and namespaces, of every numbered namespace.
pub(crate) fn open() -> io::Result<OwnedFd> {
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let socket = socket(AddressFamily::Netlink, SockType::Raw, flags, SockProtocol::NetlinkRoute)?;
    // Root may have more than net.core.rmem_max; whoever may not has what that allows.
    if setsockopt(&socket, nix::sys::socket::sockopt::RcvBufForce, &RECEIVE_BUFFER).is_err() {
        let _ = setsockopt(&socket, RcvBuf, &RECEIVE_BUFFER);
    }
    set_option(&socket, libc::NETLINK_LISTEN_ALL_NSID, 1)?;
    bind(socket.as_raw_fd(), &NetlinkAddr::new(0, 0))?;
    for group in
        [libc::RTNLGRP_LINK, libc::RTNLGRP_IPV4_IFADDR, libc::RTNLGRP_IPV6_IFADDR, libc::RTNLGRP_NSID]
    {
        set_option(&socket, libc::NETLINK_ADD_MEMBERSHIP, group.cast_signed())?;
    }
    Ok(socket)
}

fn set_option(socket: &OwnedFd, option: libc::c_int, value: libc::c_int) -> io::Result<()> {
    // SAFETY: the kernel reads one `c_int`, which outlives the call.
    let status = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::SOL_NETLINK,
            option,
            (&raw const value).cast(),
            size_of::<libc::c_int>() as libc::socklen_t,
        )
    };
    if status == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Reads until nothing is left, or enough is there to begin with.
pub(crate) fn drain(
    socket: &OwnedFd,
    own: Option<i32>,
    buffer: &mut [u8],
    events: &mut Events,
) -> io::Result<()> {
    for _ in 0..MOST_AT_ONCE {
        match receive(socket, buffer) {
            Ok((len, nsid)) => {
                // Linux 5.10 tells the socket's own namespace by its id, too, once it has one; 6.1 does not.
                let nsid = nsid.filter(|nsid| Some(*nsid) != own);
                events.add(buffer.get(..len).unwrap_or_default(), nsid);
            }
            Err(error) => match error.raw_os_error() {
                Some(libc::ENOBUFS) => events.overrun = true,
                Some(libc::EINTR) => {}
                // Only an empty socket that gave nothing is waited for again.
                Some(libc::EAGAIN) if events.count > 0 || events.overrun => return Ok(()),
                _ => return Err(error),
            },
        }
    }
    Ok(())
}

/// One datagram, and the id of the namespace that it came from (`None`: the socket's own).
fn receive(socket: &OwnedFd, buffer: &mut [u8]) -> io::Result<(usize, Option<i32>)> {
    #[repr(C, align(8))]
    struct Control([u8; 64]);

    let mut control = Control([0; 64]);
    let mut data = libc::iovec { iov_base: buffer.as_mut_ptr().cast(), iov_len: buffer.len() };
    // SAFETY: all zeroes is a valid `msghdr`: null pointers with no lengths.
    let mut header: libc::msghdr = unsafe { std::mem::zeroed() };
    header.msg_iov = &raw mut data;
    header.msg_iovlen = 1;
    header.msg_control = control.0.as_mut_ptr().cast();
    // Its type is the C library's: glibc's and musl's differ.
    header.msg_controllen = size_of::<Control>() as _;
    // SAFETY: `header` points to buffers that live until the end of this function, with their lengths.
    let len = unsafe { libc::recvmsg(socket.as_raw_fd(), &raw mut header, 0) };
    let len = usize::try_from(len).map_err(|_| io::Error::last_os_error())?;
    if header.msg_flags & libc::MSG_TRUNC != 0 {
        return Err(io::Error::from_raw_os_error(libc::ENOBUFS));
    }
    // Behind what the kernel wrote are zeroes, which are no message that is looked for.
    Ok((len, nsid_of_control(&control.0)))
}

/// The namespace id in a control message (`netlink_cmsg_listen_all_nsid` in `net/netlink/af_netlink.c`).
fn nsid_of_control(mut control: &[u8]) -> Option<i32> {
    const HEADER: usize = size_of::<libc::cmsghdr>();
    while let Some(head) = control.get(..HEADER) {
        let len = usize::from_ne_bytes(head.get(..8)?.try_into().ok()?);
        let level = i32_at(head, 8)?;
        let kind = i32_at(head, 12)?;
        if (level, kind) == (libc::SOL_NETLINK, libc::NETLINK_LISTEN_ALL_NSID) {
            return i32_at(control, HEADER).filter(|nsid| *nsid >= 0);
        }
        control = control.get(len.max(HEADER).next_multiple_of(8)..)?;
    }
    None
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_namespace_is_in_the_control_message() {
        let message = |level: i32, kind: i32, value: i32| {
            let head = [20_usize.to_ne_bytes().to_vec(), level.to_ne_bytes().to_vec()].concat();
            [head, kind.to_ne_bytes().to_vec(), value.to_ne_bytes().to_vec(), vec![0; 4]].concat()
        };
        let other = message(libc::SOL_SOCKET, 1, 5);
        let ours = message(libc::SOL_NETLINK, libc::NETLINK_LISTEN_ALL_NSID, 7);
        assert_eq!(nsid_of_control(&[other.clone(), ours].concat()), Some(7));
        assert_eq!(nsid_of_control(&other), None);
        assert_eq!(nsid_of_control(&[other.clone(), vec![0; 44]].concat()), None);
        assert_eq!(nsid_of_control(&[]), None);
    }

    proptest! {
        #[test]
        fn any_control_message_is_read_to_its_end(control: Vec<u8>) {
            let _ = nsid_of_control(&control);
        }
    }
}
