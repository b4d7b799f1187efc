//! Frames, built octet by octet.

use std::{
    net::{Ipv4Addr, Ipv6Addr},
    sync::atomic::{AtomicU32, Ordering},
};

use macvlan_common::mac::Mac;

/// IEEE 802 local experimental EtherType 1: no protocol of the stack claims it.
pub const EXPERIMENTAL: u16 = 0x88b5;
/// IPv4.
pub const IPV4: u16 = 0x0800;
/// ARP.
pub const ARP: u16 = 0x0806;
/// IPv6.
pub const IPV6: u16 = 0x86dd;
/// 802.1Q tag.
pub const VLAN: u16 = 0x8100;
/// 802.1ad service tag.
pub const SERVICE_VLAN: u16 = 0x88a8;

/// Octets of an Ethernet header.
pub const ETH_HLEN: usize = 14;

/// Eight octets that tell a test's frames from all others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Marker([u8; 8]);

impl Marker {
    /// One that this process has not used before.
    pub fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(1);
        let [a, b, c, d] = NEXT.fetch_add(1, Ordering::Relaxed).to_be_bytes();
        Self([b'm', b'v', b'l', b'n', a, b, c, d])
    }

    /// Its octets.
    pub const fn octets(self) -> [u8; 8] {
        self.0
    }

    /// Whether it appears in `data`.
    pub fn is_in(self, data: &[u8]) -> bool {
        data.windows(self.0.len()).any(|window| window == self.0)
    }
}

impl Default for Marker {
    fn default() -> Self {
        Self::new()
    }
}

/// An Ethernet frame in the making.
#[derive(Debug, Clone)]
pub struct Frame {
    octets: Vec<u8>,
}

impl Frame {
    /// From `src` to `dst`, nothing behind the addresses yet.
    pub fn new(dst: Mac, src: Mac) -> Self {
        let mut octets = dst.octets().to_vec();
        octets.extend(src.octets());
        Self { octets }
    }

    /// Adds a VLAN tag with this EtherType.
    pub fn tag(mut self, ethertype: u16, id: u16) -> Self {
        self.octets.extend(ethertype.to_be_bytes());
        self.octets.extend(id.to_be_bytes());
        self
    }

    /// Adds the EtherType (or the length of an LLC frame) and what follows it.
    pub fn payload(mut self, ethertype: u16, payload: &[u8]) -> Self {
        self.octets.extend(ethertype.to_be_bytes());
        self.octets.extend(payload);
        self
    }

    /// Fills up with zeros to `len` octets; a longer frame stays as it is.
    pub fn padded(mut self, len: usize) -> Vec<u8> {
        if self.octets.len() < len {
            self.octets.resize(len, 0);
        }
        self.octets
    }

    /// The octets.
    pub fn build(self) -> Vec<u8> {
        self.octets
    }
}

/// A frame of an unclaimed protocol that carries `marker`, 60 octets long.
pub fn marked(dst: Mac, src: Mac, marker: Marker) -> Vec<u8> {
    Frame::new(dst, src).payload(EXPERIMENTAL, &marker.octets()).padded(60)
}

/// An LLC frame, as spanning tree sends it: a length where others have an EtherType.
pub fn llc(dst: Mac, src: Mac, marker: Marker) -> Vec<u8> {
    let mut payload = vec![0x42, 0x42, 0x03];
    payload.extend(marker.octets());
    let len = payload.len() as u16;
    Frame::new(dst, src).payload(len, &payload).padded(60)
}

/// What an ARP packet asks or says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u16)]
pub enum ArpOperation {
    /// Who has the target address?
    Request = 1,
    /// The sender has.
    Reply = 2,
}

/// An ARP packet (RFC 826) for Ethernet and IPv4; marked behind its end, in the padding.
pub fn arp(
    dst: Mac,
    operation: ArpOperation,
    sender: (Mac, Ipv4Addr),
    target: (Mac, Ipv4Addr),
    marker: Marker,
) -> Vec<u8> {
    let mut payload = vec![0, 1, 8, 0, 6, 4];
    payload.extend((operation as u16).to_be_bytes());
    for (mac, ip) in [sender, target] {
        payload.extend(mac.octets());
        payload.extend(ip.octets());
    }
    payload.extend(marker.octets());
    Frame::new(dst, sender.0).payload(ARP, &payload).padded(60)
}

