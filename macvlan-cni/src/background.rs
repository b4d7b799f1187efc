//! What the kernel takes long to finish, left to a process that nobody waits for.
//!
//! The deletion of a device is answered only after a grace period of RCU (`netdev_run_todo` with its
//! `rcu_barrier`), and the last close of a packet socket waits for one (`packet_release`): ten
//! milliseconds and more, in which nothing is left to be done. A thread would not help, as a process
//! has not ended before all of its threads have.

use std::{
    io,
    os::fd::{AsFd as _, AsRawFd as _, OwnedFd, RawFd},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};
use macvlan_core::kernel::netns::Netns;
use netlink_packet_core::{NLM_F_ACK, NLM_F_REQUEST, NetlinkBuffer, NetlinkMessage, NetlinkPayload};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage, link::LinkMessage};
use netlink_sys::{Socket, protocols::NETLINK_ROUTE};
use nix::{
    errno::Errno,
    poll::{PollFd, PollFlags, PollTimeout, poll},
    unistd::{ForkResult, fork},
};

/// How long the kernel may take until a device is gone: it waits for the lock that all changes of
/// devices take.
const PATIENCE: Duration = Duration::from_secs(20);

/// How often to look whether it is, should an event have been lost.
const LOOK: Duration = Duration::from_millis(50);

/// The multicast group of events of devices (`RTNLGRP_LINK`).
const LINK_EVENTS: u32 = 1;

/// Deletes a device and waits until it is gone: its name and its MAC are free and its master is rid
/// of it. The kernel still waits for last users of its memory then. One that is gone already is as
/// good.
///
/// # Errors
///
/// The device's namespace cannot be entered, or the device cannot be deleted.
pub fn delete_link(netns: &Netns, index: u32) -> Result<()> {
    let socket = netns.visit(|| listener().context("cannot open a netlink socket"))?;
    let request = request(RouteNetlinkMessage::DelLink(named(index)));
    leave(socket.as_raw_fd(), &request, None).context("cannot send a netlink request")?;
    let deadline = Instant::now() + PATIENCE;
    while Instant::now() < deadline {
        let timeout = PollTimeout::try_from(LOOK).unwrap_or(PollTimeout::MAX);
        if poll(&mut [PollFd::new(socket.as_fd(), PollFlags::POLLIN)], timeout)? == 0 {
            // An event may have been lost: the answer to the same request again tells.
            socket.send(&request, 0).context("cannot send a netlink request")?;
        }
        let (answers, _) = match socket.recv_from_full() {
            Ok(received) => received,
            Err(error) if error.raw_os_error() == Some(libc::ENOBUFS) => continue,
            Err(error) => return Err(error).context("cannot read from a netlink socket"),
        };
        if is_gone(&answers, index)? {
            return Ok(());
        }
    }
    bail!("the kernel does not come to delete device {index}")
}

/// Closes a socket without waiting for its last users.
pub fn close(socket: OwnedFd) {
    let Ok((reader, writer)) = nix::unistd::pipe() else { return };
    // Where there can be no other process, it is closed here and waited for.
    if leave(socket.as_raw_fd(), &[], Some(reader.as_raw_fd())).is_ok() {
        drop(socket);
        // Only now the other closes it: as the last.
        drop(writer);
    }
}

/// Sends a message from another process, which then waits until `until` is closed and ends. That
/// process has nothing else of this one's open: nobody who waits for our output, our locks or our
/// pipes waits for it.
fn leave(socket: RawFd, message: &[u8], until: Option<RawFd>) -> io::Result<()> {
    // SAFETY: the child makes system calls alone and allocates nothing, so it does not matter what
    // other threads were at.
    match unsafe { fork() }? {
        ForkResult::Parent { .. } => Ok(()),
        ForkResult::Child => send_and_end(socket, message, until),
    }
}

fn send_and_end(socket: RawFd, message: &[u8], until: Option<RawFd>) -> ! {
    const KEPT: [RawFd; 2] = [0, 1];
    // In this order, and above what is kept: the numbers may overlap.
    // SAFETY: takes and gives back integers.
    let socket = unsafe { libc::fcntl(socket, libc::F_DUPFD, 3) };
    let until = until.map(|until| {
        // SAFETY: as before.
        unsafe { libc::fcntl(until, libc::F_DUPFD, 3) }
    });
    for (from, to) in [(Some(socket), KEPT[0]), (until, KEPT[1])] {
        match from {
            // SAFETY: as before.
            Some(from) => unsafe { libc::dup2(from, to) },
            // SAFETY: as before.
            None => unsafe { libc::close(to) },
        };
    }
    // SAFETY: as before; the process owns all of its descriptors. A system call, as libraries have
    // it only of late.
    unsafe { libc::syscall(libc::SYS_close_range, 2, u32::MAX, 0) };
    if !message.is_empty() {
        // SAFETY: the pointer and the length are those of a live slice.
        unsafe { libc::send(KEPT[0], message.as_ptr().cast(), message.len(), 0) };
    }
    if until.is_some() {
        let mut byte = 0_u8;
        // SAFETY: the pointer is to one live byte.
        unsafe { libc::read(KEPT[1], (&raw mut byte).cast(), 1) };
    }
    // SAFETY: ends the process without running anything of ours.
    unsafe { libc::_exit(0) }
}

