//! What is in frames: IP packets and UDP datagrams.

use std::net::{Ipv4Addr, Ipv6Addr};

use etherparse::{IpNumber, Ipv4Header, Ipv6FlowLabel, Ipv6Header, UdpHeader, checksum::Sum16BitWords};

/// An IPv4 packet.
pub fn ipv4(src: Ipv4Addr, dst: Ipv4Addr, protocol: u8, payload: &[u8]) -> Vec<u8> {
    let mut header = Ipv4Header {
        total_len: (Ipv4Header::MIN_LEN + payload.len()) as u16,
        dont_fragment: true,
        time_to_live: 64,
        protocol: IpNumber(protocol),
        source: src.octets(),
        destination: dst.octets(),
        ..Ipv4Header::default()
    };
    header.header_checksum = header.calc_header_checksum();
    [&header.to_bytes()[..], payload].concat()
}

/// An IPv6 packet.
pub fn ipv6(src: Ipv6Addr, dst: Ipv6Addr, next_header: u8, payload: &[u8]) -> Vec<u8> {
    let header = Ipv6Header {
        traffic_class: 0,
        flow_label: Ipv6FlowLabel::ZERO,
        payload_length: payload.len() as u16,
        next_header: IpNumber(next_header),
        hop_limit: 255,
        source: src.octets(),
        destination: dst.octets(),
    };
    [&header.to_bytes()[..], payload].concat()
}

/// A UDP datagram without a checksum, which IPv4 allows.
pub fn udp(src_port: u16, dst_port: u16, payload: &[u8]) -> Vec<u8> {
    let length = (UdpHeader::LEN + payload.len()) as u16;
    let header = UdpHeader { source_port: src_port, destination_port: dst_port, length, checksum: 0 };
    [&header.to_bytes()[..], payload].concat()
}

/// A neighbour solicitation (RFC 4861, 4.3) for `target` without options, as a whole IPv6 packet.
pub fn neighbour_solicitation(src: Ipv6Addr, target: Ipv6Addr) -> Vec<u8> {
    let bytes = target.octets();
    let group =
        Ipv6Addr::from([0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0xff, bytes[13], bytes[14], bytes[15]]);
    neighbour_solicitation_to(group, src, target)
}

/// One to this group instead of that of the target.
pub fn neighbour_solicitation_to(group: Ipv6Addr, src: Ipv6Addr, target: Ipv6Addr) -> Vec<u8> {
    neighbour_message(135, 0, src, group, target)
}

/// A neighbour advertisement (RFC 4861, 4.4) of `target` to all nodes, overriding.
pub fn neighbour_advertisement(src: Ipv6Addr, target: Ipv6Addr) -> Vec<u8> {
    const OVERRIDE: u8 = 0x20;
    neighbour_message(136, OVERRIDE, src, Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1), target)
}

fn neighbour_message(kind: u8, flags: u8, src: Ipv6Addr, dst: Ipv6Addr, target: Ipv6Addr) -> Vec<u8> {
    const ICMPV6: u8 = 58;
    let mut message = [&[kind, 0, 0, 0, flags, 0, 0, 0][..], &target.octets()].concat();
    let mut pseudo = Sum16BitWords::new().add_16bytes(src.octets()).add_16bytes(dst.octets());
    let pseudo = pseudo.add_4bytes((message.len() as u32).to_be_bytes()).add_4bytes([0, 0, 0, ICMPV6]);
    let sum = pseudo.add_slice(&message).ones_complement().to_be();
    message[2..4].copy_from_slice(&sum.to_be_bytes());
    ipv6(src, dst, ICMPV6, &message)
}

/// The internet checksum (RFC 1071).
pub fn checksum(data: &[u8]) -> u16 {
    Sum16BitWords::new().add_slice(data).ones_complement().to_be()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_packet_with_its_checksum_in_place_sums_to_zero() {
        let (a, b) = (Ipv4Addr::new(10, 9, 0, 1), Ipv4Addr::new(10, 9, 0, 2));
        assert_eq!(checksum(&ipv4(a, b, 17, &[])), 0);
    }

    #[test]
    fn a_neighbour_message_sums_to_zero_with_its_pseudo_header() {
        let (a, b) = (Ipv6Addr::new(0xfd09, 0, 0, 0, 0, 0, 0, 1), Ipv6Addr::new(0xfd09, 0, 0, 0, 0, 0, 0, 2));
        let packet = neighbour_solicitation(a, b);
        // Length and next header of RFC 8200, 8.1, behind the addresses.
        let pseudo = [&packet[8..40], &[0, 0, 0, 24, 0, 0, 0, 58], &packet[40..]].concat();
        assert_eq!((checksum(&pseudo), packet.len()), (0, 40 + 24));
    }

    #[test]
    fn the_checksum_example_of_rfc_1071() {
        assert_eq!(checksum(&[0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7]), !0xddf2);
    }
}
