//! What the kernel tells of its own accord: devices, addresses and namespace ids that change, in
//! this namespace and in every one that it has numbered.
//!
//! An event says which object changed, and no more is taken from it: whoever hears it asks for the
//! object as it is now. So events may be merged, doubled or late without harm, and only a lost one
//! matters, which the kernel owns up to (`ENOBUFS`).

use std::{
    collections::BTreeSet,
    io,
    mem::size_of,
    os::fd::{AsRawFd, OwnedFd},
};

use anyhow::{Context, Result};
use nix::sys::socket::{
    AddressFamily, NetlinkAddr, SockFlag, SockProtocol, SockType, bind, setsockopt, socket, sockopt::RcvBuf,
};
use tokio::io::unix::AsyncFd;

/// Receive buffer: some 10,000 events may wait.
const RECEIVE_BUFFER: usize = 8 << 20;

/// Largest message the kernel sends here (`NLMSG_GOODSIZE` and, with many attributes, more).
const LARGEST_MESSAGE: usize = 64 << 10;

/// Messages read before they are handed on, so that a storm cannot hold up everything else.
const MOST_AT_ONCE: usize = 4096;

/// A device: the id of its namespace (`None`: the socket's own) and its index there.
pub type DeviceKey = (Option<i32>, u32);

/// Everything that changed since the last time.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Events {
    /// Messages read.
    pub count: u64,
    /// Devices that came, changed or went.
    pub devices: BTreeSet<DeviceKey>,
    /// Of these, the ones that went.
    pub deleted: BTreeSet<DeviceKey>,
    /// How often each device of the socket's own namespace was announced: the kernel announces a
    /// master whenever a child joins or leaves it (`NETDEV_CHANGEUPPER`).
    pub announced: Vec<u32>,
    /// Devices that went to another namespace, and what they are there; `None` where they went from
    /// another namespace to a third, which may have no number here.
    pub moved: Vec<(DeviceKey, Option<DeviceKey>)>,
    /// Devices whose addresses changed.
    pub addresses: BTreeSet<DeviceKey>,
    /// Ids of namespaces that were numbered.
    pub numbered: BTreeSet<i32>,
    /// Ids of namespaces that are gone.
    pub gone: BTreeSet<i32>,
    /// Messages that made no sense.
    pub malformed: u64,
    /// Some events were lost: everything may have changed.
    pub overrun: bool,
}

/// A socket that hears them.
pub struct EventSocket {
    socket: AsyncFd<OwnedFd>,
    buffer: Vec<u8>,
}

impl EventSocket {
    /// Listens in the namespace of the calling thread. Must be called inside a tokio runtime.
    ///
    /// # Errors
    ///
    /// When the socket cannot be made, or may not hear of other namespaces.
    pub fn open() -> Result<Self> {
        let socket = open_socket().context("cannot listen to netlink events")?;
        // SAFETY: the socket is owned by the `AsyncFd`, nobody else has its descriptor.
        let socket = unsafe { AsyncFd::register(socket)? };
        Ok(Self { socket, buffer: vec![0; LARGEST_MESSAGE] })
    }

    /// Waits until something changed, and gives all that is there to read.
    ///
    /// # Errors
    ///
    /// When the socket is broken.
    pub async fn next(&mut self) -> Result<Events> {
        let mut events = Events::default();
        loop {
            let mut ready = self.socket.readable().await?;
            let buffer = &mut self.buffer;
            let read = ready.try_io(|socket| drain(socket.get_ref(), buffer, &mut events));
            match read {
                Ok(outcome) => {
                    outcome.context("cannot read netlink events")?;
                    return Ok(events);
                }
                // Nothing was there after all.
                Err(_would_block) => {}
            }
        }
    }
}