/// A blocking socket in the calling thread's namespace that hears of devices.
fn listener() -> io::Result<Socket> {
    let mut socket = Socket::new(NETLINK_ROUTE)?;
    socket.bind_auto()?;
    socket.add_membership(LINK_EVENTS)?;
    // It only makes errors clearer.
    let _ = socket.set_ext_ack(true);
    Ok(socket)
}

fn named(index: u32) -> LinkMessage {
    let mut message = LinkMessage::default();
    message.header.index = index;
    message
}

/// The bytes of a request.
fn request(message: RouteNetlinkMessage) -> Vec<u8> {
    let mut request = NetlinkMessage::from(message);
    request.header.flags = NLM_F_REQUEST | NLM_F_ACK;
    request.header.sequence_number = 1;
    request.finalize();
    let mut bytes = vec![0; request.buffer_len()];
    request.serialize(&mut bytes);
    bytes
}

/// Whether a datagram of the kernel says that a device is gone.
fn is_gone(mut datagram: &[u8], index: u32) -> Result<bool> {
    while let Ok(buffer) = NetlinkBuffer::new_checked(datagram) {
        let len = usize::try_from(buffer.length())?;
        let message = NetlinkMessage::<RouteNetlinkMessage>::deserialize(datagram);
        match message.map(|message| message.payload) {
            Ok(NetlinkPayload::InnerMessage(RouteNetlinkMessage::DelLink(link)))
                if link.header.index == index && link.header.interface_family == AddressFamily::Unspec =>
            {
                return Ok(true);
            }
            Ok(NetlinkPayload::Error(error)) => match Errno::from_raw(error.raw_code().saturating_abs()) {
                Errno::UnknownErrno | Errno::ENODEV => return Ok(true),
                errno => return Err(io::Error::from(errno)).context("cannot delete the device"),
            },
            _ => {}
        }
        datagram = datagram.get(len.max(1).next_multiple_of(4)..).unwrap_or_default();
    }
    Ok(false)
}

#[cfg(test)]
mod tests {
    use std::{
        io::{Read as _, Write as _},
        os::unix::net::UnixStream,
    };

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn another_process_sends_and_leaves_our_pipes_alone() {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        let (mut reader, writer) = io::pipe().unwrap();
        leave(ours.as_raw_fd(), b"gone", None).unwrap();
        drop((ours, writer));
        let mut text = String::new();
        theirs.read_to_string(&mut text).unwrap();
        assert_eq!(text, "gone");
        // Else this would never come to an end.
        assert_eq!(reader.read(&mut [0]).unwrap(), 0);
    }

    #[test]
    fn another_process_is_the_last_to_close() {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        close(ours.into());
        assert_eq!(theirs.read(&mut [0]).unwrap(), 0);
        assert!(theirs.write(&[0]).is_err());
    }

    #[test]
    fn a_deleted_device_is_told_from_others_and_from_a_refusal() {
        let mut event = request(RouteNetlinkMessage::DelLink(named(7)));
        assert!(is_gone(&event, 7).unwrap());
        assert!(!is_gone(&event, 8).unwrap());
        event.extend(request(RouteNetlinkMessage::DelLink(named(8))));
        assert!(is_gone(&event, 8).unwrap());
        // struct nlmsghdr, the error, and the header of the request.
        let answer = |errno: i32| {
            let mut answer = vec![36, 0, 0, 0, 2, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0];
            answer.extend(errno.to_ne_bytes());
            answer.extend(&event[..16]);
            answer
        };
        assert!(is_gone(&answer(0), 7).unwrap());
        assert!(is_gone(&answer(-libc::ENODEV), 7).unwrap());
        assert!(is_gone(&answer(-libc::EPERM), 7).is_err());
    }

    proptest! {
        #[test]
        fn any_datagram_is_read_without_a_panic(datagram: Vec<u8>) {
            let _ = is_gone(&datagram, 7);
        }
    }
}
