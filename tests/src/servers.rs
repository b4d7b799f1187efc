//! What routers and DHCP servers say, as frames of a station.

use std::net::{Ipv4Addr, Ipv6Addr};

use macvlan_common::mac::Mac;

use crate::{
    frames::{self, Frame, Marker},
    lab::Station,
};

/// All IPv6 nodes (RFC 2464, section 7).
pub const ALL_NODES: Mac = Mac::new([0x33, 0x33, 0, 0, 0, 1]);

/// Type of ICMPv6 (RFC 4861, 4.1): hosts ask for routers.
pub const ROUTER_SOLICITATION: u8 = 133;
/// Type of ICMPv6 (RFC 4861, 4.2): a router says that it is one.
pub const ROUTER_ADVERTISEMENT: u8 = 134;
/// Type of ICMPv6 (RFC 4861, 4.5): a router names a better one.
pub const REDIRECT: u8 = 137;

const UDP: u8 = 17;
const ICMPV6: u8 = 58;
const HOP_BY_HOP: u8 = 0;

fn all_nodes() -> Ipv6Addr {
    Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1)
}

/// An ICMPv6 message of this type, alone and behind a hop-by-hop header.
pub fn messages(from: &Station, to: Mac, kind: u8, marker: Marker) -> Vec<Vec<u8>> {
    let message = [&[kind, 0, 0, 0, 64, 0, 7, 8, 0, 0, 0, 0, 0, 0, 0, 0][..], &marker.octets()].concat();
    let behind = [&[ICMPV6, 0, 1, 4, 0, 0, 0, 0][..], &message].concat();
    [(ICMPV6, message), (HOP_BY_HOP, behind)]
        .map(|(next, payload)| {
            let packet = frames::ipv6(from.ip6, all_nodes(), next, &payload);
            Frame::new(to, from.mac).payload(frames::IPV6, &packet).padded(60)
        })
        .into()
}

/// UDP between these ports over IPv4 and over IPv6.
pub fn datagrams(from: &Station, to: Mac, ports: [(u16, u16); 2], marker: Marker) -> Vec<Vec<u8>> {
    let [v4, v6] = ports.map(|(source, target)| frames::udp(source, target, &marker.octets()));
    let v4 = frames::ipv4(from.ip, Ipv4Addr::BROADCAST, UDP, &v4);
    let v6 = frames::ipv6(from.ip6, all_nodes(), UDP, &v6);
    let frame = |kind, packet: &[u8]| Frame::new(to, from.mac).payload(kind, packet).padded(60);
    vec![frame(frames::IPV4, &v4), frame(frames::IPV6, &v6)]
}