/// An IPv4 packet.
pub fn ipv4(src: Ipv4Addr, dst: Ipv4Addr, protocol: u8, payload: &[u8]) -> Vec<u8> {
    let len = (20 + payload.len()) as u16;
    let mut packet = vec![0x45, 0];
    packet.extend(len.to_be_bytes());
    packet.extend([0, 0, 0x40, 0, 64, protocol, 0, 0]);
    packet.extend(src.octets());
    packet.extend(dst.octets());
    let sum = checksum(&packet);
    packet[10..12].copy_from_slice(&sum.to_be_bytes());
    packet.extend(payload);
    packet
}

/// An IPv6 packet.
pub fn ipv6(src: Ipv6Addr, dst: Ipv6Addr, next_header: u8, payload: &[u8]) -> Vec<u8> {
    let mut packet = vec![0x60, 0, 0, 0];
    packet.extend((payload.len() as u16).to_be_bytes());
    packet.extend([next_header, 255]);
    packet.extend(src.octets());
    packet.extend(dst.octets());
    packet.extend(payload);
    packet
}

/// A UDP datagram without a checksum, which IPv4 allows.
pub fn udp(src_port: u16, dst_port: u16, payload: &[u8]) -> Vec<u8> {
    let len = (8 + payload.len()) as u16;
    let mut datagram = Vec::with_capacity(usize::from(len));
    datagram.extend(src_port.to_be_bytes());
    datagram.extend(dst_port.to_be_bytes());
    datagram.extend(len.to_be_bytes());
    datagram.extend([0, 0]);
    datagram.extend(payload);
    datagram
}

/// A neighbour solicitation (RFC 4861, 4.3) for `target` without options, as a whole IPv6 packet.
pub fn neighbour_solicitation(src: Ipv6Addr, target: Ipv6Addr) -> Vec<u8> {
    let octets = target.octets();
    let group =
        Ipv6Addr::from([0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0xff, octets[13], octets[14], octets[15]]);
    neighbour_message(135, 0, src, group, target)
}

/// A neighbour advertisement (RFC 4861, 4.4) of `target` to all nodes, overriding.
pub fn neighbour_advertisement(src: Ipv6Addr, target: Ipv6Addr) -> Vec<u8> {
    const OVERRIDE: u8 = 0x20;
    neighbour_message(136, OVERRIDE, src, Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1), target)
}

/// The internet checksum (RFC 1071).
pub fn checksum(data: &[u8]) -> u16 {
    let words = data.chunks(2).map(|pair| u32::from(pair[0]) << 8 | u32::from(*pair.get(1).unwrap_or(&0)));
    let mut sum: u32 = words.sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}

fn neighbour_message(kind: u8, flags: u8, src: Ipv6Addr, dst: Ipv6Addr, target: Ipv6Addr) -> Vec<u8> {
    const ICMPV6: u8 = 58;
    let mut message = vec![kind, 0, 0, 0, flags, 0, 0, 0];
    message.extend(target.octets());
    let mut pseudo = src.octets().to_vec();
    pseudo.extend(dst.octets());
    pseudo.extend((message.len() as u32).to_be_bytes());
    pseudo.extend([0, 0, 0, ICMPV6]);
    pseudo.extend(&message);
    let sum = checksum(&pseudo);
    message[2..4].copy_from_slice(&sum.to_be_bytes());
    ipv6(src, dst, ICMPV6, &message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_packet_with_its_checksum_in_place_sums_to_zero() {
        let (a, b) = (Ipv4Addr::new(10, 9, 0, 1), Ipv4Addr::new(10, 9, 0, 2));
        assert_eq!(checksum(&ipv4(a, b, 17, &[])), 0);
    }

    #[test]
    fn the_checksum_example_of_rfc_1071() {
        assert_eq!(checksum(&[0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7]), !0xddf2);
    }

    #[test]
    fn no_marker_is_another_ones() {
        let (one, other) = (Marker::new(), Marker::new());
        let frame = marked(Mac::BROADCAST, Mac::new([2, 0, 0, 0, 0, 1]), one);
        assert!(one.is_in(&frame) && !other.is_in(&frame));
        assert_eq!(frame.len(), 60);
    }
}
