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
    kernel::netlink::{Netlink, address::Assigned, kind::Kind},
    model::{
        child::Child,
        members::{AllowedAddresses, key_of},
        neighbours::{Told, ToldAddresses},
    },
};

/// How many addresses of one device are told of; requests for more go to all.
const MOST_OF_ONE: usize = 64;

/// Addresses of the devices of one namespace, by index.
type OfPlace = BTreeMap<u32, Vec<Assigned>>;

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

    /// Who has which address: the master of this index and MAC, and those of its `children` that are up,
    /// have a carrier and are `members`. An address belongs to its namespace: where several devices of this master are in one,
    /// each may be the one that answers, and nobody is told to have it; nor what several have. A namespace
    /// that cannot be asked tells nothing.
    pub async fn owners(
        &mut self,
        master: (u32, Mac),
        children: &[&Child],
        members: &BTreeMap<Mac, Policy>,
    ) -> ToldAddresses {
        let (index, mac) = master;
        // Of the master's namespace no event tells.
        self.forget(None);
        let devices = devices(children);
        let is_alone = |nsid: Option<i32>| devices.get(&nsid) == Some(&1);
        let mut claims = Claims::default();
        if is_alone(None) {
            claims.add(self.of(None, index).await, Some(Told::Owner(mac)));
        } else {
            // Each device of the master answers for what any device of the namespace has, be that one down.
            for assigned in self.read(None).await.into_iter().flat_map(BTreeMap::values) {
                claims.add(assigned, Some(Told::Own));
            }
        }
        for child in children.iter().filter(|child| child.up && child.carrier) {
            let is_member = members.get(&child.mac).is_some_and(|policy| is_directed(*policy));
            let nsid = child.place.nsid;
            let owner = match nsid {
                // Nobody but the host answers for it.
                None if answers_itself(child) => Some(Told::Own),
                nsid => (is_member && is_alone(nsid)).then_some(Told::Owner(child.mac)),
            };
            claims.add(self.of(nsid, child.index).await, owner);
        }
        let gateways = self.strict.next_hops(index).await.unwrap_or_default();
        let places: BTreeSet<Option<i32>> = children.iter().map(|child| child.place.nsid).collect();
        self.places.retain(|nsid, _| nsid.is_none() || places.contains(nsid));
        let mut told = claims.uncontested();
        told.extend(gateways.into_iter().map(|gateway| (gateway, Told::Gateway)));
        told
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

    async fn of(&mut self, nsid: Option<i32>, index: u32) -> &[Assigned] {
        let place = self.read(nsid).await;
        place.and_then(|place| place.get(&index)).map_or(&[], Vec::as_slice)
    }

    /// What a namespace has; `None` when it cannot be asked.
    async fn read(&mut self, nsid: Option<i32>) -> Option<&OfPlace> {
        // A negative one stands for a namespace that has no number.
        let is_numbered = nsid.is_none_or(|nsid| nsid >= 0);
        if is_numbered
            && !self.places.contains_key(&nsid)
            && let Ok(read) = self.strict.assigned_addresses(nsid).await
        {
            self.places.insert(nsid, read);
        }
        self.places.get(&nsid)
    }
}

/// The first [`MOST_OF_ONE`] of these that a single host can have on a network.
fn addresses(assigned: &[Assigned]) -> impl Iterator<Item = Address> {
    let nets = assigned.iter().map(|assigned| assigned.net.address);
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

/// How many devices of a master each namespace has that answer for its addresses, the master counted.
fn devices(children: &[&Child]) -> BTreeMap<Option<i32>, usize> {
    let mut devices = BTreeMap::from([(None, 1)]);
    for child in children.iter().filter(|child| answers_itself(child)) {
        *devices.entry(child.place.nsid).or_default() += 1;
    }
    devices
}

/// Whether the namespace of a child answers for it: a macvtap's frames go to a program.
fn answers_itself(child: &Child) -> bool {
    child.kind == Kind::Macvlan
}

/// Whether requests are directed to a child of this policy at all.
fn is_directed(policy: Policy) -> bool {
    matches!(policy.mode(), Mode::Bridge | Mode::Private | Mode::Vepa)
}

/// Who says that he has which address.
#[derive(Debug, Default)]
struct Claims(BTreeMap<IpAddr, Option<Told>>);

impl Claims {
    /// Adds what one device has and answers for; without an owner, requests go to all.
    fn add(&mut self, addresses: &[Assigned], owner: Option<Told>) {
        for assigned in addresses.iter().filter(|assigned| assigned.answers).take(MOST_OF_ONE) {
            let address = assigned.net.address;
            if address.is_loopback() || address.is_unspecified() || address.is_multicast() {
                continue;
            }
            let claim = self.0.entry(address).or_insert(owner);
            if *claim != owner {
                *claim = None;
            }
        }
    }

    fn uncontested(self) -> ToldAddresses {
        self.0.into_iter().filter_map(|(address, owner)| Some((address, owner?))).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::netns::place::Place;

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
    fn a_namespace_counts_its_devices_that_answer() {
        let child = |nsid, kind| {
            let child = Child::example("web", Mac::new([2, 0, 0, 0, 0, 1]));
            Child { place: Place { nsid, ..Place::default() }, kind, ..child }
        };
        let children = [
            child(None, Kind::Macvlan),
            child(None, Kind::Macvtap),
            child(Some(1), Kind::Macvlan),
            child(Some(2), Kind::Macvlan),
            child(Some(2), Kind::Macvlan),
        ];
        let counted = devices(&children.iter().collect::<Vec<_>>());
        assert_eq!(counted, [(None, 2), (Some(1), 1), (Some(2), 2)].into());
    }

    #[test]
    fn what_two_have_nobody_is_told_to_have() {
        let [one, other] = [1, 2].map(|last| Mac::new([2, 0, 0, 0, 0, last]));
        let assigned = |text: &&str| Assigned { net: text.parse().unwrap(), answers: true };
        let nets = |texts: &[&str]| -> Vec<Assigned> { texts.iter().map(assigned).collect() };
        let [one, other] = [one, other].map(Told::Owner);
        let mut claims = Claims::default();
        claims.add(&nets(&["10.9.0.1/24", "10.9.0.2/24", "10.9.0.4/24", "127.0.0.1/8"]), Some(one));
        claims.add(&nets(&["10.9.0.2/24", "10.9.0.3/24", "fe80::1/64"]), Some(other));
        claims.add(&nets(&["10.9.0.4/24", "10.9.0.5/24"]), None);
        claims.add(&nets(&["10.9.0.2/24"]), Some(other));
        let untested = Assigned { answers: false, ..nets(&["fe80::1/64"])[0] };
        claims.add(&[untested], Some(one));
        let expected = [("10.9.0.1", one), ("10.9.0.3", other), ("fe80::1", other)];
        let expected = expected.map(|(address, mac)| (address.parse().unwrap(), mac));
        assert_eq!(claims.uncontested(), expected.into());
    }
}
