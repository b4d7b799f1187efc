//! The short way of nearly every frame from the wire: IP to the one MAC there, of which nothing but the address
//! matters.

use super::{
    headers::{DHCP_CLIENT, ETHERTYPE, UDP, unicast_v4, unicast_v6},
    packet::Bytes,
};
use crate::l3::{Address, IPV4, IPV6};

/// Where the network layer begins; behind a header of IPv4 without options, a destination port; and the target of IPv6.
const NETWORK: u32 = ETHERTYPE + 2;
const PORT: u32 = NETWORK + 20 + 2;
const TARGET: u32 = NETWORK + 24;

/// The address that a frame with this EtherType is for, or [`NONE`](Address::NONE) where there is more to look at.
///
/// Where somebody is known to have the address, in no VLAN, [`arrive`](super::arrive()) gives a frame to the one MAC
/// to that one and does nothing else. So the programs read these bytes alone, from those that are at hand.
#[inline(always)]
pub fn plain_target<B: Bytes>(bytes: &B, kind: u16) -> Address {
    match kind {
        IPV4 => {
            let Some([first, _, third, _, target]) = bytes.words::<5>(NETWORK) else { return Address::NONE };
            let (version, protocol) = (first.to_ne_bytes()[0], third.to_ne_bytes()[1]);
            let is_to_client = || bytes.half(PORT).is_none_or(|port| port == DHCP_CLIENT);
            if version != 0x45 || (protocol == UDP && is_to_client()) {
                return Address::NONE;
            }
            unicast_v4(target.to_ne_bytes())
        }
        IPV6 => bytes.words(TARGET).map_or(Address::NONE, unicast_v6),
        _ => Address::NONE,
    }
}
