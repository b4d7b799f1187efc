//! Telling neighbours that an address is at another MAC now: they would go on at the old one until their own timers
//! let go of it.
//!
//! IPv4 by an ARP request of the sender for itself (RFC 5227, section 3), IPv6 by an unsolicited
//! neighbour advertisement (RFC 4861, section 7.2.6).

use std::{
    io,
    mem::size_of,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd},
    thread::{self, JoinHandle},
    time::Duration,
};

use macvlan_common::mac::Mac;

const ETHERTYPE_ARP: [u8; 2] = [0x08, 0x06];

const ETHERTYPE_IPV6: [u8; 2] = [0x86, 0xdd];

const BROADCAST: Mac = Mac::new([0xff; 6]);

const ALL_NODES_MAC: Mac = Mac::new([0x33, 0x33, 0, 0, 0, 1]);

const ALL_NODES: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);

/// To whom.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Audience {
    /// Everybody on the link.
    All,
    /// This one.
    One(Mac, IpAddr),
}

/// Says out of the device with this index that `address` is at `mac`. It helps and is not needed, so
/// nobody is told of a failure, for one without `CAP_NET_RAW`.
pub fn announce(index: u32, mac: Mac, addresses: &[(IpAddr, Audience)]) {
    let Ok(socket) = open(index) else { return };
    for (address, audience) in addresses {
        if let Some(frame) = frame(mac, *address, *audience) {
            let _ = send(&socket, index, &frame);
        }
    }
}

/// How often the wire is told, and how long it is waited between; twice as long each time. One may be lost.
const TIMES: u32 = 3;
const PAUSE: Duration = Duration::from_millis(100);

/// Announcements that go on by themselves.
#[derive(Debug, Default)]
#[must_use]
pub struct Announcing(Option<JoinHandle<()>>);

impl Announcing {
    /// Waits until all are said.
    pub fn wait(self) {
        // A panic there has said so itself.
        let _ = self.0.map(JoinHandle::join);
    }

    /// Lets them go on.
    pub fn go_on(self) {}
}

/// Says to everybody on the wire of the device with this index, thrice, that each address is at the MAC beside it. The
/// frames pass no qdisc and no program (`packet_xmit` in net/packet/af_packet.c): nobody on this machine hears them. It
/// helps and is not needed, as [`announce`].
pub fn announce_on_wire(index: u32, addresses: &[(IpAddr, Mac)]) -> Announcing {
    let frames: Vec<Vec<u8>> =
        addresses.iter().filter_map(|(address, mac)| frame(*mac, *address, Audience::All)).collect();
    if frames.is_empty() {
        return Announcing(None);
    }
    let Ok(socket) = open(index) else { return Announcing(None) };
    bypass(&socket);
    let say = move |socket: &OwnedFd| {
        for frame in &frames {
            let _ = send(socket, index, frame);
        }
    };
    say(&socket);
    let go_on = move || {
        for time in 0..TIMES - 1 {
            thread::sleep(PAUSE * (1 << time));
            say(&socket);
        }
    };
    Announcing(thread::Builder::new().name("announcements".into()).spawn(go_on).ok())
}

/// Has frames of this socket pass by qdiscs and programs. Without it, those of this machine hear them too.
fn bypass(socket: &OwnedFd) {
    let on: libc::c_int = 1;
    // SAFETY: the pointer is to a live integer of the length given.
    let _ = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::SOL_PACKET,
            libc::PACKET_QDISC_BYPASS,
            (&raw const on).cast(),
            size_of::<libc::c_int>() as libc::socklen_t,
        )
    };
}

fn frame(mac: Mac, address: IpAddr, audience: Audience) -> Option<Vec<u8>> {
    match (address, audience) {
        (IpAddr::V4(address), Audience::All) => Some(arp(mac, address, BROADCAST)),
        (IpAddr::V4(address), Audience::One(to, IpAddr::V4(_))) => Some(arp(mac, address, to)),
        (IpAddr::V6(address), Audience::All) => Some(advertisement(mac, address, ALL_NODES_MAC, ALL_NODES)),
        (IpAddr::V6(address), Audience::One(to, IpAddr::V6(ip))) => Some(advertisement(mac, address, to, ip)),
        _ => None,
    }
}

fn arp(mac: Mac, address: Ipv4Addr, to: Mac) -> Vec<u8> {
    // Ethernet and IPv4, a request.
    const HEAD: [u8; 8] = [0, 1, 8, 0, 6, 4, 0, 1];
    let (mac, ip) = (mac.octets(), address.octets());
    [&to.octets()[..], &mac, &ETHERTYPE_ARP, &HEAD, &mac, &ip, &[0; 6], &ip].concat()
}

