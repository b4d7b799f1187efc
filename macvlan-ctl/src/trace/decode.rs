//! What is in a frame, as far as its beginning tells, in a few words.

use std::{
    fmt::Write as _,
    net::{Ipv4Addr, Ipv6Addr},
};

use etherparse::{
    ArpPacketSlice, Icmpv6Slice, IpNumber, LaxLinkExtSlice, LaxNetSlice, LaxSlicedPacket, LinkSlice,
    TransportSlice,
};

/// Tags, then protocol, addresses and what they carry. The MACs are not repeated.
///
/// The frame may be cut off anywhere and hold anything.
pub fn summary(frame: &[u8]) -> String {
    let Ok(packet) = LaxSlicedPacket::from_ethernet(frame) else { return "too short".into() };
    let mut words = String::new();
    for extension in &packet.link_exts {
        // Writing to a string does not fail, here and below.
        let _ = match extension {
            LaxLinkExtSlice::Vlan(tag) => write!(words, "vlan {} ", tag.vlan_identifier().value()),
            LaxLinkExtSlice::Macsec(_) => write!(words, "macsec "),
        };
    }
    match &packet.net {
        Some(LaxNetSlice::Arp(arp)) => words += &arp_words(arp),
        Some(LaxNetSlice::Ipv4(ip)) => {
            let header = ip.header();
            let _ = write!(words, "IPv4 {} > {}", header.source_addr(), header.destination_addr());
            words += &transport_words(&packet, ip.payload().ip_number, header.fragments_offset().value());
        }
        Some(LaxNetSlice::Ipv6(ip)) => {
            let header = ip.header();
            let _ = write!(words, "IPv6 {} > {}", header.source_addr(), header.destination_addr());
            let offset = u16::from(ip.payload().fragmented && packet.transport.is_none());
            words += &transport_words(&packet, ip.payload().ip_number, offset);
        }
        None => words += &ethertype_words(&packet),
    }
    words
}

/// Below this, the field is the length of an LLC frame (IEEE 802.3, 3.2.6).
const LEAST_ETHERTYPE: u16 = 0x600;

fn ethertype_words(packet: &LaxSlicedPacket<'_>) -> String {
    let inner = packet.link_exts.iter().rev().find_map(|extension| match extension {
        LaxLinkExtSlice::Vlan(tag) => Some(tag.ether_type()),
        LaxLinkExtSlice::Macsec(_) => None,
    });
    let outer = match &packet.link {
        Some(LinkSlice::Ethernet2(ethernet)) => Some(ethernet.ether_type()),
        _ => None,
    };
    match inner.or(outer) {
        Some(ethertype) if ethertype.0 < LEAST_ETHERTYPE => format!("LLC, length {}", ethertype.0),
        Some(ethertype) => format!("EtherType {:#06x}", ethertype.0),
        None => "unknown".into(),
    }
}

fn arp_words(arp: &ArpPacketSlice<'_>) -> String {
    let Ok(arp) = arp.to_packet().try_eth_ipv4() else { return "ARP, not of IPv4".into() };
    let (sender, target) = (Ipv4Addr::from(arp.sender_ipv4), Ipv4Addr::from(arp.target_ipv4));
    match arp.operation.0 {
        1 => format!("ARP who-has {target} tell {sender}"),
        2 => format!("ARP {sender} is-at {}", macvlan_common::mac::Mac::new(arp.sender_mac)),
        operation => format!("ARP operation {operation}"),
    }
}

fn transport_words(packet: &LaxSlicedPacket<'_>, protocol: IpNumber, fragment_offset: u16) -> String {
    match &packet.transport {
        Some(TransportSlice::Udp(udp)) => format!(" UDP {} > {}", udp.source_port(), udp.destination_port()),
        Some(TransportSlice::Tcp(tcp)) => {
            let flags = [
                (tcp.syn(), "SYN"),
                (tcp.fin(), "FIN"),
                (tcp.rst(), "RST"),
                (tcp.psh(), "PSH"),
                (tcp.ack(), "ACK"),
            ];
            let set: Vec<_> = flags.iter().filter(|(set, _)| *set).map(|(_, name)| *name).collect();
            format!(" TCP {} > {} {}", tcp.source_port(), tcp.destination_port(), set.join(","))
        }
        Some(TransportSlice::Icmpv4(icmp)) => format!(" ICMP {}", icmpv4_words(icmp.type_u8())),
        Some(TransportSlice::Icmpv6(icmp)) => format!(" ICMPv6 {}", icmpv6_words(icmp)),
        Some(TransportSlice::Igmp(_)) => " IGMP".into(),
        None => {
            let name =
                protocol.keyword_str().map_or_else(|| format!("protocol {}", protocol.0), str::to_owned);
            let fragment = if fragment_offset == 0 { "" } else { " fragment" };
            format!(" {name}{fragment}")
        }
    }
}

/// RFC 792.
fn icmpv4_words(kind: u8) -> String {
    match kind {
        0 => "echo reply".into(),
        3 => "destination unreachable".into(),
        5 => "redirect".into(),
        8 => "echo request".into(),
        11 => "time exceeded".into(),
        _ => format!("type {kind}"),
    }
}

/// RFC 4443, RFC 4861, RFC 2710 and RFC 3810.
fn icmpv6_words(icmp: &Icmpv6Slice<'_>) -> String {
    let name = match icmp.type_u8() {
        1 => "destination unreachable",
        2 => "packet too big",
        3 => "time exceeded",
        4 => "parameter problem",
        128 => "echo request",
        129 => "echo reply",
        130 => "multicast listener query",
        131 | 143 => "multicast listener report",
        132 => "multicast listener done",
        133 => "router solicitation",
        134 => "router advertisement",
        135 => "neighbour solicitation",
        136 => "neighbour advertisement",
        137 => "redirect",
        kind => return format!("type {kind}"),
    };
    // The target address comes behind type, code, checksum and four bytes of flags.
    let target = icmp.slice().get(8..24).and_then(|bytes| <[u8; 16]>::try_from(bytes).ok());
    match (icmp.type_u8(), target) {
        (135 | 136, Some(target)) => format!("{name} {}", Ipv6Addr::from(target)),
        _ => name.into(),
    }
}

