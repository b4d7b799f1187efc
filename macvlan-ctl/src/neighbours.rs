//! Who has which address on a master, as netlink tells it.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

use anyhow::Result;
use macvlan_common::{
    child::{Mode, Policy},
    mac::Mac,
};

use crate::{
    model::Child,
    netlink::{Netlink, address::IpNet},
};

/// How many addresses of one device are told of; requests for more go to all.
const MOST_OF_ONE: usize = 64;

/// Addresses of the devices of one namespace, by index.
type OfPlace = BTreeMap<u32, Vec<IpNet>>;

/// Addresses as they were last read, by namespace; `None` is the master's own.
pub struct Addresses {
    strict: Netlink,
    places: BTreeMap<Option<i32>, OfPlace>,
}

impl Addresses {
    /// Nothing read yet; asks from the namespace of the calling thread, which is the masters'.
    ///
    /// # Errors
    ///
    /// When there is no socket to be had.
    pub fn open() -> Result<Self> {
        Ok(Self { strict: Netlink::open_strict()?, places: BTreeMap::new() })
    }

    /// Lets go of what is known of a namespace: it is read anew.
    pub fn forget(&mut self, nsid: Option<i32>) {
        self.places.remove(&nsid);
    }

    /// Lets go of everything.
    pub fn forget_all(&mut self) {
        self.places.clear();
    }

    /// Which MAC has which address: the master of this index and MAC, and those of its `children`
    /// that are up and `members`. What several have nobody is told to have. A namespace that cannot
    /// be asked tells nothing.
    pub async fn owners(
        &mut self,
        master: (u32, Mac),
        children: &[&Child],
        members: &BTreeMap<Mac, Policy>,
    ) -> BTreeMap<IpAddr, Mac> {
        let (index, mac) = master;
        // Of the master's namespace no event tells.
        self.forget(None);
        let mut claims = Claims::default();
        claims.add(self.of(None, index).await, Some(mac));
        for child in children.iter().filter(|child| child.up) {
            let is_member = members.get(&child.mac).is_some_and(|policy| is_directed(*policy));
            let addresses = self.of(child.place.nsid, child.index).await;
            claims.add(addresses, is_member.then_some(child.mac));
        }
        let places: BTreeSet<Option<i32>> = children.iter().map(|child| child.place.nsid).collect();
        self.places.retain(|nsid, _| nsid.is_none() || places.contains(nsid));
        claims.settled()
    }

    async fn of(&mut self, nsid: Option<i32>, index: u32) -> &[IpNet] {
        // A negative one stands for a namespace that has no number.
        let is_numbered = nsid.is_none_or(|nsid| nsid >= 0);
        if is_numbered && !self.places.contains_key(&nsid) {
            let read = self.strict.addresses(nsid).await.unwrap_or_default();
            self.places.insert(nsid, read);
        }
        let place = self.places.get(&nsid);
        place.and_then(|place| place.get(&index)).map_or(&[], Vec::as_slice)
    }
}

/// Whether requests are directed to a child of this policy at all.
fn is_directed(policy: Policy) -> bool {
    matches!(policy.mode(), Mode::Bridge | Mode::Private | Mode::Vepa)
}

/// Who says that he has which address.
#[derive(Debug, Default)]
struct Claims(BTreeMap<IpAddr, Option<Mac>>);

impl Claims {
    /// Adds what one device has; without a MAC, requests are not to be directed to it.
    fn add(&mut self, addresses: &[IpNet], owner: Option<Mac>) {
        for net in addresses.iter().take(MOST_OF_ONE) {
            let address = net.address;
            if address.is_loopback() || address.is_unspecified() || address.is_multicast() {
                continue;
            }
            let claim = self.0.entry(address).or_insert(owner);
            if *claim != owner {
                *claim = None;
            }
        }
    }

    fn settled(self) -> BTreeMap<IpAddr, Mac> {
        self.0.into_iter().filter_map(|(address, owner)| Some((address, owner?))).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_two_have_nobody_is_told_to_have() {
        let [one, other] = [1, 2].map(|last| Mac::new([2, 0, 0, 0, 0, last]));
        let nets =
            |texts: &[&str]| -> Vec<IpNet> { texts.iter().map(|text| text.parse().unwrap()).collect() };
        let mut claims = Claims::default();
        claims.add(&nets(&["10.9.0.1/24", "10.9.0.2/24", "10.9.0.4/24", "127.0.0.1/8"]), Some(one));
        claims.add(&nets(&["10.9.0.2/24", "10.9.0.3/24", "fe80::1/64"]), Some(other));
        claims.add(&nets(&["10.9.0.4/24", "10.9.0.5/24"]), None);
        claims.add(&nets(&["10.9.0.2/24"]), Some(other));
        let expected = [("10.9.0.1", one), ("10.9.0.3", other), ("fe80::1", other)];
        let expected = expected.map(|(address, mac)| (address.parse().unwrap(), mac));
        assert_eq!(claims.settled(), expected.into());
    }
}
