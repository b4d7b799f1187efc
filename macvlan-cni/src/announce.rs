//! Asking whether anybody has an address, and telling everybody that a container has it now.
//!
//! IPv4 is asked by ARP probes (RFC 5227, 2.1.1). Where that waits for seconds we wait for
//! [`PROBING`] unless the network says otherwise: a container is not to start seconds late for a rare
//! mistake, and on a wired network an answer takes less than a millisecond. IPv6 is left to the
//! kernel, see [`settings::await_duplicate_detection`](crate::settings::await_duplicate_detection).

use std::{
    io,
    mem::{size_of, zeroed},
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddrV6},
    os::fd::{AsFd as _, AsRawFd as _, FromRawFd as _, OwnedFd},
    time::{Duration, Instant},
};

use anyhow::Context as _;
use macvlan_common::mac::Mac;
use macvlan_core::kernel::{netlink::ipnet::IpNet, netns::Netns};
use nix::{
    poll::{PollFd, PollFlags, PollTimeout, poll},
    sys::socket::{AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, SockaddrIn6, sendto, socket},
};

use crate::{background, error::CniResult, settings::duplicate};

/// How long to wait for answers to all probes, where the network does not say.
pub const PROBING: Duration = Duration::from_millis(2);

/// Probes, evenly over that time: one may be lost.
const PROBES: u32 = 2;

const ETHERTYPE_ARP: u16 = 0x0806;

const ARP_REQUEST: u16 = 1;

const ARP_REPLY: u16 = 2;

const ARP_FRAME: usize = 42;

const BROADCAST: Mac = Mac::new([0xff; 6]);

const NOBODY: Mac = Mac::new([0; 6]);

/// A device inside a container.
#[derive(Debug, Clone, Copy)]
pub struct Device<'a> {
    /// Its namespace.
    pub netns: &'a Netns,
    /// Its index there.
    pub index: u32,
    /// Its MAC.
    pub mac: Mac,
}

/// ARP on a device: a packet socket, which is slow to close and so serves for all.
pub struct Arp<'a> {
    device: Device<'a>,
    socket: Option<OwnedFd>,
}

impl Drop for Arp<'_> {
    fn drop(&mut self) {
        self.socket.take().into_iter().for_each(background::close);
    }
}

impl<'a> Arp<'a> {
    /// ARP for these addresses, if any is of IPv4.
    ///
    /// # Errors
    ///
    /// When there can be no packet socket.
    pub fn open(device: Device<'a>, nets: &[IpNet]) -> CniResult<Self> {
        let open = || packet_socket(device.index).context("cannot open a packet socket");
        let is_needed = ipv4(nets).next().is_some();
        Ok(Self { device, socket: is_needed.then(|| device.netns.visit(open)).transpose()? })
    }

    /// Finds out whether somebody has one of these addresses already.
    ///
    /// # Errors
    ///
    /// Code 101 when somebody has.
    pub fn probe(&self, nets: &[IpNet], patience: Duration) -> CniResult<()> {
        let Some(socket) = &self.socket else { return Ok(()) };
        if patience.is_zero() {
            return Ok(());
        }
        let wanted: Vec<Ipv4Addr> = ipv4(nets).collect();
        for _ in 0..PROBES {
            for address in &wanted {
                let frame = arp(ARP_REQUEST, self.device.mac, Ipv4Addr::UNSPECIFIED, NOBODY, *address);
                send(socket, &frame).context("cannot send an ARP probe")?;
            }
            if let Some((address, mac)) = conflict(socket, self.device.mac, &wanted, patience / PROBES)? {
                return Err(duplicate(address.into(), format_args!("an ARP answer of {mac}")));
            }
        }
        Ok(())
    }

