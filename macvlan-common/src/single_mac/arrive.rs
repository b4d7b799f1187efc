//! A frame from the wire, for whoever here it is.

use super::{
    headers::{
        ARP_REPLY, ARP_REQUEST, ARP_TARGET_MAC, DHCP_CLIENT, DHCP_SERVER, ICMPV6, IPV6_HEADER, Layer,
        SOLICITATION, UDP_HEADER, arp, has_ports, ipv4, network_layer, unicast_v4, unicast_v6,
    },
    packet::{Packet, Whose},
    table::Holder,
};
use crate::{
    l3::{ARP, Address, IPV4, IPV6},
    mac::Mac,
};

const BROADCAST: u64 = Mac::BROADCAST.key();

/// Whether a frame from the wire with this destination, and these 16 bits behind its MACs, has to be looked at: it is
/// for the one MAC there, or may be a DHCP server's answer to all.
#[inline(always)]
pub const fn may_concern(dst: u64, kind: u16, master: u64) -> bool {
    dst == master || (dst == BROADCAST && kind != ARP && kind != IPV6)
}

/// The destination that a frame from the wire is to have, 0 for that which it has; and hears whose the addresses in a
/// DHCP server's answer are. An ARP packet for a child names its MAC then.
#[inline(always)]
pub fn arrive<P: Packet>(packet: &mut P, dst: u64, master: u64) -> u64 {
    let Some(layer) = network_layer(packet) else { return 0 };
    match layer.kind {
        IPV4 => arrive_ipv4(packet, layer, dst == master),
        IPV6 if dst == master => arrive_ipv6(packet, layer),
        ARP if dst == master => arrive_arp(packet, layer, master),
        _ => 0,
    }
}

/// The MAC that stands for whose the frame is.
#[inline(always)]
const fn mac_of(whose: Whose) -> u64 {
    if whose.is_child() || whose.0 == Whose::ALL.0 { whose.0 } else { 0 }
}

#[inline(always)]
fn arrive_ipv4<P: Packet>(packet: &mut P, layer: Layer, to_master: bool) -> u64 {
    let Some(header) = ipv4(packet, layer.at) else { return 0 };
    if header.udp != 0 && has_ports(packet, header.udp, DHCP_SERVER, DHCP_CLIENT) {
        let client = dhcp_client(packet, layer.vlan, header.udp + UDP_HEADER);
        if client != 0 && to_master {
            return client;
        }
    }
    if !to_master {
        return 0;
    }
    let [a, b, c, d] = header.target;
    if u32::from_ne_bytes(header.target) == u32::MAX {
        return BROADCAST;
    }
    // A group frame that an access point sent to each station alone.
    if a & 0xf0 == 0xe0 {
        return u64::from_le_bytes([0x01, 0, 0x5e, b & 0x7f, c, d, 0, 0]);
    }
    mac_of(packet.whose(layer.vlan, unicast_v4(header.target)))
}

/// The child that a DHCP server answers to, 0 for none. It has the address that it is given (RFC 2131, 4.3.1).
#[inline(always)]
fn dhcp_client<P: Packet>(packet: &mut P, vlan: u32, message: u32) -> u64 {
    const OPTIONS: u32 = 240;
    const MOST_OPTIONS: u32 = 24;
    const PAD: u8 = 0;
    const MESSAGE_TYPE: u8 = 53;
    const END: u8 = 255;
    const ACK: u16 = 5;
    let Some([first, _, _, _, given, _, _, c0, c1]) = packet.words::<9>(message) else { return 0 };
    let ([operation, hardware, len, _], [m0, m1, m2, m3], [m4, m5, _, _]) =
        (first.to_ne_bytes(), c0.to_ne_bytes(), c1.to_ne_bytes());
    let mac = u64::from_le_bytes([m0, m1, m2, m3, m4, m5, 0, 0]);
    if operation != 2 || hardware != 1 || len != 6 || !packet.is_child(mac) {
        return 0;
    }
    let mut at = message + OPTIONS;
    // Servers put the type first, which no standard says.
    for _ in 0..MOST_OPTIONS {
        let Some(option) = packet.half(at) else { break };
        let [code, len] = option.to_be_bytes();
        if code == END {
            break;
        }
        if code == MESSAGE_TYPE {
            let given = unicast_v4(given.to_ne_bytes());
            if given.is_some() && packet.half(at + 2).is_some_and(|kind| kind >> 8 == ACK) {
                packet.learn(vlan, given, mac, Holder::CLAIM);
            }
            break;
        }
        at += if code == PAD { 1 } else { 2 + u32::from(len) };
    }
    mac
}

#[inline(always)]
fn arrive_ipv6<P: Packet>(packet: &mut P, layer: Layer) -> u64 {
    let Some(target) = packet.words::<4>(layer.at + 24) else { return 0 };
    if target[0].to_ne_bytes()[0] == 0xff {
        let [b0, b1, b2, b3] = target[3].to_ne_bytes();
        return u64::from_le_bytes([0x33, 0x33, b0, b1, b2, b3, 0, 0]);
    }
    let whose = packet.whose(layer.vlan, unicast_v6(target));
    if whose.0 != Whose::NOBODY.0 {
        return mac_of(whose);
    }
    sought(packet, layer)
}

/// A neighbour asks whether somebody is still there who is not known any more: for whom it may concern, as it asked at
/// first (RFC 4291, 2.7.1).
#[inline(always)]
fn sought<P: Packet>(packet: &P, layer: Layer) -> u64 {
    let is_icmp = packet.half(layer.at + 6).is_some_and(|next| (next >> 8) as u8 == ICMPV6);
    let at = layer.at + IPV6_HEADER;
    if !is_icmp || packet.half(at).is_none_or(|kind| (kind >> 8) as u8 != SOLICITATION) {
        return 0;
    }
    let Some([.., last]) = packet.words::<4>(at + 8) else { return 0 };
    let [_, b1, b2, b3] = last.to_ne_bytes();
    u64::from_le_bytes([0x33, 0x33, 0xff, b1, b2, b3, 0, 0])
}

#[inline(always)]
fn arrive_arp<P: Packet>(packet: &mut P, layer: Layer, master: u64) -> u64 {
    let Some(said) = arp(packet, layer.at) else { return 0 };
    let whose = if u32::from_ne_bytes(said.target) != 0 {
        packet.whose(layer.vlan, unicast_v4(said.target))
    } else if said.operation == ARP_REPLY {
        // The answer to a probe.
        Whose(packet.prober(layer.vlan, Address::v4(said.sender)))
    } else {
        Whose::NOBODY
    };
    if !whose.is_child() {
        // A broadcast that an access point sent to each station alone: for whom it may concern.
        let is_open = whose.0 == Whose::NOBODY.0 && said.operation == ARP_REQUEST;
        return if is_open { BROADCAST } else { 0 };
    }
    if said.target_mac == master && !packet.put_mac(layer.at + ARP_TARGET_MAC, whose.0) {
        return 0;
    }
    whose.0
}