fn advertisement(mac: Mac, address: Ipv6Addr, to: Mac, ip: Ipv6Addr) -> Vec<u8> {
    const ICMPV6: u8 = 58;
    const HOP_LIMIT: u8 = 255;
    const OVERRIDE: u8 = 0x20;
    const TARGET_LINK_LAYER_ADDRESS: [u8; 2] = [2, 1];
    let mac = mac.octets();
    let mut message =
        [&[136, 0, 0, 0, OVERRIDE, 0, 0, 0][..], &address.octets(), &TARGET_LINK_LAYER_ADDRESS, &mac]
            .concat();
    let len = [0, 0, 0, message.len() as u8];
    let pseudo = [&address.octets()[..], &ip.octets(), &len, &[0, 0, 0, ICMPV6], &message].concat();
    message[2..4].copy_from_slice(&checksum(&pseudo).to_be_bytes());
    let version = [0x60, 0, 0, 0];
    let head = [&version[..], &len[2..], &[ICMPV6, HOP_LIMIT], &address.octets(), &ip.octets()].concat();
    [&to.octets()[..], &mac, &ETHERTYPE_IPV6, &head, &message].concat()
}

/// The Internet checksum (RFC 1071) of an even number of bytes.
fn checksum(bytes: &[u8]) -> u16 {
    let mut sum: u32 =
        bytes.chunks_exact(2).map(|pair| u32::from(u16::from_be_bytes([pair[0], pair[1]]))).sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}

fn open(index: u32) -> io::Result<OwnedFd> {
    // No protocol: it is to hear nothing.
    let kind = libc::SOCK_RAW | libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK;
    // SAFETY: takes and gives back integers.
    let fd = unsafe { libc::socket(libc::AF_PACKET, kind, 0) };
    if fd < 0 || i32::try_from(index).is_err() {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: a descriptor just opened, which nobody else has.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

fn send(socket: &OwnedFd, index: u32, frame: &[u8]) -> io::Result<()> {
    // SAFETY: all zeroes is a valid `sockaddr_ll`.
    let mut address: libc::sockaddr_ll = unsafe { std::mem::zeroed() };
    address.sll_family = libc::AF_PACKET as u16;
    address.sll_ifindex = index.cast_signed();
    address.sll_halen = 6;
    // SAFETY: both pointers are to live memory of the lengths given.
    let sent = unsafe {
        libc::sendto(
            socket.as_raw_fd(),
            frame.as_ptr().cast(),
            frame.len(),
            0,
            (&raw const address).cast(),
            size_of::<libc::sockaddr_ll>() as libc::socklen_t,
        )
    };
    if sent < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use etherparse::{NetSlice, SlicedPacket, TransportSlice};

    use super::*;

    const MAC: Mac = Mac::new([2, 0, 0, 0, 0, 9]);
    const CHILD: Mac = Mac::new([2, 0, 0, 0, 0, 5]);

    #[test]
    fn an_ipv4_address_is_announced_by_a_request_for_itself() {
        let ip = Ipv4Addr::new(10, 9, 0, 2);
        let frame = frame(MAC, ip.into(), Audience::One(CHILD, Ipv4Addr::new(10, 9, 0, 11).into())).unwrap();
        assert_eq!(frame.len(), 42);
        assert_eq!(
            (&frame[..6], &frame[6..12], &frame[12..14]),
            (&CHILD.octets()[..], &MAC.octets()[..], &[8, 6][..])
        );
        assert_eq!(
            (&frame[22..28], &frame[28..32], &frame[38..42]),
            (&MAC.octets()[..], &ip.octets()[..], &ip.octets()[..])
        );
    }

    #[test]
    fn an_ipv6_address_is_announced_by_an_advertisement_that_overrides() {
        let ip: Ipv6Addr = "fd09::2".parse().unwrap();
        let frame = frame(MAC, ip.into(), Audience::All).unwrap();
        let packet = SlicedPacket::from_ethernet(&frame).unwrap();
        let Some(NetSlice::Ipv6(ipv6)) = &packet.net else { panic!("{packet:?}") };
        assert_eq!((ipv6.header().hop_limit(), ipv6.header().source_addr()), (255, ip));
        let Some(TransportSlice::Icmpv6(icmp)) = &packet.transport else { panic!("{packet:?}") };
        assert!(icmp.is_checksum_valid(ip.octets(), ALL_NODES.octets()));
        assert_eq!((icmp.type_u8(), icmp.slice()[4]), (136, 0x20));
        assert_eq!(&icmp.slice()[26..32], &MAC.octets());
    }

    #[test]
    fn families_are_not_mixed() {
        assert_eq!(frame(MAC, Ipv4Addr::LOCALHOST.into(), Audience::One(CHILD, ALL_NODES.into())), None);
    }
}