    /// Tells everybody who has these addresses now: neighbours may know another MAC by them.
    ///
    /// # Errors
    ///
    /// When nothing can be sent.
    pub fn announce(&self, nets: &[IpNet]) -> CniResult<()> {
        if let Some(socket) = &self.socket {
            for address in ipv4(nets) {
                // Some take notice of the one, some of the other (RFC 5227, 3).
                for operation in [ARP_REQUEST, ARP_REPLY] {
                    let frame = arp(operation, self.device.mac, address, NOBODY, address);
                    send(socket, &frame).context("cannot send a gratuitous ARP")?;
                }
            }
        }
        Ok(())
    }
}

/// Tells everybody who has these IPv6 addresses now.
///
/// # Errors
///
/// When nothing can be sent.
pub fn advertise(device: Device<'_>, nets: &[IpNet]) -> CniResult<()> {
    let mut addresses = ipv6(nets).peekable();
    if addresses.peek().is_none() {
        return Ok(());
    }
    device.netns.visit(|| {
        addresses.try_for_each(|address| {
            advertise_one(device, address).context("cannot send a neighbour advertisement")
        })
    })?;
    Ok(())
}

fn ipv4(nets: &[IpNet]) -> impl Iterator<Item = Ipv4Addr> {
    nets.iter().filter_map(|net| match net.address {
        IpAddr::V4(address) => Some(address),
        IpAddr::V6(_) => None,
    })
}

fn ipv6(nets: &[IpNet]) -> impl Iterator<Item = Ipv6Addr> {
    nets.iter().filter_map(|net| match net.address {
        IpAddr::V4(_) => None,
        IpAddr::V6(address) => Some(address),
    })
}

/// Waits for somebody else's ARP that claims one of the addresses.
fn conflict(
    socket: &OwnedFd,
    own: Mac,
    wanted: &[Ipv4Addr],
    patience: Duration,
) -> anyhow::Result<Option<(Ipv4Addr, Mac)>> {
    let deadline = Instant::now() + patience;
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        // Rounded up: no busy wait in the last millisecond.
        let timeout = PollTimeout::try_from(left + Duration::from_micros(999)).unwrap_or(PollTimeout::ZERO);
        let mut waiting = [PollFd::new(socket.as_fd(), PollFlags::POLLIN)];
        if left.is_zero() || poll(&mut waiting, timeout)? == 0 {
            return Ok(None);
        }
        let mut frame = [0; ARP_FRAME];
        let len = nix::sys::socket::recv(socket.as_raw_fd(), &mut frame, MsgFlags::MSG_DONTWAIT)?;
        if let Some((address, mac)) = frame.get(..len).and_then(claim)
            && mac != own
            && wanted.contains(&address)
        {
            return Ok(Some((address, mac)));
        }
    }
}

/// Who claims which address in an ARP frame (RFC 826). Another's probe claims none.
fn claim(frame: &[u8]) -> Option<(Ipv4Addr, Mac)> {
    // Ethernet and IPv4, and the lengths of their addresses.
    const FORM: [u8; 6] = [0, 1, 8, 0, 6, 4];
    let arp = frame.get(14..ARP_FRAME)?;
    if frame.get(12..14)? != ETHERTYPE_ARP.to_be_bytes() || arp.get(..6)? != FORM {
        return None;
    }
    let mac = <[u8; 6]>::try_from(arp.get(8..14)?).ok()?;
    let address = Ipv4Addr::from(<[u8; 4]>::try_from(arp.get(14..18)?).ok()?);
    (!address.is_unspecified()).then_some((address, Mac::new(mac)))
}

fn arp(operation: u16, mac: Mac, sender: Ipv4Addr, target_mac: Mac, target: Ipv4Addr) -> Vec<u8> {
    let mut frame = Vec::with_capacity(ARP_FRAME);
    frame.extend(BROADCAST.octets());
    frame.extend(mac.octets());
    frame.extend(ETHERTYPE_ARP.to_be_bytes());
    frame.extend([0, 1, 8, 0, 6, 4]);
    frame.extend(operation.to_be_bytes());
    frame.extend(mac.octets());
    frame.extend(sender.octets());
    frame.extend(target_mac.octets());
    frame.extend(target.octets());
    frame
}

