//! What a shim holds, and the steps from one to another: pure.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

use macvlan_common::mac::Mac;

use crate::kernel::netlink::route::HostRoute;

/// What a shim holds, or is to hold.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Contents {
    /// The host's addresses.
    pub addresses: BTreeSet<IpAddr>,
    /// Addresses of children, and the host's own for each.
    pub routes: BTreeMap<IpAddr, IpAddr>,
    /// Addresses of children, and the child's MAC: the host need not ask everybody for it.
    pub neighbours: BTreeMap<IpAddr, Mac>,
}

/// One step from what a shim holds to what it is to hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Give it an address of the host.
    AddAddress(IpAddr),
    /// Take one away.
    RemoveAddress(IpAddr),
    /// Lead the way to an address of a child through it.
    AddRoute(HostRoute),
    /// No longer.
    RemoveRoute(HostRoute),
    /// This address is a child's with this MAC, and was one's with the other.
    SetNeighbour(IpAddr, Mac, Option<Mac>),
    /// This address is no child's any more; it was one's with this MAC.
    RemoveNeighbour(IpAddr, Mac),
}

impl Contents {
    /// The steps from these contents to others, in an order in which each is possible.
    pub fn steps_to(&self, wanted: &Self) -> Vec<Step> {
        let mut steps = Vec::new();
        let missing = wanted.addresses.difference(&self.addresses);
        steps.extend(missing.map(|address| Step::AddAddress(*address)));
        let route = |(to, source): (&IpAddr, &IpAddr)| HostRoute { to: *to, source: *source };
        let gone = self.routes.iter().filter(|(to, source)| wanted.routes.get(to) != Some(source));
        steps.extend(gone.map(|found| Step::RemoveRoute(route(found))));
        for (ip, mac) in &wanted.neighbours {
            let before = self.neighbours.get(ip).copied();
            if before != Some(*mac) {
                steps.push(Step::SetNeighbour(*ip, *mac, before));
            }
        }
        let new = wanted.routes.iter().filter(|(to, source)| self.routes.get(to) != Some(source));
        steps.extend(new.map(|found| Step::AddRoute(route(found))));
        let gone = self.neighbours.iter().filter(|(ip, _)| !wanted.neighbours.contains_key(ip));
        steps.extend(gone.map(|(ip, mac)| Step::RemoveNeighbour(*ip, *mac)));
        let gone = self.addresses.difference(&wanted.addresses);
        steps.extend(gone.map(|address| Step::RemoveAddress(*address)));
        steps
    }

    /// Whether nothing is missing here of what is wanted.
    pub fn holds(&self, wanted: &Self) -> bool {
        self.steps_to(wanted).is_empty()
    }

    /// Whom the host's way leads to (`true`), and who may not talk to it, by MAC.
    pub fn access(&self) -> BTreeMap<Mac, bool> {
        let mut access = BTreeMap::new();
        for (ip, mac) in &self.neighbours {
            *access.entry(*mac).or_insert(false) |= self.routes.contains_key(ip);
        }
        access
    }
}

impl Step {
    /// The step that takes this one back.
    pub fn undone(self) -> Self {
        match self {
            Self::AddAddress(address) => Self::RemoveAddress(address),
            Self::RemoveAddress(address) => Self::AddAddress(address),
            Self::AddRoute(route) => Self::RemoveRoute(route),
            Self::RemoveRoute(route) => Self::AddRoute(route),
            Self::SetNeighbour(ip, mac, None) => Self::RemoveNeighbour(ip, mac),
            Self::SetNeighbour(ip, mac, Some(before)) => Self::SetNeighbour(ip, before, Some(mac)),
            Self::RemoveNeighbour(ip, mac) => Self::SetNeighbour(ip, mac, None),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn apply(contents: &mut Contents, step: Step) {
        match step {
            Step::AddAddress(address) => assert!(contents.addresses.insert(address)),
            Step::RemoveAddress(address) => assert!(contents.addresses.remove(&address)),
            Step::AddRoute(route) => assert_eq!(contents.routes.insert(route.to, route.source), None),
            Step::RemoveRoute(route) => assert_eq!(contents.routes.remove(&route.to), Some(route.source)),
            Step::SetNeighbour(ip, mac, before) => assert_eq!(contents.neighbours.insert(ip, mac), before),
            Step::RemoveNeighbour(ip, mac) => assert_eq!(contents.neighbours.remove(&ip), Some(mac)),
        }
    }

    fn any_contents() -> impl Strategy<Value = Contents> {
        let address = || (0_u8..6).prop_map(|last| IpAddr::from([10, 9, 0, last]));
        let mac = (0_u8..3).prop_map(|last| Mac::new([2, 0, 0, 0, 0, last]));
        let addresses = prop::collection::btree_set(address(), 0..4);
        let routes = prop::collection::btree_map(address(), address(), 0..4);
        let neighbours = prop::collection::btree_map(address(), mac, 0..4);
        (addresses, routes, neighbours).prop_map(|(addresses, routes, neighbours)| Contents {
            addresses,
            routes,
            neighbours,
        })
    }

    proptest! {
        #[test]
        fn the_steps_lead_there_and_back(from in any_contents(), to in any_contents()) {
            let steps = from.steps_to(&to);
            let mut now = from.clone();
            for step in &steps {
                apply(&mut now, *step);
            }
            prop_assert_eq!(&now, &to);
            prop_assert_eq!(to.steps_to(&to), Vec::new());
            for step in steps.iter().rev() {
                apply(&mut now, step.undone());
            }
            prop_assert_eq!(now, from);
        }
    }
}
