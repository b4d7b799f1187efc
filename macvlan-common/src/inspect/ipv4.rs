//! IPv4: whose address the source is, and who serves DHCP.

use super::packet::{Packet, SPOOFED, UDP};
use crate::{child::Policy, counters::DropReason, l3::Address};

/// Ports of DHCP (RFC 2131, 4.1).
pub const SERVER: u16 = 67;
pub const CLIENT: u16 = 68;

/// Bytes of a header without options.
const LEAST_HEADER: u32 = 20;

/// The source must be the child's own or, in a DHCP client's request, unspecified. What a DHCP server
/// or relay sends comes from the server's port; what is for a client, to the client's.
#[inline(always)]
pub fn inspect<P: Packet>(policy: Policy, at: u32, packet: &P) -> Option<DropReason> {
    let (holds, guards) = (policy.is_held_to_addresses(), !policy.dhcp_server());
    if !holds && !guards {
        return None;
    }
    let Some([first, fragment, protocol, source]) = packet.words::<4>(at) else { return unlawful(holds) };
    let [version, _, len_high, len_low] = first.to_ne_bytes();
    let [_, _, offset_high, offset_low] = fragment.to_ne_bytes();
    let [_, protocol, _, _] = protocol.to_ne_bytes();
    let header = u32::from(version & 0xf) * 4;
    if version >> 4 != 4 || header < LEAST_HEADER {
        return unlawful(holds);
    }
    let is_unset = source == 0;
    if holds && !is_unset && !packet.owns(Address::v4(source.to_ne_bytes())) {
        return SPOOFED;
    }
    let must_be_request = holds && is_unset;
    if !must_be_request && !guards {
        return None;
    }
    // Only the first fragment has ports.
    let is_first = offset_high & 0x1f == 0 && offset_low == 0;
    if protocol != UDP || !is_first {
        return if must_be_request { SPOOFED } else { None };
    }
    // What lies behind the packet's end is padding, not ports.
    let has_ports = u32::from(u16::from_be_bytes([len_high, len_low])) >= header + 4;
    let Some([ports]) = packet.words::<1>(at + header) else { return unlawful(!guards) };
    if !has_ports {
        return unlawful(!guards);
    }
    let [from_high, from_low, to_high, to_low] = ports.to_ne_bytes();
    let (from, to) = (u16::from_be_bytes([from_high, from_low]), u16::from_be_bytes([to_high, to_low]));
    if guards && (from == SERVER || to == CLIENT) {
        return Some(DropReason::DhcpGuard);
    }
    if must_be_request && !(from == CLIENT && to == SERVER) {
        return SPOOFED;
    }
    None
}

#[inline(always)]
const fn unlawful(spoofed: bool) -> Option<DropReason> {
    if spoofed { SPOOFED } else { Some(DropReason::DhcpGuard) }
}
