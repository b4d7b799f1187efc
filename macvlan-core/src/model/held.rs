//! Who has which address on a wire that carries one MAC.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

use macvlan_common::mac::Mac;
use serde::Serialize;

/// What netlink tells of a master whose wire carries one MAC.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ToldHolders {
    /// The child that has an address; [`Mac::BROADCAST`] where all have it, `None` where the host does.
    pub holders: BTreeMap<IpAddr, Option<Mac>>,
    /// Networks, and whether children may teach their addresses: what the longest prefix says.
    pub networks: Vec<Network>,
}

/// Addresses of a VLAN.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Network {
    /// The VLAN as frames' are numbered ([`Key`](macvlan_common::single_mac::Key)); `None`: any.
    pub vlan: Option<u32>,
    /// The first address; `None`: any.
    pub address: Option<IpAddr>,
    /// How many bits of it count.
    pub prefix: u8,
    /// Whether children may teach that they have these.
    pub may_teach: bool,
}

/// Why a child is taken to have an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Why {
    /// Netlink says so.
    Static,
    /// It claimed it: gratuitous ARP, an answer, an advertisement, or a DHCP server did.
    Claim,
    /// It used it.
    Heard,
}

impl Why {
    /// Its name in JSON and tables.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Static => "static",
            Self::Claim => "claim",
            Self::Heard => "heard",
        }
    }
}

/// A child's address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Held {
    /// The child.
    pub mac: Mac,
    /// The VLAN, as frames' are numbered.
    pub vlan: u32,
    /// The address.
    pub address: IpAddr,
    /// Why it is taken to have it.
    pub why: Why,
}

impl Held {
    /// As `status` tells it.
    pub fn told(&self) -> WireAddress {
        WireAddress { local: self.address, vlans: vlans(self.vlan), why: self.why }
    }
}

/// A child's address on the wire, as `status -j` prints it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct WireAddress {
    /// The address.
    pub local: IpAddr,
    /// The VLANs that it is in, the outer one first.
    pub vlans: Vec<u16>,
    /// Why the child is taken to have it: "static", "claim" or "heard".
    pub why: Why,
}

impl std::fmt::Display for WireAddress {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.local)?;
        for vlan in &self.vlans {
            write!(f, " vlan {vlan}")?;
        }
        write!(f, " ({})", self.why.as_str())
    }
}

/// What is wrong with the addresses of children.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AddressTrouble {
    /// Addresses that another one claims too, and who has them.
    pub contested: BTreeSet<(Mac, IpAddr)>,
    /// Children that have so many addresses on a wire of one MAC that another one may not be known.
    pub full: BTreeSet<Mac>,
    /// There is no room for another address of anybody there.
    pub is_table_full: bool,
}

/// The numbers of VLANs of a [`Key`](macvlan_common::single_mac::Key).
fn vlans(key: u32) -> Vec<u16> {
    let numbers = [26, 13, 0].map(|shift| ((key >> shift) & 0x1fff) as u16);
    numbers.into_iter().filter_map(|number| number.checked_sub(1)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_told_with_its_vlans() {
        let told = |vlan| {
            let held = Held { mac: Mac::BROADCAST, vlan, address: [10, 9, 0, 2].into(), why: Why::Claim };
            held.told().to_string()
        };
        assert_eq!(told(0), "10.9.0.2 (claim)");
        assert_eq!(told(6), "10.9.0.2 vlan 5 (claim)");
        assert_eq!(told(101 << 13 | 6), "10.9.0.2 vlan 100 vlan 5 (claim)");
    }
}