/// An unsolicited neighbour advertisement that overrides (RFC 4861, 7.2.6).
fn advertise_one(device: Device<'_>, address: Ipv6Addr) -> anyhow::Result<()> {
    const ALL_NODES: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);
    const ADVERTISEMENT: [u8; 8] = [136, 0, 0, 0, 0x20, 0, 0, 0];
    const TARGET_LINK_LAYER: [u8; 2] = [2, 1];
    let mut message = ADVERTISEMENT.to_vec();
    message.extend(address.octets());
    message.extend(TARGET_LINK_LAYER);
    message.extend(device.mac.octets());
    let socket = socket(AddressFamily::Inet6, SockType::Raw, SockFlag::SOCK_CLOEXEC, SockProtocol::IcmpV6)?;
    // Neighbour discovery takes nothing that may have come through a router.
    nix::sys::socket::setsockopt(&socket, nix::sys::socket::sockopt::Ipv6MulticastHops, &255)?;
    let source: SockaddrIn6 = SocketAddrV6::new(address, 0, 0, device.index).into();
    nix::sys::socket::bind(socket.as_raw_fd(), &source)?;
    let everybody: SockaddrIn6 = SocketAddrV6::new(ALL_NODES, 0, 0, device.index).into();
    sendto(socket.as_raw_fd(), &message, &everybody, MsgFlags::empty())?;
    Ok(())
}

fn send(socket: &OwnedFd, frame: &[u8]) -> nix::Result<usize> {
    nix::sys::socket::send(socket.as_raw_fd(), frame, MsgFlags::empty())
}

/// Sends and receives ARP frames of one device of the calling thread's namespace.
fn packet_socket(index: u32) -> io::Result<OwnedFd> {
    let protocol = ETHERTYPE_ARP.to_be();
    // Without a protocol until it is bound: else it would hear all devices meanwhile.
    // SAFETY: takes and gives back integers.
    let fd = unsafe { libc::socket(libc::AF_PACKET, libc::SOCK_RAW | libc::SOCK_CLOEXEC, 0) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: a descriptor just opened, which nobody else has.
    let socket = unsafe { OwnedFd::from_raw_fd(fd) };
    // SAFETY: all-zero is a valid `sockaddr_ll`.
    let mut address: libc::sockaddr_ll = unsafe { zeroed() };
    address.sll_family = libc::AF_PACKET as u16;
    address.sll_protocol = protocol;
    address.sll_ifindex = i32::try_from(index).map_err(io::Error::other)?;
    let len = size_of::<libc::sockaddr_ll>() as libc::socklen_t;
    // SAFETY: the pointer is to a live `sockaddr_ll` of that length.
    let bound = unsafe { libc::bind(socket.as_raw_fd(), (&raw const address).cast(), len) };
    if bound < 0 { Err(io::Error::last_os_error()) } else { Ok(socket) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MAC: Mac = Mac::new([2, 0, 0, 0, 0, 7]);
    const IP: Ipv4Addr = Ipv4Addr::new(10, 9, 0, 7);

    #[test]
    fn an_answer_claims_and_a_probe_does_not() {
        assert_eq!(claim(&arp(ARP_REPLY, MAC, IP, NOBODY, IP)), Some((IP, MAC)));
        assert_eq!(claim(&arp(ARP_REQUEST, MAC, IP, NOBODY, IP)), Some((IP, MAC)));
        assert_eq!(claim(&arp(ARP_REQUEST, MAC, Ipv4Addr::UNSPECIFIED, NOBODY, IP)), None);
        assert_eq!(arp(ARP_REPLY, MAC, IP, NOBODY, IP).len(), ARP_FRAME);
    }

    proptest! {
        #[test]
        fn any_frame_is_read_without_a_panic(frame: Vec<u8>) {
            let _ = claim(&frame);
        }
    }
}
