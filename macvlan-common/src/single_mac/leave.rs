//! A child's frame that goes on to the wire.

use super::{
    headers::{
        ARP_REPLY, ARP_SENDER_MAC, ARP_TARGET_MAC, DHCP_CLIENT, DHCP_SERVER, ICMPV6, IPV6_HEADER, Layer,
        SOURCE, UDP_HEADER, arp, has_ports, ipv4, network_layer, unicast_v4, unicast_v6,
    },
    packet::Packet,
    table::Holder,
};
use crate::{
    counters::DropReason,
    l3::{ARP, Address, IPV4, IPV6},
};

/// Extension headers of IPv6 that are walked over. Hosts send two.
const MOST_EXTENSIONS: u32 = 4;

/// Options of neighbour discovery that are walked over. A router that advertises many prefixes sends ten.
const MOST_OPTIONS: u32 = 16;

/// Why a frame of a child may not go on to a wire that carries one MAC: it is neither ARP for Ethernet nor IP, so that an
/// answer could not come back to it.
#[inline(always)]
pub fn refusal<P: Packet>(packet: &P) -> Option<DropReason> {
    const FOREIGN: Option<DropReason> = Some(DropReason::Foreign);
    let Some(layer) = network_layer(packet) else { return FOREIGN };
    match layer.kind {
        IPV4 | IPV6 => None,
        ARP if arp(packet, layer.at).is_some() => None,
        _ => FOREIGN,
    }
}

/// Gives the frame of the child with MAC `src` the `master`'s MAC, wherever it tells its own, and hears whose its
/// addresses are; `false` when that cannot be, so that it must not leave.
#[inline(always)]
pub fn leave<P: Packet>(packet: &mut P, src: u64, master: u64) -> bool {
    let Some(layer) = network_layer(packet) else { return false };
    let is_rewritten = match layer.kind {
        ARP => leave_arp(packet, layer, src, master),
        IPV4 => leave_ipv4(packet, layer, src),
        IPV6 => leave_ipv6(packet, layer, src, master),
        _ => false,
    };
    is_rewritten && packet.put_mac(SOURCE, master)
}

#[inline(always)]
fn leave_arp<P: Packet>(packet: &mut P, layer: Layer, src: u64, master: u64) -> bool {
    let Some(said) = arp(packet, layer.at) else { return false };
    let (sender, target) = (u32::from_ne_bytes(said.sender), u32::from_ne_bytes(said.target));
    if sender == 0 {
        // A probe (RFC 5227, 2.1.1): the answer names no target.
        packet.probes(layer.vlan, Address::v4(said.target), src);
    } else {
        let is_claim = said.operation == ARP_REPLY || sender == target;
        let kind = if is_claim { Holder::CLAIM } else { Holder::BARE };
        learn(packet, layer.vlan, unicast_v4(said.sender), src, kind);
    }
    let of_child = said.target_mac != 0 && packet.is_child(said.target_mac);
    packet.put_mac(layer.at + ARP_SENDER_MAC, master)
        && (!of_child || packet.put_mac(layer.at + ARP_TARGET_MAC, master))
}

#[inline(always)]
fn learn<P: Packet>(packet: &mut P, vlan: u32, address: Address, mac: u64, kind: u64) {
    if address.is_some() {
        packet.learn(vlan, address, mac, kind);
    }
}

#[inline(always)]
fn leave_ipv4<P: Packet>(packet: &mut P, layer: Layer, src: u64) -> bool {
    // What is no IP behind its MACs is nobody's.
    let Some(header) = ipv4(packet, layer.at) else { return true };
    learn(packet, layer.vlan, unicast_v4(header.source), src, Holder::BARE);
    if header.udp != 0 && has_ports(packet, header.udp, DHCP_CLIENT, DHCP_SERVER) {
        return ask_for_broadcast(packet, header.udp);
    }
    true
}

/// A DHCP server answers a client without an address to the MAC that the client says it has (RFC 2131, 4.1), which
/// the wire does not know: with the flag, it broadcasts. A relay (giaddr) has its own way.
#[inline(always)]
fn ask_for_broadcast<P: Packet>(packet: &mut P, udp: u32) -> bool {
    const FLAGS: u32 = 10;
    const BROADCAST: u16 = 0x8000;
    let message = udp + UDP_HEADER;
    let Some([first, _, flags, _, _, _, relay]) = packet.words::<7>(message) else { return true };
    let ([operation, hardware, len, _], [_, _, high, low]) = (first.to_ne_bytes(), flags.to_ne_bytes());
    let flags = u16::from_be_bytes([high, low]);
    if operation != 1 || hardware != 1 || len != 6 || relay != 0 || flags & BROADCAST != 0 {
        return true;
    }
    packet.put_half(message + FLAGS, flags, flags | BROADCAST, udp + 6)
}

