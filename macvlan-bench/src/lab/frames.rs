//! The frames that the generator repeats.

use std::net::Ipv4Addr;

use anyhow::{Context as _, Result};
use etherparse::{ArpEthIpv4Packet, ArpOperation, PacketBuilder};
use macvlan_common::mac::Mac;

/// The shortest frame without FCS (`ETH_ZLEN`).
const SHORTEST: usize = 60;

/// The discard port (RFC 863).
pub const PORT: u16 = 9;

/// One end of a frame.
#[derive(Debug, Clone, Copy)]
pub struct Party {
    /// Its MAC.
    pub mac: Mac,
    /// Its address.
    pub address: Ipv4Addr,
}

/// The shortest UDP datagram, to the [discard port](PORT).
///
/// # Errors
///
/// Never for these lengths; etherparse cannot know.
pub fn udp(from: Party, to: Party) -> Result<Vec<u8>> {
    const HEADERS: usize = 14 + 20 + 8;
    let builder = PacketBuilder::ethernet2(from.mac.octets(), to.mac.octets())
        .ipv4(from.address.octets(), to.address.octets(), 64)
        .udp(PORT, PORT);
    let mut frame = Vec::with_capacity(SHORTEST);
    builder.write(&mut frame, &[0; SHORTEST - HEADERS]).context("cannot build a datagram")?;
    Ok(frame)
}

/// A broadcast ARP request for `wanted`.
///
/// # Errors
///
/// Never for these lengths; etherparse cannot know.
pub fn arp_request(from: Party, wanted: Ipv4Addr) -> Result<Vec<u8>> {
    let request = ArpEthIpv4Packet {
        operation: ArpOperation::REQUEST,
        sender_mac: from.mac.octets(),
        sender_ipv4: from.address.octets(),
        target_mac: [0; 6],
        target_ipv4: wanted.octets(),
    };
    let builder = PacketBuilder::ethernet2(from.mac.octets(), Mac::BROADCAST.octets()).arp(request.into());
    let mut frame = Vec::with_capacity(SHORTEST);
    builder.write(&mut frame).context("cannot build an ARP request")?;
    frame.resize(SHORTEST, 0);
    Ok(frame)
}

/// A frame of a protocol that nobody speaks (IEEE 802, local experimental): delivered, then dropped.
pub fn unspoken(from: Mac, to: Mac) -> Vec<u8> {
    const LOCAL_EXPERIMENTAL: [u8; 2] = [0x88, 0xb5];
    let mut frame = [to.octets(), from.octets()].concat();
    frame.extend(LOCAL_EXPERIMENTAL);
    frame.resize(SHORTEST, 0);
    frame
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: Party = Party { mac: Mac::new([2, 0, 0, 0, 0, 1]), address: Ipv4Addr::new(10, 97, 0, 1) };
    const TWO: Party = Party { mac: Mac::new([2, 0, 0, 0, 0, 2]), address: Ipv4Addr::new(10, 97, 0, 2) };

    #[test]
    fn both_frames_are_the_shortest_and_say_who_is_meant() {
        let datagram = udp(ONE, TWO).unwrap();
        assert_eq!((datagram.len(), &datagram[..6]), (SHORTEST, &TWO.mac.octets()[..]));
        let parsed = etherparse::PacketHeaders::from_ethernet_slice(&datagram).unwrap();
        assert!(parsed.net.is_some() && parsed.transport.is_some());

        let request = arp_request(ONE, TWO.address).unwrap();
        assert_eq!((request.len(), &request[..6]), (SHORTEST, &[0xff; 6][..]));
        // Target protocol address of RFC 826, behind the Ethernet header.
        assert_eq!(&request[14 + 24..14 + 28], &TWO.address.octets());
    }
}
