//! IPv6: whose address the source is, who is a router, who serves DHCP.

use super::packet::{Packet, SPOOFED, UDP, unreadable};
use crate::{child::Policy, counters::DropReason, l3::Address};

/// Bytes of an IPv6 header.
const HEADER: u32 = 40;

/// Extension headers that are walked over; who sends more is not understood. Hosts send two.
const MOST_EXTENSIONS: u32 = 8;

/// Options of a message of neighbour discovery that are walked over. A router that advertises many prefixes
/// sends ten.
const MOST_OPTIONS: u32 = 16;

// Next headers (RFC 8200, 4.1; RFC 4302).
const HOP_BY_HOP: u8 = 0;
const ROUTING: u8 = 43;
const FRAGMENT: u8 = 44;
const AUTHENTICATION: u8 = 51;
const DESTINATION: u8 = 60;
pub const ICMPV6: u8 = 58;

// Types of ICMPv6 (RFC 2710, RFC 3810, RFC 4861).
const LISTENER_REPORT: u8 = 131;
const LISTENER_DONE: u8 = 132;
const ROUTER_SOLICITATION: u8 = 133;
pub const ROUTER_ADVERTISEMENT: u8 = 134;
const NEIGHBOUR_SOLICITATION: u8 = 135;
const NEIGHBOUR_ADVERTISEMENT: u8 = 136;
pub const REDIRECT: u8 = 137;
const LISTENER_REPORT_2: u8 = 143;

/// Ports of DHCPv6 (RFC 8415, 7.2).
pub const SERVER: u16 = 547;
pub const CLIENT: u16 = 546;

/// Where the upper layer is.
struct Upper {
    kind: u8,
    at: u32,
    /// Where the packet ends; behind it is padding.
    end: u32,
}

/// The source must be the child's own, or unspecified in what a host sends before it has an address; the
/// target of a neighbour advertisement likewise, and the link-layer address in what discovers neighbours and
/// routers its MAC. Router advertisements, redirects and DHCP servers'
/// messages are found behind extension headers too, as RFC 7113 asks: a chain of headers that does
/// not end within the first fragment is dropped.
#[inline(always)]
pub fn inspect<P: Packet>(policy: Policy, mac: u64, at: u32, packet: &P) -> Option<DropReason> {
    let holds = policy.is_held_to_addresses();
    let Some([first, second, a, b, c, d]) = packet.words::<6>(at) else { return unreadable(policy) };
    let [version, ..] = first.to_ne_bytes();
    let [len_high, len_low, next, _] = second.to_ne_bytes();
    if version >> 4 != 6 {
        return unreadable(policy);
    }
    let source = Address([a, b, c, d]);
    let is_unset = !source.is_some();
    if holds && !is_unset && !packet.owns(source) {
        return SPOOFED;
    }
    let len = u32::from(u16::from_be_bytes([len_high, len_low]));
    // Larger than 64 KiB: a frame yet to be cut.
    let end = if len == 0 { u32::MAX } else { at + HEADER + len };
    let mut upper = Upper { kind: next, at: at + HEADER, end };
    for _ in 0..MOST_EXTENSIONS {
        if is_extension(upper.kind) {
            let Some([header]) = packet.words::<1>(upper.at) else { return unwalkable(policy) };
            let [next, len, offset_high, offset_low] = header.to_ne_bytes();
            if upper.kind == FRAGMENT && (offset_high != 0 || offset_low & 0xf8 != 0) {
                // The first fragment had, or had not, what is looked for.
                return if holds && is_unset { SPOOFED } else { None };
            }
            upper.at += match upper.kind {
                FRAGMENT => 8,
                AUTHENTICATION => (u32::from(len) + 2) * 4,
                _ => (u32::from(len) + 1) * 8,
            };
            upper.kind = next;
            if upper.at > end {
                return unwalkable(policy);
            }
        }
    }
    match upper.kind {
        ICMPV6 if holds || !policy.ra() => icmp(policy, mac, is_unset, &upper, packet),
        UDP if !policy.dhcp_server() => udp(holds && is_unset, &upper, packet),
        kind if is_extension(kind) => unwalkable(policy),
        _ if holds && is_unset => SPOOFED,
        _ => None,
    }
}

