//! How many bytes a segmentation-offloaded frame is once it is cut for the wire.
//!
//! The stack hands over one frame of up to 64 KiB (or more) that stands for many: each of them
//! repeats the headers, which appear only once in its length.

/// Bytes of the headers that every segment repeats: Ethernet, up to two VLAN tags, IPv4 or
/// IPv6, TCP or UDP.
///
/// `load16` gives the 16 bits at an offset, big endian, or `None` beyond the frame. What is not
/// understood (IPv6 extension headers, tunnels) adds what is understood up to there.
#[inline(always)]
pub fn header_len(load16: impl Fn(u32) -> Option<u16>) -> u32 {
    let (Some(ethertype), l3) = behind_vlan_tags(&load16) else {
        return ETHERNET_LEN;
    };
    let (protocol, l4) = match ethertype {
        ETH_P_IP => {
            let (Some(first), Some(ttl_protocol)) = (load16(l3), load16(l3 + 8)) else {
                return l3;
            };
            (ttl_protocol & 0xff, l3 + u32::from(first >> 8 & 0xf) * 4)
        }
        ETH_P_IPV6 => match load16(l3 + 6) {
            Some(next_hop_limit) => (next_hop_limit >> 8, l3 + 40),
            None => return l3,
        },
        _ => return l3,
    };
    match protocol {
        IPPROTO_TCP => match load16(l4 + 12) {
            Some(offset_flags) => l4 + u32::from(offset_flags >> 12) * 4,
            None => l4,
        },
        IPPROTO_UDP => l4 + 8,
        _ => l4,
    }
}

/// Bytes on the wire of a frame of `len` bytes that stands for `segments` frames.
#[inline(always)]
pub const fn wire_len(len: u32, segments: u32, header_len: u32) -> u64 {
    len as u64 + segments.saturating_sub(1) as u64 * header_len as u64
}

const ETHERNET_LEN: u32 = 14;
const VLAN_LEN: u32 = 4;
const ETH_P_IP: u16 = 0x0800;
const ETH_P_IPV6: u16 = 0x86dd;
const ETH_P_8021Q: u16 = 0x8100;
const ETH_P_8021AD: u16 = 0x88a8;
const IPPROTO_TCP: u16 = 6;
const IPPROTO_UDP: u16 = 17;

/// The EtherType behind the VLAN tags, and where its payload starts.
#[inline(always)]
fn behind_vlan_tags(load16: &impl Fn(u32) -> Option<u16>) -> (Option<u16>, u32) {
    let outer = load16(12);
    if !is_vlan(outer) {
        return (outer, ETHERNET_LEN);
    }
    let inner = load16(16);
    if !is_vlan(inner) {
        return (inner, ETHERNET_LEN + VLAN_LEN);
    }
    (load16(20), ETHERNET_LEN + 2 * VLAN_LEN)
}

#[inline(always)]
fn is_vlan(ethertype: Option<u16>) -> bool {
    matches!(ethertype, Some(ETH_P_8021Q | ETH_P_8021AD))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn of(frame: &[u8]) -> u32 {
        header_len(|offset| {
            let bytes = frame.get(offset as usize..)?.get(..2)?;
            Some(u16::from_be_bytes([bytes[0], bytes[1]]))
        })
    }

    /// A frame with `tags` VLAN tags, then `l3`.
    fn frame(tags: usize, ethertype: u16, l3: &[u8]) -> Vec<u8> {
        let mut frame = vec![0; 12];
        for _ in 0..tags {
            frame.extend([0x81, 0x00, 0x00, 0x0a]);
        }
        frame.extend(ethertype.to_be_bytes());
        frame.extend(l3);
        frame
    }

    fn ipv4(ihl: u8, protocol: u8, l4: &[u8]) -> Vec<u8> {
        let mut packet = vec![0; usize::from(ihl) * 4];
        packet[0] = 0x40 | ihl;
        packet[9] = protocol;
        packet.extend(l4);
        packet
    }

    fn tcp(words: u8) -> Vec<u8> {
        let mut header = vec![0; usize::from(words) * 4];
        header[12] = words << 4;
        header
    }

    #[test]
    fn tcp_over_ipv4_with_options_and_tags() {
        for tags in 0..=2 {
            let frame = frame(tags, ETH_P_IP, &ipv4(6, 6, &tcp(8)));
            assert_eq!(of(&frame) as usize, 14 + 4 * tags + 24 + 32);
        }
    }

    #[test]
    fn udp_over_ipv6() {
        let mut packet = vec![0; 48];
        packet[6] = 17;
        assert_eq!(of(&frame(0, ETH_P_IPV6, &packet)), 14 + 40 + 8);
    }

    #[test]
    fn a_cut_off_frame_counts_what_is_there() {
        assert_eq!(of(&[]), 14);
        assert_eq!(of(&frame(0, ETH_P_IP, &[0x45])), 14);
        assert_eq!(of(&frame(0, 0x88cc, &[0; 40])), 14);
    }

    #[test]
    fn segments_repeat_the_headers() {
        assert_eq!(wire_len(66 + 3 * 1448, 3, 66), 3 * (66 + 1448));
        assert_eq!(wire_len(60, 0, 54), 60);
        assert_eq!(wire_len(60, 1, 54), 60);
    }

    proptest! {
        #[test]
        fn any_frame_has_a_bounded_header(frame: Vec<u8>) {
            prop_assert!(of(&frame) <= 14 + 8 + 60 + 60);
        }
    }
}
