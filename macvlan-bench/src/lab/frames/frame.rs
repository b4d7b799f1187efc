//! Frames: right ones, and those that nobody sends.

use std::{
    net::Ipv4Addr,
    sync::atomic::{AtomicU32, Ordering},
};

use anyhow::{Context as _, Result};
use etherparse::{ArpEthIpv4Packet, Ipv4Header, PacketBuilder, UdpHeader};
use macvlan_common::mac::Mac;

/// The shortest frame without FCS (`ETH_ZLEN`).
pub const SHORTEST: usize = 60;

/// The discard port (RFC 863).
pub const PORT: u16 = 9;

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

/// Bytes of an Ethernet header.
pub const ETH_HLEN: usize = 14;

/// Eight bytes that tell a test's frames from all others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Marker([u8; 8]);

impl Marker {
    /// One that this process has not used before.
    pub fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(1);
        let [a, b, c, d] = NEXT.fetch_add(1, Ordering::Relaxed).to_be_bytes();
        Self([b'm', b'v', b'l', b'n', a, b, c, d])
    }

    /// Its bytes.
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
    bytes: Vec<u8>,
}

impl Frame {
    /// From `src` to `dst`, nothing behind the addresses yet.
    pub fn new(dst: Mac, src: Mac) -> Self {
        let mut bytes = dst.octets().to_vec();
        bytes.extend(src.octets());
        Self { bytes }
    }

    /// Adds a VLAN tag with this EtherType.
    pub fn tag(mut self, ethertype: u16, id: u16) -> Self {
        self.bytes.extend(ethertype.to_be_bytes());
        self.bytes.extend(id.to_be_bytes());
        self
    }

    /// Adds the EtherType (or the length of an LLC frame) and what follows it.
    pub fn payload(mut self, ethertype: u16, payload: &[u8]) -> Self {
        self.bytes.extend(ethertype.to_be_bytes());
        self.bytes.extend(payload);
        self
    }

    /// Fills up with zeros to `len` bytes; a longer frame stays as it is.
    pub fn padded(mut self, len: usize) -> Vec<u8> {
        if self.bytes.len() < len {
            self.bytes.resize(len, 0);
        }
        self.bytes
    }

    /// The bytes.
    pub fn build(self) -> Vec<u8> {
        self.bytes
    }
}

/// A frame of an unclaimed protocol that carries `marker`, as short as can be.
pub fn marked(dst: Mac, src: Mac, marker: Marker) -> Vec<u8> {
    Frame::new(dst, src).payload(EXPERIMENTAL, &marker.octets()).padded(SHORTEST)
}

/// A frame of a protocol that nobody speaks: delivered, then dropped.
pub fn unspoken(from: Mac, to: Mac) -> Vec<u8> {
    Frame::new(to, from).payload(EXPERIMENTAL, &[]).padded(SHORTEST)
}

/// An LLC frame, as spanning tree sends it: a length where others have an EtherType.
pub fn llc(dst: Mac, src: Mac, marker: Marker) -> Vec<u8> {
    let mut payload = vec![0x42, 0x42, 0x03];
    payload.extend(marker.octets());
    let len = payload.len() as u16;
    Frame::new(dst, src).payload(len, &payload).padded(SHORTEST)
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
    let payload = [&arp_packet(operation, sender, target)[..], &marker.octets()].concat();
    Frame::new(dst, sender.0).payload(ARP, &payload).padded(SHORTEST)
}

/// A broadcast ARP request for `wanted`.
pub fn arp_request(from: Party, wanted: Ipv4Addr) -> Vec<u8> {
    let target = (Mac::new([0; 6]), wanted);
    let packet = arp_packet(ArpOperation::Request, (from.mac, from.address), target);
    Frame::new(Mac::BROADCAST, from.mac).payload(ARP, &packet).padded(SHORTEST)
}

fn arp_packet(operation: ArpOperation, sender: (Mac, Ipv4Addr), target: (Mac, Ipv4Addr)) -> [u8; 28] {
    ArpEthIpv4Packet {
        operation: etherparse::ArpOperation(operation as u16),
        sender_mac: sender.0.octets(),
        sender_ipv4: sender.1.octets(),
        target_mac: target.0.octets(),
        target_ipv4: target.1.octets(),
    }
    .to_bytes()
}

/// One end of a frame.
#[derive(Debug, Clone, Copy)]
pub struct Party {
    /// Its MAC.
    pub mac: Mac,
    /// Its address.
    pub address: Ipv4Addr,
}

/// A frame with the shortest UDP datagram, to the [discard port](PORT), that has a checksum.
///
/// # Errors
///
/// Never for these lengths; etherparse cannot know.
pub fn datagram(from: Party, to: Party) -> Result<Vec<u8>> {
    const HEADERS: usize = ETH_HLEN + Ipv4Header::MIN_LEN + UdpHeader::LEN;
    let builder = PacketBuilder::ethernet2(from.mac.octets(), to.mac.octets())
        .ipv4(from.address.octets(), to.address.octets(), 64)
        .udp(PORT, PORT);
    let mut frame = Vec::with_capacity(SHORTEST);
    builder.write(&mut frame, &[0; SHORTEST - HEADERS]).context("cannot build a datagram")?;
    Ok(frame)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: Party = Party { mac: Mac::new([2, 0, 0, 0, 0, 1]), address: Ipv4Addr::new(10, 97, 0, 1) };
    const TWO: Party = Party { mac: Mac::new([2, 0, 0, 0, 0, 2]), address: Ipv4Addr::new(10, 97, 0, 2) };

    #[test]
    fn no_marker_is_another_ones() {
        let (one, other) = (Marker::new(), Marker::new());
        let frame = marked(Mac::BROADCAST, Mac::new([2, 0, 0, 0, 0, 1]), one);
        assert!(one.is_in(&frame) && !other.is_in(&frame));
        assert_eq!(frame.len(), 60);
    }

    #[test]
    fn both_frames_are_the_shortest_and_say_who_is_meant() {
        let datagram = datagram(ONE, TWO).unwrap();
        assert_eq!((datagram.len(), &datagram[..6]), (SHORTEST, &TWO.mac.octets()[..]));
        let parsed = etherparse::PacketHeaders::from_ethernet_slice(&datagram).unwrap();
        assert!(parsed.net.is_some() && parsed.transport.is_some());

        let request = arp_request(ONE, TWO.address);
        assert_eq!((request.len(), &request[..6]), (SHORTEST, &[0xff; 6][..]));
        // Target protocol address of RFC 826, behind the Ethernet header.
        assert_eq!(&request[14 + 24..14 + 28], &TWO.address.octets());
    }
}
