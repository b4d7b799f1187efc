//! Settings of children whose devices get another MAC.

use std::collections::{BTreeMap, BTreeSet};

use macvlan_common::{child::AntiSpoof, mac::Mac};

use crate::{
    model::{child::Child, members::Members},
    policy::change::PolicyChange,
};

/// Lets those of the children that are held to a MAC have the one of their device for whom `changes` say so.
pub fn let_go(children: &mut [Child], changes: &mut BTreeMap<Mac, PolicyChange>) {
    let may =
        |change: &PolicyChange| change.mac_change == Some(true) || change.anti_spoof == Some(AntiSpoof::Off);
    for child in children {
        let Some(other) = child.other_mac.filter(|_| changes.get(&child.mac).is_some_and(may)) else {
            continue;
        };
        let was = std::mem::replace(&mut child.mac, other);
        child.other_mac = None;
        if let Some(change) = changes.remove(&was) {
            changes.insert(other, change);
        }
    }
}

/// Puts right by what is known of their devices which MACs the children had `former`ly, by those that they have.
pub fn correct(former: &mut BTreeMap<Mac, Mac>, children: &[Child]) {
    for child in children {
        if let Some(other) = child.other_mac {
            former.remove(&other);
        }
        match child.program_mac {
            Some(was) if was == child.mac => drop(former.remove(&was)),
            Some(was) => drop(former.insert(child.mac, was)),
            None => {}
        }
    }
}

/// Gives each child that has another MAC by now what it had under the one that it had before, by its present one in
/// `former`. One that has a MAC which is only claimed was not named by it.
pub fn carry(
    former: &BTreeMap<Mac, Mac>,
    present: &Members,
    claimed: &BTreeSet<Mac>,
    changes: &mut BTreeMap<Mac, PolicyChange>,
) {
    for (now, was) in former {
        if let Some(mut setting) = present.settled_of(*was) {
            setting.named &= !claimed.contains(now);
            let change = changes.entry(*now).or_default();
            *change = change.or(setting);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_child_that_may_change_its_mac_is_known_by_the_new_one() {
        let (own, other) = (Mac::new([2, 0, 0, 0, 0, 1]), Mac::new([2, 0, 0, 0, 0, 2]));
        let held =
            || [Child { other_mac: Some(other), program_mac: Some(own), ..Child::example("web", own) }];
        for (change, expected) in [
            (PolicyChange { mac_change: Some(true), ..PolicyChange::default() }, other),
            (PolicyChange { anti_spoof: Some(AntiSpoof::Off), ..PolicyChange::default() }, other),
            (PolicyChange { anti_spoof: Some(AntiSpoof::Ip), ..PolicyChange::default() }, own),
            (PolicyChange { mac_change: Some(false), ..PolicyChange::default() }, own),
        ] {
            let (mut children, mut changes) = (held(), BTreeMap::from([(own, change)]));
            let_go(&mut children, &mut changes);
            assert_eq!((children[0].mac, changes), (expected, BTreeMap::from([(expected, change)])));
            assert_eq!(children[0].device_mac(), other);
            // An event told that the device has another MAC.
            let mut former = BTreeMap::from([(other, own)]);
            correct(&mut former, &children);
            assert_eq!(former, (expected == other).then_some((other, own)).into_iter().collect());
        }
    }
}
