//! Control frames: what tells a host how to configure itself. A child's reach the host only where it may
//! say so: through a bridge, too, a host listens to its own uplink, and not to its containers.

use super::{
    LEAST_ETHERTYPE, inspect, ipv4, ipv6, is_tag,
    packet::{Packet, UDP},
};
use crate::{
    child::{Mode, Policy},
    l3::{IPV4, IPV6},
};

/// The policy under which [`inspect`] refuses control frames, and nothing else.
pub const CONTROL: Policy = Policy::new(Mode::Bridge, true).with_ra(false).with_dhcp_server(false);

/// Whether the frame is a router advertisement, a redirect or a DHCP server's, or cannot be told from one.
#[inline(always)]
pub fn is_control<P: Packet>(packet: &P) -> bool {
    inspect(CONTROL, 0, packet).is_some()
}

/// Whether [`is_control`] may hold, by the bytes at fixed places: `false` is certain, and costs next to
/// nothing. `half` gives the 16 bits at an offset from the destination MAC, `None` where they are not read
/// cheaply.
#[inline(always)]
pub fn may_be_control(half: impl Fn(u32) -> Option<u16>) -> bool {
    match half(12) {
        Some(IPV4) => may_be_served(&half),
        Some(IPV6) => may_be_routed(&half),
        Some(kind) => kind < LEAST_ETHERTYPE || is_tag(kind),
        None => true,
    }
}

/// Whether an IPv4 packet is anything but one of another protocol, or between other ports. One with options
/// is not looked into.
#[inline(always)]
fn may_be_served(half: &impl Fn(u32) -> Option<u16>) -> bool {
    /// Version 4, five words of header.
    const PLAIN: u16 = 0x45;
    /// Bytes of that header, and of UDP's.
    const LEAST: u16 = 28;
    let (Some(first), Some(len), Some(protocol), Some(_)) = (half(14), half(16), half(22), half(32)) else {
        return true;
    };
    if first >> 8 != PLAIN || len < LEAST {
        return true;
    }
    if protocol.to_be_bytes()[1] != UDP {
        return false;
    }
    let (Some(from), Some(to)) = (half(34), half(36)) else { return true };
    from == ipv4::SERVER || to == ipv4::CLIENT
}

/// The same of an IPv6 packet. One with extension headers is not looked into.
#[inline(always)]
fn may_be_routed(half: &impl Fn(u32) -> Option<u16>) -> bool {
    /// Bytes of the shortest header of UDP or ICMPv6 that has all that is looked at.
    const LEAST: u16 = 8;
    let (Some(first), Some(len), Some(next), Some(_)) = (half(14), half(18), half(20), half(52)) else {
        return true;
    };
    if first >> 12 != 6 || len < LEAST {
        return true;
    }
    let next = next.to_be_bytes()[0];
    if next == UDP {
        let (Some(from), Some(to)) = (half(54), half(56)) else { return true };
        return from == ipv6::SERVER || to == ipv6::CLIENT;
    }
    if next == ipv6::ICMPV6 {
        let (Some(kind), Some(_)) = (half(54), half(56)) else { return true };
        return matches!(kind.to_be_bytes()[0], ipv6::ROUTER_ADVERTISEMENT | ipv6::REDIRECT);
    }
    ipv6::is_extension(next)
}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, prelude::*, sample::select};

    use super::*;
    use crate::inspect::cases::{self, MemoryPacket, OWN4, OWN6, frame, ipv4, ipv6, tagged, udp};

    fn told(bytes: &[u8]) -> (bool, bool) {
        let half = |at: u32| {
            let two = bytes.get(at as usize..)?.first_chunk()?;
            Some(u16::from_be_bytes(*two))
        };
        (may_be_control(half), is_control(&MemoryPacket { frame: bytes, own: &[] }))
    }

    #[test]
    fn what_configures_hosts_is_told_from_the_rest() {
        let advertisement = ipv6(OWN6, 58, &[134, 0, 0, 0, 0, 0, 0, 0]);
        let redirect = ipv6(OWN6, 58, &[137, 0, 0, 0, 0, 0, 0, 0]);
        let offer = ipv4(OWN4, 17, 0, &udp(67, 68, &[0; 4]));
        let offer6 = ipv6(OWN6, 17, &udp(547, 546, &[0; 4]));
        for (tags, (kind, packet)) in (0..3).flat_map(|tags| {
            [(0x86dd, &advertisement), (0x86dd, &redirect), (0x0800, &offer), (0x86dd, &offer6)]
                .map(|packet| (tags, packet))
        }) {
            assert_eq!(told(&frame(&tagged(tags, kind, packet))), (true, true), "{packet:02x?}");
        }
        let solicitation = ipv6(OWN6, 58, &[135, 0, 0, 0, 0, 0, 0, 0]);
        let request = ipv4(OWN4, 17, 0, &udp(68, 67, &[0; 4]));
        let segment = ipv4(OWN4, 6, 0, &[0; 20]);
        let segment6 = ipv6(OWN6, 6, &[0; 20]);
        for (kind, packet) in [
            (0x86dd, solicitation),
            (0x0800, request),
            (0x0800, segment),
            (0x86dd, segment6),
            (0x0806, vec![]),
        ] {
            assert_eq!(told(&frame(&tagged(0, kind, &packet))), (false, false), "{packet:02x?}");
        }
    }

    proptest! {
        #[test]
        fn nothing_is_ruled_out_that_is_one(
            kind in select(&[0x0800_u16, 0x86dd, 0x8100, 0x88a8, 0x9100, 0x0806, 40][..]), mut bytes in vec(any::<u8>(), 14..120),
        ) {
            bytes.splice(12..14, kind.to_be_bytes());
            let (may_be, is) = told(&bytes);
            prop_assert!(may_be || !is);
        }

        #[test]
        fn nor_where_a_case_of_the_guards_is_cut(case in select(cases::all()), len in 14..120_usize) {
            let (may_be, is) = told(&case.frame[..len.min(case.frame.len())]);
            prop_assert!(may_be || !is);
        }
    }
}
