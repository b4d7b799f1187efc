//! Who has which address on a master, as netlink tells it.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

use anyhow::Result;
use macvlan_common::{
    child::{Mode, Policy},
    l3::Address,
    mac::Mac,
};

use crate::{
    kernel::netlink::{Netlink, ipnet::IpNet},
    model::{
        child::Child,
        members::{AllowedAddresses, key_of},
    },
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
        claims.uncontested()
    }

    /// The addresses of those `children` that `members` hold to theirs: what netlink tells of them,
    /// also while they are down, but for what the master of this index has, and for what another
    /// child has too, unless the one had it `before`. Where a namespace cannot be asked, a child keeps
    /// what it had.
    pub async fn own(
        &mut self,
        master: u32,
        children: &[&Child],
        members: &BTreeMap<Mac, Policy>,
        before: &AllowedAddresses,
    ) -> AllowedAddresses {
        let is_held = |mac: &Mac| members.get(mac).is_some_and(|policy| policy.is_held_to_addresses());
        if !children.iter().any(|child| is_held(&child.mac)) {
            return AllowedAddresses::new();
        }
        self.forget(None);
        let hosts: BTreeSet<Address> = addresses(self.of(None, master).await).collect();
        let mut has = AllowedAddresses::new();
        for child in children {
            let kept = before.get(&child.mac).into_iter().flatten().copied();
            let told: Vec<Address> = match self.read(child.place.nsid).await {
                Some(place) => addresses(place.get(&child.index).map_or(&[], Vec::as_slice)).collect(),
                None => kept.collect(),
            };
            has.entry(child.mac).or_default().extend(told);
        }
        allowed_of(&has, &hosts, before, is_held)
    }

    async fn of(&mut self, nsid: Option<i32>, index: u32) -> &[IpNet] {
        let place = self.read(nsid).await;
        place.and_then(|place| place.get(&index)).map_or(&[], Vec::as_slice)
    }

    /// What a namespace has; `None` when it cannot be asked.
    async fn read(&mut self, nsid: Option<i32>) -> Option<&OfPlace> {
        // A negative one stands for a namespace that has no number.
        let is_numbered = nsid.is_none_or(|nsid| nsid >= 0);
        if is_numbered
            && !self.places.contains_key(&nsid)
            && let Ok(read) = self.strict.addresses(nsid).await
        {
            self.places.insert(nsid, read);
        }
        self.places.get(&nsid)
    }
}

/// The first [`MOST_OF_ONE`] of these that a single host can have on a network.
fn addresses(nets: &[IpNet]) -> impl Iterator<Item = Address> {
    let nets = nets.iter().map(|net| net.address);
    let is_usable =
        |address: &IpAddr| !address.is_loopback() && !address.is_unspecified() && !address.is_multicast();
    nets.filter(is_usable).take(MOST_OF_ONE).map(key_of)
}

/// Of what each child `has`, what is its own.
fn allowed_of(
    has: &AllowedAddresses,
    hosts: &BTreeSet<Address>,
    before: &AllowedAddresses,
    is_held: impl Fn(&Mac) -> bool,
) -> AllowedAddresses {
    let mut count: BTreeMap<Address, usize> = BTreeMap::new();
    has.values().flatten().for_each(|address| *count.entry(*address).or_default() += 1);
    let own_of = |mac: &Mac, addresses: &BTreeSet<Address>| {
        let was = |address: &Address| before.get(mac).is_some_and(|before| before.contains(address));
        let is_own = |address: &&Address| {
            !hosts.contains(*address) && (count.get(*address) == Some(&1) || was(address))
        };
        addresses.iter().filter(is_own).take(MOST_OF_ONE).copied().collect()
    };
    let held = has.iter().filter(|(mac, _)| is_held(mac));
    held.map(|(mac, addresses)| (*mac, own_of(mac, addresses))).collect()
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

    fn uncontested(self) -> BTreeMap<IpAddr, Mac> {
        self.0.into_iter().filter_map(|(address, owner)| Some((address, owner?))).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_a_childs_own_while_no_other_had_it_first() {
        let [one, other] = [1, 2].map(|last| Mac::new([2, 0, 0, 0, 0, last]));
        let set = |lasts: &[u8]| -> BTreeSet<Address> {
            lasts.iter().map(|last| Address::v4([10, 9, 0, *last])).collect()
        };
        let has = AllowedAddresses::from([(one, set(&[1, 2, 3, 4])), (other, set(&[2, 3, 5]))]);
        let before = AllowedAddresses::from([(one, set(&[1, 3, 4])), (other, set(&[5]))]);
        let own = allowed_of(&has, &set(&[4]), &before, |_| true);
        assert_eq!(own, AllowedAddresses::from([(one, set(&[1, 3])), (other, set(&[5]))]));
        assert_eq!(
            allowed_of(&has, &set(&[]), &AllowedAddresses::new(), |mac| *mac == other),
            [(other, set(&[5]))].into()
        );
        let many =
            AllowedAddresses::from([(one, (0..=255).map(|last| Address::v4([10, 9, 0, last])).collect())]);
        assert_eq!(allowed_of(&many, &set(&[]), &AllowedAddresses::new(), |_| true)[&one].len(), MOST_OF_ONE);
    }

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
        assert_eq!(claims.uncontested(), expected.into());
    }
}
