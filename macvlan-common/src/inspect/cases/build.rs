//! Builds the frames of the cases.

use super::world::{CHILD, MemoryPacket, PEER};
use crate::{inspect::packet::Packet as _, mac::Mac};

/// The frame of the child with this EtherType and what follows it.
pub fn frame(behind_macs: &[u8]) -> Vec<u8> {
    [&PEER.octets()[..], &CHILD.octets(), behind_macs].concat()
}

/// EtherType and packet behind so many tags.
pub fn tagged(tags: usize, ethertype: u16, packet: &[u8]) -> Vec<u8> {
    let tag: &[u8] = &[0x81, 0, 0, 5];
    [&tag.repeat(tags)[..], &ethertype.to_be_bytes(), packet].concat()
}

/// LLC and SNAP of this organisation before a packet, behind so many tags of this EtherType.
pub fn snapped(tag: u16, tags: usize, vendor: [u8; 3], ethertype: u16, packet: &[u8]) -> Vec<u8> {
    let tag = [tag.to_be_bytes(), [0, 5]].concat();
    let len = (8 + packet.len()) as u16;
    let snap = [&[0xaa, 0xaa, 3], &vendor[..], &ethertype.to_be_bytes()].concat();
    [&tag.repeat(tags)[..], &len.to_be_bytes(), &snap, packet].concat()
}

/// The EtherType behind up to two tags; `None` when the frame ends before.
pub fn network_layer(frame: &[u8]) -> Option<u16> {
    let at = |at| MemoryPacket { frame, own: &[] }.half(at);
    let kinds = [at(12)?, at(16).unwrap_or_default(), at(20).unwrap_or_default()];
    let is_tag = |kind: &&u16| !matches!(**kind, 0x8100 | 0x88a8);
    kinds.iter().find(is_tag).copied()
}

/// An IPv4 packet; `fragment` is its word of flags and offset.
pub fn ipv4(source: [u8; 4], protocol: u8, fragment: u16, payload: &[u8]) -> Vec<u8> {
    ipv4_with(0, source, protocol, fragment, payload)
}

/// The same with so many words of options.
pub fn ipv4_with(options: u8, source: [u8; 4], protocol: u8, fragment: u16, payload: &[u8]) -> Vec<u8> {
    let header = 20 + 4 * usize::from(options);
    let len = (header + payload.len()) as u16;
    let mut packet = vec![0x45 + options, 0];
    packet.extend(len.to_be_bytes());
    packet.extend([0, 0]);
    packet.extend(fragment.to_be_bytes());
    packet.extend([64, protocol, 0, 0]);
    packet.extend(source);
    packet.extend([10, 9, 0, 2]);
    packet.resize(header, 1);
    packet.extend(payload);
    packet
}

/// An IPv6 packet.
pub fn ipv6(source: [u8; 16], next: u8, payload: &[u8]) -> Vec<u8> {
    let mut packet = vec![0x60, 0, 0, 0];
    packet.extend((payload.len() as u16).to_be_bytes());
    packet.extend([next, 255]);
    packet.extend(source);
    packet.extend([0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]);
    packet.extend(payload);
    packet
}

/// A UDP datagram.
pub fn udp(from: u16, to: u16, payload: &[u8]) -> Vec<u8> {
    let len = 8 + payload.len() as u16;
    [&from.to_be_bytes()[..], &to.to_be_bytes(), &len.to_be_bytes(), &[0, 0], payload].concat()
}

/// An ICMPv6 message of this type with a target, as neighbour discovery has.
pub fn message(kind: u8, target: [u8; 16]) -> Vec<u8> {
    [&[kind, 0, 0, 0, 0, 0, 0, 0][..], &target].concat()
}

/// The same with options behind the target.
pub fn with_options(kind: u8, target: [u8; 16], options: &[Vec<u8>]) -> Vec<u8> {
    [message(kind, target), options.concat()].concat()
}

/// An option with a link-layer address: 1 the source's, 2 the target's.
pub fn link_layer(kind: u8, mac: Mac) -> Vec<u8> {
    [&[kind, 1][..], &mac.octets()].concat()
}

/// An extension header of eight bytes before `payload`.
pub fn behind(next: u8, payload: &[u8]) -> Vec<u8> {
    [&[next, 0, 0, 0, 0, 0, 0, 0][..], payload].concat()
}

/// A fragment header: `place` is the offset in units of eight bytes.
pub fn fragment(next: u8, place: u16, more: bool, payload: &[u8]) -> Vec<u8> {
    let [high, low] = (place << 3 | u16::from(more)).to_be_bytes();
    [&[next, 0, high, low, 0, 0, 0, 7][..], payload].concat()
}

pub fn arp(types: [u8; 4], lengths: [u8; 2], operation: u8, hardware: Mac, sender: [u8; 4]) -> Vec<u8> {
    let mut packet = [&types[..], &lengths, &[0, operation], &hardware.octets(), &sender].concat();
    packet.extend([0, 0, 0, 0, 0, 0, 10, 9, 0, 2]);
    packet
}
