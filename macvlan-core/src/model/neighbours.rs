//! Who has which address on a master, as netlink tells it.

use std::{collections::BTreeMap, net::IpAddr};

use macvlan_common::{mac::Mac, neigh::Owner};

/// What netlink tells of an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Told {
    /// Requests for it may go to this MAC alone.
    Owner(Mac),
    /// The host's own, on a master whose namespace has further devices of the master: each of them would
    /// answer the host itself.
    Own,
    /// A next hop of the host's routes, on the wire as far as anybody knows.
    Gateway,
}

/// What netlink tells of each address. What it does not tell of is learnt.
pub type ToldAddresses = BTreeMap<IpAddr, Told>;

impl Told {
    /// As the programs know it, seen at this time.
    pub fn owner(self, now: u64) -> Owner {
        let (mac, kind) = match self {
            Self::Owner(mac) => (mac.key(), Owner::TOLD),
            Self::Own => (0, Owner::OWN),
            Self::Gateway => (0, Owner::GATEWAY),
        };
        Owner { mac, seen: now, kind, ..Owner::default() }
    }
}
