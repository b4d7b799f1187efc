//! Who has which address on a master, as netlink tells it.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use anyhow::Result;
use macvlan_common::{
    child::{Mode, Policy},
    l3::Address,
    mac::Mac,
};

use crate::{
    kernel::{
        netlink::{
            Netlink,
            address::{Assigned, IpNet},
            kind::Kind,
            neighbour::Neighbour,
        },
        netns::place::Place,
    },
    model::{
        child::Child,
        held::{Network, ToldHolders},
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
    has_rivals: bool,
}

impl Addresses {
    /// Nothing read yet; asks from the namespace of the calling thread, which is the masters'.
    ///
    /// # Errors
    ///
    /// When there is no socket to be had.
    pub fn open() -> Result<Self> {
        Ok(Self { strict: Netlink::open_strict()?, places: BTreeMap::new(), has_rivals: false })
    }

    /// What a child has, in the order of the kernel: of IPv4, then of IPv6. Nothing where its namespace cannot
    /// be asked. One dump serves all children of a namespace.
    pub async fn of_child(&mut self, child: &Child) -> Vec<IpNet> {
        self.enter_unnumbered(&child.place).await;
        let assigned = self.of(child.place.nsid, child.index).await;
        assigned.iter().map(|assigned| assigned.net).collect()
    }

    /// Reads a namespace that has no number from inside.
    async fn enter_unnumbered(&mut self, place: &Place) {
        let is_unnumbered = place.nsid.is_some() && place.number().is_none();
        if !is_unnumbered || self.places.contains_key(&place.nsid) {
            return;
        }
        let inside = place.netns().and_then(|netns| Netlink::open_in(&netns.open().ok()?).ok());
        if let Some(inside) = inside
            && let Ok(read) = inside.assigned_addresses(None).await
        {
            self.places.insert(place.nsid, read);
        }
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
        for child in children.iter().filter(|child| child.up && child.carrier && child.has_its_mac()) {
            let is_member = members.get(&child.mac).is_some_and(|policy| is_directed(*policy));
            let nsid = child.place.nsid;
            let owner = match nsid {
                // Nobody but the host answers for it.
                None if answers_itself(child) => Some(Told::Own),
                nsid => (is_member && is_alone(nsid)).then_some(Told::Owner(child.mac)),
            };
            claims.add(self.of(nsid, child.index).await, owner);
        }
        let mut gateways = self.strict.next_hops(index).await.unwrap_or_default();
        let places: BTreeSet<Option<i32>> = children.iter().map(|child| child.place.nsid).collect();
        self.places.retain(|nsid, _| nsid.is_none() || places.contains(nsid));
        let mut told = claims.uncontested();
        let has = |gateway: &IpAddr| match told.get(gateway) {
            Some(Told::Owner(owner)) if *owner != mac => Some(*owner),
            _ => None,
        };
        if gateways.iter().any(|gateway| has(gateway).is_some()) {
            let neighbours = self.strict.neighbours(index).await.unwrap_or_default();
            gateways.retain(|gateway| {
                !has(gateway).is_some_and(|child| is_at(neighbours.get(gateway).copied(), child))
            });
        }
        self.has_rivals = gateways.iter().any(|gateway| has(gateway).is_some());
        told.extend(gateways.into_iter().map(|gateway| (gateway, Told::Gateway)));
        told
    }

    /// Whether a child has the address of a gateway that is not known to be silent on the wire: should it be, no
    /// event tells.
    pub const fn has_rivals(&self) -> bool {
        self.has_rivals
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

    /// What the programs for a wire of one MAC are to know of the master with this index: the addresses of those `children`
    /// that are `members`, and of the host; the broadcast addresses of its networks; and which addresses children may
    /// teach. What a container says of itself counts only on networks that the host's own routes lead to by this master:
    /// where the host forwards, what is for others would be the container's otherwise. Of a family without such a route
    /// nothing is forwarded there, and all counts.
    ///
    /// # Errors
    ///
    /// The routes cannot be listed.
    pub async fn holders(
        &mut self,
        index: u32,
        children: &[&Child],
        members: &BTreeMap<Mac, Policy>,
    ) -> Result<ToldHolders> {
        self.forget(None);
        let on_link = self.strict.networks_on_link(index).await?;
        let mut told = ToldHolders { networks: teachable(&on_link), ..ToldHolders::default() };
        let mut claims: BTreeMap<IpAddr, Option<Mac>> = BTreeMap::new();
        for child in children
            .iter()
            .filter(|child| child.up && child.has_its_mac() && members.contains_key(&child.mac))
        {
            if child.place.nsid.is_none() {
                continue;
            }
            self.enter_unnumbered(&child.place).await;
            for assigned in self.of(child.place.nsid, child.index).await.iter().take(MOST_OF_ONE) {
                let address = assigned.net.address;
                if !assigned.answers || !is_of_one(&address) || !may_teach(&told.networks, address) {
                    continue;
                }
                let claim = claims.entry(address).or_insert(Some(child.mac));
                if *claim != Some(child.mac) {
                    *claim = None;
                }
            }
        }
        // What two have, the one that says so has.
        let single = claims.into_iter().filter_map(|(address, claim)| Some((address, Some(claim?))));
        told.holders.extend(single);
        for (network, prefix) in &on_link {
            if let IpAddr::V4(network) = network
                && (1..=30).contains(prefix)
            {
                let last = u32::from(*network) | (u32::MAX >> prefix);
                told.holders.insert(IpAddr::V4(last.into()), Some(Mac::BROADCAST));
            }
        }
        // The host's own come before all.
        let hosts = self.read(None).await.into_iter().flat_map(BTreeMap::values).flatten();
        let hosts = hosts.map(|assigned| assigned.net.address).filter(is_of_one);
        told.holders.extend(hosts.map(|address| (address, None)));
        Ok(told)
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

/// Whether a gateway that a child has the address of is that child. A container can give itself the address of the
/// router on the wire: the host asks the wire alone, until nobody there has answered twice.
fn is_at(gateway: Option<Neighbour>, child: Mac) -> bool {
    gateway.is_some_and(|gateway| gateway == Neighbour::Silent || gateway.mac() == Some(child))
}

/// Whether a single host can have this address on a network.
fn is_of_one(address: &IpAddr) -> bool {
    !address.is_loopback() && !address.is_unspecified() && !address.is_multicast()
}

/// Which addresses children may teach where these networks are on the link.
fn teachable(on_link: &BTreeSet<(IpAddr, u8)>) -> Vec<Network> {
    let (v4, v6) = (IpAddr::V4(Ipv4Addr::UNSPECIFIED), IpAddr::V6(Ipv6Addr::UNSPECIFIED));
    let link_local = (IpAddr::V6(Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 0)), 10);
    let is_local = |address: &IpAddr| matches!(address, IpAddr::V6(v6) if v6.is_unicast_link_local());
    let has = |v4: bool| on_link.iter().any(|(address, _)| address.is_ipv4() == v4 && !is_local(address));
    let untagged = |(address, prefix): (IpAddr, u8), may_teach| Network {
        vlan: Some(0),
        address: Some(address),
        prefix,
        may_teach,
    };
    let mut networks = vec![
        Network { vlan: None, address: None, prefix: 0, may_teach: true },
        untagged((v6, 0), !has(false)),
        untagged((v4, 0), !has(true)),
        untagged(link_local, true),
    ];
    networks.extend(on_link.iter().map(|network| untagged(*network, true)));
    networks
}

/// What the longest of these prefixes says.
fn may_teach(networks: &[Network], address: IpAddr) -> bool {
    let is_in = |network: &&Network| match (network.address, address) {
        (Some(IpAddr::V4(net)), IpAddr::V4(address)) => {
            let shift = 32 - u32::from(network.prefix);
            (u32::from(net) ^ u32::from(address)).checked_shr(shift).is_none_or(|differs| differs == 0)
        }
        (Some(IpAddr::V6(net)), IpAddr::V6(address)) => {
            let shift = 128 - u32::from(network.prefix);
            (u128::from(net) ^ u128::from(address)).checked_shr(shift).is_none_or(|differs| differs == 0)
        }
        _ => false,
    };
    networks.iter().filter(is_in).max_by_key(|network| network.prefix).is_none_or(|network| network.may_teach)
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
    child.kind != Kind::Macvtap
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
    fn a_gateway_is_the_child_where_the_wire_is_silent_or_the_child_is_used() {
        let [child, router] = [1, 2].map(|last| Mac::new([2, 0, 0, 0, 0, last]));
        assert!(is_at(Some(Neighbour::Silent), child));
        assert!(
            is_at(Some(Neighbour::Valid(child)), child) && is_at(Some(Neighbour::Permanent(child)), child)
        );
        assert!(!is_at(Some(Neighbour::Valid(router)), child) && !is_at(None, child));
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