#[inline(always)]
fn leave_ipv6<P: Packet>(packet: &mut P, layer: Layer, src: u64, master: u64) -> bool {
    let Some([first, second, a, b, c, d]) = packet.words::<6>(layer.at) else { return true };
    let [_, _, mut next, hops] = second.to_ne_bytes();
    if first.to_ne_bytes()[0] >> 4 != 6 {
        return true;
    }
    learn(packet, layer.vlan, unicast_v6([a, b, c, d]), src, Holder::BARE);
    // Receivers take no neighbour discovery that may have come through a router (RFC 4861, 7.1).
    if hops != 255 {
        return true;
    }
    let mut at = layer.at + IPV6_HEADER;
    for _ in 0..MOST_EXTENSIONS {
        if is_extension(next) {
            let Some([header]) = packet.words::<1>(at) else { return true };
            let [behind, len, ..] = header.to_ne_bytes();
            at += if next == AUTHENTICATION { (u32::from(len) + 2) * 4 } else { (u32::from(len) + 1) * 8 };
            next = behind;
        }
    }
    if is_extension(next) {
        // Whatever is behind, it may be neighbour discovery.
        return false;
    }
    if next != ICMPV6 {
        return true;
    }
    let [_, _, len_high, len_low] = [0, 0, second.to_ne_bytes()[0], second.to_ne_bytes()[1]];
    let len = u32::from(u16::from_be_bytes([len_high, len_low]));
    discover(packet, layer, at, layer.at + IPV6_HEADER + len, src, master)
}

const AUTHENTICATION: u8 = 51;

/// What may stand before neighbour discovery: hop-by-hop options, routing, authentication, destination options.
/// Behind a fragment header receivers take none (RFC 6980).
#[inline(always)]
const fn is_extension(kind: u8) -> bool {
    matches!(kind, 0 | 43 | AUTHENTICATION | 60)
}

/// Neighbour discovery in the ICMPv6 message from `at` to `end`: link-layer addresses of children are the master's on
/// the wire.
#[inline(always)]
fn discover<P: Packet>(packet: &mut P, layer: Layer, at: u32, end: u32, src: u64, master: u64) -> bool {
    const ADVERTISEMENT: u8 = 136;
    const OVERRIDE: u8 = 0x20;
    let Some([head, flags]) = packet.words::<2>(at) else { return true };
    let kind = head.to_ne_bytes()[0];
    // RFC 4861, 4.1 to 4.5: solicitation and advertisement of routers, then of neighbours; redirect.
    let options = match kind {
        133 => 8,
        134 => 16,
        135 | ADVERTISEMENT => 24,
        137 => 40,
        _ => return true,
    };
    if kind == ADVERTISEMENT
        && let Some(target) = packet.words::<4>(at + 8)
    {
        let is_claim = flags.to_ne_bytes()[0] & OVERRIDE != 0;
        let kind = if is_claim { Holder::CLAIM } else { Holder::BARE };
        learn(packet, layer.vlan, unicast_v6(target), src, kind);
    }
    rewrite_options(packet, at + options, end, at + 2, master)
}

#[inline(always)]
fn rewrite_options<P: Packet>(packet: &mut P, mut at: u32, end: u32, checksum: u32, master: u64) -> bool {
    for _ in 0..MOST_OPTIONS {
        if at + 8 > end {
            return true;
        }
        match packet.leave_option(at, checksum, master) {
            // Cut short: receivers take none of it.
            CUT_SHORT => return true,
            FAILED => return false,
            len => at += len,
        }
    }
    at + 8 > end
}

/// Of an option whose end is not in the frame.
const CUT_SHORT: u32 = 0;

/// Of an option without a length, or that cannot be rewritten.
const FAILED: u32 = u32::MAX;

/// Gives an option of neighbour discovery the `master`'s MAC where it names a child's; gives its length in bytes, or one of
/// `CUT_SHORT` and `FAILED`.
#[inline(always)]
pub fn leave_option<P: Packet>(packet: &mut P, at: u32, checksum: u32, master: u64) -> u32 {
    let Some(option) = packet.words::<2>(at) else { return CUT_SHORT };
    let ([kind, len, m0, m1], [m2, m3, m4, m5]) = (option[0].to_ne_bytes(), option[1].to_ne_bytes());
    if len == 0 {
        return FAILED;
    }
    // Link-layer address of the source, of the target (RFC 4861, 4.6.1).
    if matches!(kind, 1 | 2)
        && len == 1
        && packet.is_child(u64::from_le_bytes([m0, m1, m2, m3, m4, m5, 0, 0]))
    {
        let [n0, n1, n2, n3, n4, n5, _, _] = master.to_le_bytes();
        let new = [u32::from_ne_bytes([kind, len, n0, n1]), u32::from_ne_bytes([n2, n3, n4, n5])];
        if !packet.put_option(at, option, new, checksum) {
            return FAILED;
        }
    }
    u32::from(len) * 8
}
