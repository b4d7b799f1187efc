//! Whether a guarded child may send the payload of a frame: its own addresses, and router advertisements
//! and DHCP server messages only if they are allowed.
//!
//! As [`decide`](mod@crate::decide), one pure function; [`Packet`] hands it the bytes that it asks
//! for. A frame that an enabled guard cannot read is dropped. Protocols other than ARP,
//! IPv4 and IPv6 pass, be they told by an EtherType or by LLC and SNAP: they carry none of this.

#[cfg(any(test, feature = "cases"))]
pub mod cases;
mod control;
mod ipv4;
mod ipv6;
pub mod packet;

use self::packet::{SPOOFED, unreadable};
pub use self::{
    control::{CONTROL, is_control, may_be_control},
    packet::Packet,
};
use crate::{
    child::Policy,
    counters::DropReason,
    l3::{ARP, Address, IPV4, IPV6},
};

/// An address that a child held to its addresses has: a key of the map of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
#[repr(C)]
pub struct OwnAddress {
    /// The address.
    pub address: Address,
    /// Key of the child's MAC.
    pub mac: u64,
}

/// Bytes of a VLAN tag.
const TAG_LEN: u32 = 4;

/// Below it, what stands for an EtherType is a length, and LLC follows: `ETH_P_802_3_MIN` in
/// include/uapi/linux/if_ether.h.
const LEAST_ETHERTYPE: u16 = 0x600;
/// Bytes of LLC and SNAP.
const SNAP_LEN: u32 = 8;

/// Where the EtherType of a frame is.
const ETHERTYPE: u32 = 12;

/// Why this frame of a child with this policy and MAC (its key) is dropped; `None` lets it pass.
///
/// Up to two VLAN tags in the frame are looked behind, and LLC and SNAP then. The MACs were judged before.
#[inline(always)]
pub fn inspect<P: Packet>(policy: Policy, mac: u64, packet: &P) -> Option<DropReason> {
    // A shorter frame has no payload.
    let mut kind = packet.half(ETHERTYPE)?;
    let mut at = ETHERTYPE + 2;
    for _ in 0..2 {
        if is_tag(kind) {
            let Some(inner) = packet.half(at + TAG_LEN - 2) else { return unreadable(policy) };
            kind = inner;
            at += TAG_LEN;
        }
    }
    if kind < LEAST_ETHERTYPE {
        match behind_llc(at, packet) {
            Behind::Nothing => return None,
            Behind::Ip => return unreadable(policy),
            Behind::Kind(inner) => kind = inner,
        }
        at += SNAP_LEN;
    }
    match kind {
        ARP => arp(policy, mac, at, packet),
        IPV4 => ipv4::inspect(policy, at, packet),
        IPV6 => ipv6::inspect(policy, mac, at, packet),
        kind if is_tag(kind) => unreadable(policy),
        _ => None,
    }
}

/// Whether this EtherType is that of a VLAN tag: 802.1Q, 802.1ad, or one that switches took for the latter
/// before it was (`ETH_P_QINQ1` and its like in include/uapi/linux/if_ether.h).
#[inline(always)]
const fn is_tag(kind: u16) -> bool {
    matches!(kind, 0x8100 | 0x88a8 | 0x9100 | 0x9200 | 0x9300)
}

/// What an LLC header tells of what is behind it.
enum Behind {
    /// Neither IP nor ARP.
    Nothing,
    /// One of these, in a way that nobody uses any more (RFC 948).
    Ip,
    /// What this EtherType says (RFC 1042).
    Kind(u16),
}

