//! Frames, and the packets in them.

mod frame;
mod packets;

pub use crate::lab::frames::{
    frame::{
        ARP, ArpOperation, ETH_HLEN, EXPERIMENTAL, Frame, IPV4, IPV6, Marker, PORT, Party, SERVICE_VLAN,
        SHORTEST, VLAN, arp, arp_request, datagram, llc, marked, unspoken,
    },
    packets::{
        checksum, ipv4, ipv6, neighbour_advertisement, neighbour_solicitation, neighbour_solicitation_to, udp,
    },
};