#[inline(always)]
pub const fn is_extension(kind: u8) -> bool {
    matches!(kind, HOP_BY_HOP | ROUTING | FRAGMENT | AUTHENTICATION | DESTINATION)
}

/// A chain of headers that has no end here.
#[inline(always)]
const fn unwalkable(policy: Policy) -> Option<DropReason> {
    if !policy.ra() { Some(DropReason::RaGuard) } else { unreadable(policy) }
}

#[inline(always)]
fn icmp<P: Packet>(
    policy: Policy,
    mac: u64,
    is_unset: bool,
    upper: &Upper,
    packet: &P,
) -> Option<DropReason> {
    let Some([head]) = packet.words::<1>(upper.at) else { return unwalkable(policy) };
    if upper.at + 4 > upper.end {
        return unwalkable(policy);
    }
    let [kind, ..] = head.to_ne_bytes();
    if !policy.ra() && matches!(kind, ROUTER_ADVERTISEMENT | REDIRECT) {
        return Some(DropReason::RaGuard);
    }
    if !policy.is_held_to_addresses() {
        return None;
    }
    if is_unset && !is_said_without_address(kind) {
        return SPOOFED;
    }
    if kind == NEIGHBOUR_ADVERTISEMENT {
        let Some(target) = packet.words::<4>(upper.at + 8) else { return SPOOFED };
        if upper.at + 24 > upper.end || !packet.owns(Address(target)) {
            return SPOOFED;
        }
    }
    match options_of(kind) {
        Some(behind) if !names_only(mac, upper.at + behind, upper.end, packet) => SPOOFED,
        _ => None,
    }
}

/// Where the options of a message begin that tells the sender's MAC. A redirect tells another's.
#[inline(always)]
const fn options_of(kind: u8) -> Option<u32> {
    match kind {
        ROUTER_SOLICITATION => Some(8),
        ROUTER_ADVERTISEMENT => Some(16),
        NEIGHBOUR_SOLICITATION | NEIGHBOUR_ADVERTISEMENT => Some(24),
        _ => None,
    }
}

/// Whether each link-layer address among these options is this MAC (RFC 4861, 4.6.1). One of another length
/// than Ethernet's, an empty option, and more options than are walked over are none.
#[inline(always)]
fn names_only<P: Packet>(mac: u64, mut at: u32, end: u32, packet: &P) -> bool {
    const SOURCE: u8 = 1;
    const TARGET: u8 = 2;
    for _ in 0..MOST_OPTIONS {
        if at + 8 > end {
            return true;
        }
        let Some([first, second]) = packet.words::<2>(at) else { return false };
        let [kind, len, m0, m1] = first.to_ne_bytes();
        let [m2, m3, m4, m5] = second.to_ne_bytes();
        let is_foreign = u64::from_le_bytes([m0, m1, m2, m3, m4, m5, 0, 0]) != mac;
        if len == 0 || (matches!(kind, SOURCE | TARGET) && (len != 1 || is_foreign)) {
            return false;
        }
        at += u32::from(len) * 8;
    }
    at + 8 > end
}

/// What a host may send from no address: to find duplicates, routers, and to join groups for that
/// (RFC 4862, 5.4.2; RFC 3590).
#[inline(always)]
const fn is_said_without_address(kind: u8) -> bool {
    matches!(
        kind,
        LISTENER_REPORT | LISTENER_DONE | ROUTER_SOLICITATION | NEIGHBOUR_SOLICITATION | LISTENER_REPORT_2
    )
}

#[inline(always)]
fn udp<P: Packet>(is_spoofed: bool, upper: &Upper, packet: &P) -> Option<DropReason> {
    let Some([ports]) = packet.words::<1>(upper.at) else { return Some(DropReason::DhcpGuard) };
    let [from_high, from_low, to_high, to_low] = ports.to_ne_bytes();
    let is_server = u16::from_be_bytes([from_high, from_low]) == SERVER;
    let is_for_client = u16::from_be_bytes([to_high, to_low]) == CLIENT;
    if is_server || is_for_client || upper.at + 4 > upper.end {
        return Some(DropReason::DhcpGuard);
    }
    if is_spoofed { SPOOFED } else { None }
}
