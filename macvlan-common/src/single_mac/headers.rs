//! Where the network layer of a frame is, and what both ways read of it.

use super::packet::Packet;
use crate::l3::{ARP_LEN, Address, IPV4, IPV6, SERVICE_VLAN, VLAN};

/// Where the source MAC is.
pub const SOURCE: u32 = 6;
/// Where the EtherType is.
pub const ETHERTYPE: u32 = 12;
/// Bytes of a VLAN tag.
const TAG_LEN: u32 = 4;
/// VLAN tags in the frame that are looked behind.
const MOST_TAGS: u32 = 2;
/// Bits of a VLAN's number in a [`Key`](super::Key), one more than it has: several tags are told from one.
const VLAN_BITS: u32 = 13;

/// Protocol number of UDP.
pub const UDP: u8 = 17;
/// Protocol number of ICMPv6.
pub const ICMPV6: u8 = 58;
/// Bytes of an IPv6 header.
pub const IPV6_HEADER: u32 = 40;
/// Bytes of a UDP header.
pub const UDP_HEADER: u32 = 8;
/// The ports of DHCP (RFC 2131, 4.1).
pub const DHCP_SERVER: u16 = 67;
pub const DHCP_CLIENT: u16 = 68;
/// `NEIGHBOUR_SOLICITATION` of RFC 4861.
pub const SOLICITATION: u8 = 135;

/// The network layer of a frame.
#[derive(Clone, Copy)]
pub struct Layer {
    /// Its EtherType.
    pub kind: u16,
    /// Where it begins.
    pub at: u32,
    /// The VLANs that it is in.
    pub vlan: u32,
}

/// Whether these 16 bits behind the MACs say that IP follows at once: nearly every frame.
#[inline(always)]
pub const fn is_plain_ip(kind: u16) -> bool {
    matches!(kind, IPV4 | IPV6)
}

/// The network layer behind up to two tags in the frame; `None` when the frame ends before. Number 0 is a
/// priority alone and no VLAN (IEEE 802.1Q, 6.9).
#[inline(always)]
pub fn network_layer<P: Packet>(packet: &P) -> Option<Layer> {
    let mut kind = packet.half(ETHERTYPE)?;
    let (mut at, mut vlan) = (ETHERTYPE + 2, in_vlan(0, packet.vlan()));
    for _ in 0..MOST_TAGS {
        if matches!(kind, VLAN | SERVICE_VLAN) {
            vlan = in_vlan(vlan, packet.half(at)?);
            kind = packet.half(at + 2)?;
            at += TAG_LEN;
        }
    }
    Some(Layer { kind, at, vlan })
}

#[inline(always)]
const fn in_vlan(outer: u32, control: u16) -> u32 {
    let number = (control & 0xfff) as u32;
    if number == 0 { outer } else { outer << VLAN_BITS | (number + 1) }
}

/// An ARP packet for Ethernet and IPv4.
#[derive(Clone, Copy)]
pub struct Arp {
    pub operation: u16,
    pub sender: [u8; 4],
    pub target_mac: u64,
    pub target: [u8; 4],
}

/// Where the sender's MAC is in it, and the target's.
pub const ARP_SENDER_MAC: u32 = 8;
pub const ARP_TARGET_MAC: u32 = 18;
/// A question and an answer.
pub const ARP_REQUEST: u16 = 1;
pub const ARP_REPLY: u16 = 2;

/// Reads an ARP packet; `None` for one of other addresses, and where the frame ends before it does.
#[inline(always)]
pub fn arp<P: Packet>(packet: &P, at: u32) -> Option<Arp> {
    const ETHERNET_IPV4: u32 = u32::from_ne_bytes([0, 1, 8, 0]);
    const WORDS: usize = ARP_LEN / 4;
    let [types, lengths, _, w3, w4, w5, target] = packet.words::<WORDS>(at)?;
    let [hardware_len, protocol_len, o0, o1] = lengths.to_ne_bytes();
    if types != ETHERNET_IPV4 || hardware_len != 6 || protocol_len != 4 {
        return None;
    }
    let ([_, _, s0, s1], [s2, s3, t0, t1], [t2, t3, t4, t5]) =
        (w3.to_ne_bytes(), w4.to_ne_bytes(), w5.to_ne_bytes());
    Some(Arp {
        operation: u16::from_be_bytes([o0, o1]),
        sender: [s0, s1, s2, s3],
        target_mac: u64::from_le_bytes([t0, t1, t2, t3, t4, t5, 0, 0]),
        target: target.to_ne_bytes(),
    })
}

/// What is read of an IPv4 header.
#[derive(Clone, Copy)]
pub struct Ipv4 {
    pub source: [u8; 4],
    pub target: [u8; 4],
    /// Where the UDP header is; 0 for another protocol, and for a fragment that is not the first.
    pub udp: u32,
}

/// Reads an IPv4 header; `None` where the frame ends before it does.
#[inline(always)]
pub fn ipv4<P: Packet>(packet: &P, at: u32) -> Option<Ipv4> {
    let [first, fragment, protocol, source, target] = packet.words::<5>(at)?;
    let ([version, ..], [_, _, high, low], [_, protocol, _, _]) =
        (first.to_ne_bytes(), fragment.to_ne_bytes(), protocol.to_ne_bytes());
    if version >> 4 != 4 {
        return None;
    }
    let is_udp = protocol == UDP && high & 0x1f == 0 && low == 0;
    let udp = if is_udp { at + u32::from(version & 0xf) * 4 } else { 0 };
    Some(Ipv4 { source: source.to_ne_bytes(), target: target.to_ne_bytes(), udp })
}

/// Whether a UDP header has these ports.
#[inline(always)]
pub fn has_ports<P: Packet>(packet: &P, udp: u32, from: u16, to: u16) -> bool {
    packet.half(udp) == Some(from) && packet.half(udp + 2) == Some(to)
}

/// A whole address of IPv4 that a single host can have, and others can reach it by; else none.
#[inline(always)]
pub const fn unicast_v4(bytes: [u8; 4]) -> Address {
    if bytes[0] == 0 || bytes[0] == 127 || bytes[0] >= 224 { Address::NONE } else { Address::v4(bytes) }
}

/// The same of IPv6.
#[inline(always)]
pub const fn unicast_v6(words: [u32; 4]) -> Address {
    let is_loopback = words[0] | words[1] | words[2] == 0 && words[3] == u32::from_ne_bytes([0, 0, 0, 1]);
    if words[0].to_ne_bytes()[0] == 0xff || is_loopback { Address::NONE } else { Address(words) }
}