fn open_socket() -> io::Result<OwnedFd> {
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
fn drain(socket: &OwnedFd, buffer: &mut [u8], events: &mut Events) -> io::Result<()> {
    for _ in 0..MOST_AT_ONCE {
        match receive(socket, buffer) {
            Ok((len, nsid)) => events.add(buffer.get(..len).unwrap_or_default(), nsid),
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
    header.msg_controllen = control.0.len();
    // SAFETY: `header` points to buffers that live until the end of this function, with their lengths.
    let len = unsafe { libc::recvmsg(socket.as_raw_fd(), &raw mut header, 0) };
    let len = usize::try_from(len).map_err(|_| io::Error::last_os_error())?;
    if header.msg_flags & libc::MSG_TRUNC != 0 {
        return Err(io::Error::from_raw_os_error(libc::ENOBUFS));
    }
    let control = control.0.get(..header.msg_controllen).unwrap_or_default();
    Ok((len, nsid_of_control(control)))
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

/// Octets of the header of a netlink message (`struct nlmsghdr`).
const MESSAGE_HEADER: usize = 16;

/// Octets of `struct ifinfomsg`, before its attributes.
const LINK_HEADER: usize = 16;

impl Events {
    /// Takes later events in.
    pub fn merge(&mut self, later: Self) {
        self.count += later.count;
        self.malformed += later.malformed;
        self.overrun |= later.overrun;
        self.devices.extend(later.devices);
        self.deleted.extend(later.deleted);
        self.announced.extend(later.announced);
        self.moved.extend(later.moved);
        self.addresses.extend(later.addresses);
        self.numbered.extend(later.numbered);
        self.gone.extend(later.gone);
    }

    /// Adds the messages of one datagram.
    fn add(&mut self, mut datagram: &[u8], nsid: Option<i32>) {
        while !datagram.is_empty() {
            self.count += 1;
            let len = u32_at(datagram, 0).map_or(0, |len| len as usize);
            let (Some(kind), Some(body)) = (u16_at(datagram, 4), datagram.get(MESSAGE_HEADER..len)) else {
                self.malformed += 1;
                return;
            };
            if self.add_message(kind, body, nsid).is_none() {
                self.malformed += 1;
            }
            datagram = datagram.get(len.next_multiple_of(4)..).unwrap_or_default();
        }
    }

    fn add_message(&mut self, kind: u16, body: &[u8], nsid: Option<i32>) -> Option<()> {
        match kind {
            libc::RTM_NEWLINK | libc::RTM_DELLINK => {
                // A bridge tells of its ports under its own family: no device came or went.
                if *body.first()? != libc::AF_UNSPEC as u8 {
                    return Some(());
                }
                let key = (nsid, u32_at(body, 4)?);
                if nsid.is_none() && kind == libc::RTM_NEWLINK {
                    self.announced.push(key.1);
                }
                if kind == libc::RTM_DELLINK {
                    self.deleted.insert(key);
                }
                if kind == libc::RTM_DELLINK
                    && let Some(destination) = destination(body.get(LINK_HEADER..)?)
                {
                    // Numbered as the namespace numbers that it left: ours, or one we cannot ask.
                    self.moved.push((key, nsid.is_none().then_some(destination)));
                }
                self.devices.insert(key);
            }
            libc::RTM_NEWADDR | libc::RTM_DELADDR => {
                self.addresses.insert((nsid, u32_at(body, 4)?));
            }
            // What other namespaces number is theirs.
            libc::RTM_NEWNSID | libc::RTM_DELNSID if nsid.is_none() => {
                const NETNSA_NSID: u16 = 1;
                const GENERIC_HEADER: usize = 4;
                let id = attribute(body.get(GENERIC_HEADER..)?, NETNSA_NSID);
                let id = id.and_then(|value| i32_at(value, 0)).filter(|id| *id >= 0)?;
                if kind == libc::RTM_NEWNSID {
                    self.numbered.insert(id);
                } else {
                    self.gone.insert(id);
                }
            }
            _ => {}
        }
        Some(())
    }
}

/// Where a device went that left its namespace alive (`dev_change_net_namespace`), as that namespace
/// numbers.
fn destination(attributes: &[u8]) -> Option<DeviceKey> {
    const IFLA_NEW_NETNSID: u16 = 45;
    const IFLA_NEW_IFINDEX: u16 = 49;
    let nsid = attribute(attributes, IFLA_NEW_NETNSID).and_then(|value| i32_at(value, 0))?;
    let index = attribute(attributes, IFLA_NEW_IFINDEX).and_then(|value| u32_at(value, 0))?;
    (nsid >= 0).then_some((Some(nsid), index))
}

/// The value of the first attribute of this kind.
fn attribute(mut attributes: &[u8], wanted: u16) -> Option<&[u8]> {
    const HEADER: usize = 4;
    const KIND: u16 = 0x3fff;
    loop {
        let len = usize::from(u16_at(attributes, 0)?);
        let kind = u16_at(attributes, 2)? & KIND;
        let value = attributes.get(HEADER..len)?;
        if kind == wanted {
            return Some(value);
        }
        attributes = attributes.get(len.next_multiple_of(4)..)?;
    }
}

fn u16_at(octets: &[u8], at: usize) -> Option<u16> {
    octets.get(at..at + 2)?.try_into().ok().map(u16::from_ne_bytes)
}

fn u32_at(octets: &[u8], at: usize) -> Option<u32> {
    octets.get(at..at + 4)?.try_into().ok().map(u32::from_ne_bytes)
}

fn i32_at(octets: &[u8], at: usize) -> Option<i32> {
    u32_at(octets, at).map(u32::cast_signed)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn attribute_of(kind: u16, value: u32) -> Vec<u8> {
        [&8_u16.to_ne_bytes()[..], &kind.to_ne_bytes(), &value.to_ne_bytes()].concat()
    }

    fn message(kind: u16, body: &[u8]) -> Vec<u8> {
        let len = (MESSAGE_HEADER + body.len()) as u32;
        [&len.to_ne_bytes()[..], &kind.to_ne_bytes(), &[0; 10], body].concat()
    }

    fn link(family: u8, index: u32, attributes: &[u8]) -> Vec<u8> {
        [&[family, 0, 0, 0][..], &index.to_ne_bytes(), &[0; 8], attributes].concat()
    }

    #[test]
    fn devices_are_told_by_namespace_and_index() {
        let mut events = Events::default();
        let both =
            [message(libc::RTM_NEWLINK, &link(0, 7, &[])), message(libc::RTM_DELLINK, &link(0, 8, &[]))];
        events.add(&both.concat(), None);
        events.add(&message(libc::RTM_NEWLINK, &link(0, 7, &[])), Some(3));
        assert_eq!(events.devices, BTreeSet::from([(None, 7), (None, 8), (Some(3), 7)]));
        assert_eq!(events.deleted, BTreeSet::from([(None, 8)]));
        assert_eq!(events.announced, [7]);
        assert_eq!((events.count, events.malformed), (3, 0));
    }

    #[test]
    fn a_bridges_word_of_its_port_is_no_change_of_the_device() {
        let mut events = Events::default();
        events.add(&message(libc::RTM_DELLINK, &link(libc::AF_BRIDGE as u8, 7, &[])), None);
        assert!(events.devices.is_empty());
    }

    #[test]
    fn a_device_that_moves_says_where_to() {
        let attributes = [attribute_of(45, 9), attribute_of(49, 2)].concat();
        let mut events = Events::default();
        events.add(&message(libc::RTM_DELLINK, &link(0, 7, &attributes)), None);
        events.add(&message(libc::RTM_DELLINK, &link(0, 7, &attributes)), Some(3));
        assert_eq!(events.moved, [((None, 7), Some((Some(9), 2))), ((Some(3), 7), None)]);
    }

    #[test]
    fn namespaces_come_and_go_by_their_ids() {
        let body = |id| [&[0; 4][..], &attribute_of(1, id)].concat();
        let mut events = Events::default();
        events.add(&message(libc::RTM_NEWNSID, &body(4)), None);
        events.add(&message(libc::RTM_DELNSID, &body(5)), None);
        events.add(&message(libc::RTM_DELNSID, &body(6)), Some(1));
        assert_eq!((events.numbered, events.gone), (BTreeSet::from([4]), BTreeSet::from([5])));
    }

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
        assert_eq!(nsid_of_control(&[]), None);
    }

    #[test]
    fn a_cut_message_is_counted_as_malformed() {
        let whole = message(libc::RTM_NEWLINK, &link(0, 7, &[]));
        let mut events = Events::default();
        events.add(&whole[..20], None);
        assert_eq!((events.malformed, events.devices.len()), (1, 0));
    }

    proptest! {
        #[test]
        fn any_datagram_is_read_to_its_end(datagram: Vec<u8>, control: Vec<u8>, nsid: Option<i32>) {
            Events::default().add(&datagram, nsid);
            let _ = nsid_of_control(&control);
        }
    }
}