/// Receivers differ in what they make of the control byte, and of the bit that tells answers: neither counts.
#[inline(always)]
fn behind_llc<P: Packet>(at: u32, packet: &P) -> Behind {
    const SNAP: u8 = 0xaa;
    const IP: u8 = 0x06;
    const ARP: u8 = 0x98;
    let Some(saps) = packet.half(at) else { return Behind::Nothing };
    match saps.to_be_bytes()[0] & !1 {
        IP | ARP => Behind::Ip,
        SNAP => match packet.words::<2>(at) {
            Some([first, second]) => {
                let ([_, _, _, vendor], [high, low, k0, k1]) = (first.to_ne_bytes(), second.to_ne_bytes());
                // RFC 1042, and what bridges make of an Ethernet frame on other media (802.1H).
                match [vendor, high, low] {
                    [0, 0, 0 | 0xf8] => Behind::Kind(u16::from_be_bytes([k0, k1])),
                    _ => Behind::Nothing,
                }
            }
            None => Behind::Nothing,
        },
        _ => Behind::Nothing,
    }
}

/// An ARP packet must name the child's MAC and one of its addresses as the sender's. One with no
/// sender address is a probe for duplicates (RFC 5227), and must ask.
#[inline(always)]
fn arp<P: Packet>(policy: Policy, mac: u64, at: u32, packet: &P) -> Option<DropReason> {
    // Ethernet and IPv4, addresses of 6 and 4 bytes. Receivers take other hardware types for
    // Ethernet too (`arp_process` in net/ipv4/arp.c): no honest sender writes them.
    const ETHERNET_IPV4: u32 = u32::from_ne_bytes([0, 1, 8, 0]);
    const REQUEST: u8 = 1;
    if !policy.is_held_to_addresses() {
        return None;
    }
    let Some([types, lengths, hardware, middle, end]) = packet.words::<5>(at) else { return SPOOFED };
    let [hardware_len, protocol_len, operation_high, operation] = lengths.to_ne_bytes();
    if types != ETHERNET_IPV4 || hardware_len != 6 || protocol_len != 4 {
        return SPOOFED;
    }
    let [h0, h1, h2, h3] = hardware.to_ne_bytes();
    let [h4, h5, p0, p1] = middle.to_ne_bytes();
    let [p2, p3, _, _] = end.to_ne_bytes();
    if u64::from_le_bytes([h0, h1, h2, h3, h4, h5, 0, 0]) != mac {
        return SPOOFED;
    }
    let sender = [p0, p1, p2, p3];
    let is_lawful = if u32::from_ne_bytes(sender) == 0 {
        operation_high == 0 && operation == REQUEST
    } else {
        packet.owns(Address::v4(sender))
    };
    if is_lawful { None } else { SPOOFED }
}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, prelude::*, sample::select};

    use super::{
        cases::{CHILD, FOREIGN4, FOREIGN6, MemoryPacket, OWN4, OWN6, frame, ipv4, ipv6, tagged, udp},
        *,
    };
    use crate::child::{ANTI_SPOOFS, AntiSpoof, Mode};

    const OPEN: Policy = Policy::new(Mode::Bridge, true);
    const HELD: Policy = OPEN.with_anti_spoof(AntiSpoof::Ip);

    fn judged(policy: Policy, bytes: &[u8]) -> Option<DropReason> {
        inspect(policy, CHILD.key(), &MemoryPacket { frame: bytes, own: &cases::own() })
    }

    #[test]
    fn every_case() {
        for case in cases::all() {
            assert_eq!(judged(case.policy, &case.frame), case.verdict, "{}: {:02x?}", case.row, case.frame);
        }
    }

    fn policy() -> impl Strategy<Value = Policy> {
        (select(&ANTI_SPOOFS[..]), any::<bool>(), any::<bool>())
            .prop_map(|(degree, ra, dhcp)| OPEN.with_anti_spoof(degree).with_ra(ra).with_dhcp_server(dhcp))
    }

    /// Extension headers that may stand before any upper layer: their kinds and lengths in the header.
    fn extensions() -> impl Strategy<Value = Vec<(u8, u8)>> {
        vec((select(&[0, 43, 51, 60][..]), 0..4_u8), 0..10)
    }

    /// These headers with `upper` behind them: the first one's kind, and the bytes.
    fn chain(headers: &[(u8, u8)], upper: u8, payload: &[u8]) -> (u8, Vec<u8>) {
        let followers = headers.iter().skip(1).map(|(kind, _)| *kind).chain([upper]);
        let mut bytes = Vec::new();
        for ((kind, len), next) in headers.iter().zip(followers) {
            let units = if *kind == 51 { (usize::from(*len) + 2) * 4 } else { (usize::from(*len) + 1) * 8 };
            let start = bytes.len();
            bytes.extend([next, *len]);
            bytes.resize(start + units, 0);
        }
        bytes.extend(payload);
        (headers.first().map_or(upper, |(kind, _)| *kind), bytes)
    }

    proptest! {
        #[test]
        fn any_bytes_are_judged_and_only_what_is_on_drops(policy in policy(), bytes in vec(any::<u8>(), 0..200)) {
            let verdict = judged(policy, &bytes);
            let lawful = match verdict {
                None => true,
                Some(DropReason::Spoofed) => policy.is_held_to_addresses(),
                Some(DropReason::RaGuard) => !policy.ra(),
                Some(DropReason::DhcpGuard) => !policy.dhcp_server(),
                Some(_) => false,
            };
            prop_assert!(lawful, "{policy:?}: {verdict:?}");
        }

        #[test]
        fn no_advertisement_gets_through_behind_whatever_headers(
            headers in extensions(), kind in select(&[134_u8, 137][..]), tags in 0..4_usize,
        ) {
            let (next, payload) = chain(&headers, 58, &[kind, 0, 0, 0, 0, 0, 0, 0]);
            let bytes = frame(&tagged(tags, 0x86dd, &ipv6(OWN6, next, &payload)));
            prop_assert_eq!(judged(OPEN.with_ra(false), &bytes), Some(DropReason::RaGuard));
            prop_assert_eq!(judged(OPEN.with_dhcp_server(false), &bytes).is_some(), tags > 2 || headers.len() > 8);
            prop_assert_eq!(judged(OPEN, &bytes), None);
        }

        #[test]
        fn other_traffic_with_own_addresses_is_undisturbed(
            headers in extensions(), tags in 0..3_usize, port in 1024..60_000_u16, to in 1024..60_000_u16,
            len in 0..64_usize,
        ) {
            let all = HELD.with_ra(false).with_dhcp_server(false);
            let message = udp(port, to, &vec![0; len]);
            let (next, payload) = chain(&headers[..headers.len().min(8)], 17, &message);
            for bytes in [
                frame(&tagged(tags, 0x86dd, &ipv6(OWN6, next, &payload))),
                frame(&tagged(tags, 0x0800, &ipv4(OWN4, 17, 0, &message))),
            ] {
                prop_assert_eq!(judged(all, &bytes), None);
            }
        }

        #[test]
        fn no_address_but_its_own_gets_through(
            protocol: u8, payload in vec(any::<u8>(), 0..64), fragment: u16, tags in 0..4_usize, v6: bool,
        ) {
            let packet = if v6 {
                tagged(tags, 0x86dd, &ipv6(FOREIGN6, protocol, &payload))
            } else {
                tagged(tags, 0x0800, &ipv4(FOREIGN4, protocol, fragment, &payload))
            };
            prop_assert_eq!(judged(HELD, &frame(&packet)), Some(DropReason::Spoofed));
        }

        #[test]
        fn a_cut_frame_is_no_way_around(case in select(cases::all()), len in 14..120_usize) {
            let cut = &case.frame[..len.min(case.frame.len())];
            let kind = cases::network_layer(cut);
            if case.verdict == Some(DropReason::Spoofed) && matches!(kind, Some(ARP | IPV4 | IPV6)) {
                prop_assert_eq!(judged(HELD, cut), Some(DropReason::Spoofed));
            }
        }
    }
}