#[cfg(test)]
mod tests {
    use etherparse::PacketBuilder;
    use proptest::prelude::*;

    use super::*;

    const SRC: [u8; 6] = [2, 0, 0, 0, 0, 1];
    const DST: [u8; 6] = [2, 0, 0, 0, 0, 2];

    fn frame(ethertype: u16, payload: &[u8]) -> Vec<u8> {
        [&DST[..], &SRC, &ethertype.to_be_bytes(), payload].concat()
    }

    #[test]
    fn arp_asks_and_answers() {
        let packet = |operation: u8| {
            let mut arp = vec![0, 1, 8, 0, 6, 4, 0, operation];
            arp.extend(SRC);
            arp.extend([10, 9, 0, 1]);
            arp.extend(DST);
            arp.extend([10, 9, 0, 2]);
            frame(0x806, &arp)
        };
        assert_eq!(summary(&packet(1)), "ARP who-has 10.9.0.2 tell 10.9.0.1");
        assert_eq!(summary(&packet(2)), "ARP 10.9.0.1 is-at 02:00:00:00:00:01");
        assert_eq!(summary(&packet(9)), "ARP operation 9");
    }

    #[test]
    fn addresses_protocol_and_ports_are_told() {
        let mut bytes = Vec::new();
        let ipv4 = PacketBuilder::ethernet2(SRC, DST).ipv4([10, 9, 0, 1], [10, 9, 0, 2], 64);
        ipv4.udp(1234, 53).write(&mut bytes, &[0; 8]).unwrap();
        assert_eq!(summary(&bytes), "IPv4 10.9.0.1 > 10.9.0.2 UDP 1234 > 53");

        let mut bytes = Vec::new();
        let vlan = PacketBuilder::ethernet2(SRC, DST).single_vlan(5.try_into().unwrap());
        let ipv6 = vlan.ipv6([0xfd; 16], [0xfe; 16], 64);
        ipv6.tcp(80, 5000, 0, 0).syn().ack(1).write(&mut bytes, &[]).unwrap();
        let words = summary(&bytes);
        assert!(words.starts_with("vlan 5 IPv6 fdfd:"), "{words}");
        assert!(words.ends_with(" TCP 80 > 5000 SYN,ACK"), "{words}");

        let mut bytes = Vec::new();
        let icmp = PacketBuilder::ethernet2(SRC, DST).ipv4([10, 9, 0, 1], [10, 9, 0, 2], 64);
        icmp.icmpv4_echo_request(1, 2).write(&mut bytes, &[]).unwrap();
        assert_eq!(summary(&bytes), "IPv4 10.9.0.1 > 10.9.0.2 ICMP echo request");
    }

    #[test]
    fn a_neighbour_is_named() {
        let mut message = vec![135, 0, 0, 0, 0, 0, 0, 0];
        message.extend(Ipv6Addr::LOCALHOST.octets());
        let mut bytes = Vec::new();
        let ipv6 = PacketBuilder::ethernet2(SRC, DST).ipv6([0; 16], [0xff; 16], 255);
        ipv6.write(&mut bytes, IpNumber::IPV6_ICMP, &message).unwrap();
        let words = summary(&bytes);
        assert!(words.ends_with("ICMPv6 neighbour solicitation ::1"), "{words}");
    }

    #[test]
    fn what_is_unknown_or_cut_off_is_said_to_be() {
        assert_eq!(summary(&[0; 5]), "too short");
        assert_eq!(summary(&frame(0x88b5, &[0; 46])), "EtherType 0x88b5");
        assert_eq!(summary(&frame(38, &[0x42; 38])), "LLC, length 38");
        let mut bytes = Vec::new();
        let ipv4 = PacketBuilder::ethernet2(SRC, DST).ipv4([10, 9, 0, 1], [10, 9, 0, 2], 64);
        ipv4.tcp(80, 5000, 0, 0).write(&mut bytes, &[0; 500]).unwrap();
        assert!(summary(&bytes[..128]).contains("TCP 80 > 5000"), "{}", summary(&bytes[..128]));
        assert_eq!(summary(&bytes[..40]), "IPv4 10.9.0.1 > 10.9.0.2 TCP");
    }

    proptest! {
        #[test]
        fn any_bytes_have_a_summary_of_one_line(
            ethertype in prop::sample::select(vec![0x800_u16, 0x806, 0x86dd, 0x8100, 0x88a8, 0x88e5, 5, 0xffff]),
            mut bytes in prop::collection::vec(any::<u8>(), 0..140),
            protocol in prop::sample::select(vec![1_u8, 2, 6, 17, 58, 44, 0, 255]),
        ) {
            prop_assert_eq!(summary(&bytes).lines().count(), 1);
            // The same again, led further into the parser.
            for (at, byte) in [(12, (ethertype >> 8) as u8), (13, ethertype as u8), (20, protocol), (23, protocol)] {
                if let Some(place) = bytes.get_mut(at) {
                    *place = byte;
                }
            }
            if let Some(version) = bytes.get_mut(14) {
                *version = if ethertype == 0x86dd { 0x60 } else { 0x45 };
            }
            prop_assert_eq!(summary(&bytes).lines().count(), 1);
        }
    }
}
