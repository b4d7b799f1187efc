//! Who is in where there are more children than fit.

use std::collections::{BTreeMap, BTreeSet};

use macvlan_common::{child::Policy, mac::Mac};

use crate::model::{child::Child, members::Members};

/// Leaves out as many as there is no room for, and says how many. Who was `known` already comes first, but a
/// container can make itself any number of devices: each namespace's first device comes before any one's
/// second. Those that somebody named, and those of the host's own, come before all.
pub fn fit(members: &mut Members, children: &[&Child], known: &BTreeMap<Mac, Policy>, room: usize) -> usize {
    let left_out = members.policies.len().saturating_sub(room);
    if left_out == 0 {
        return 0;
    }
    let mut in_turn: Vec<(bool, &Child)> = children
        .iter()
        .filter(|child| members.policies.contains_key(&child.mac))
        .map(|child| (!known.contains_key(&child.mac), *child))
        .collect();
    in_turn.sort_by_key(|(is_new, child)| (*is_new, child.index, child.mac));
    let mut of_place = BTreeMap::<i32, usize>::new();
    let mut ranked = Vec::new();
    for (turn, (_, child)) in in_turn.into_iter().enumerate() {
        let is_first = members.policies.get(&child.mac).is_some_and(|policy| policy.is_named());
        let place = child.place.nsid.filter(|_| !is_first);
        let rank = place.map_or(0, |nsid| {
            let count = of_place.entry(nsid).or_default();
            *count += 1;
            *count
        });
        ranked.push((rank, turn, child.mac));
    }
    ranked.sort_unstable();
    let kept: BTreeSet<Mac> = ranked.into_iter().map(|(_, _, mac)| mac).take(room).collect();
    members.policies.retain(|mac, _| kept.contains(mac));
    members.rates.retain(|mac, _| kept.contains(mac));
    members.absent.retain(|mac| kept.contains(mac));
    left_out
}

#[cfg(test)]
mod tests {
    use macvlan_common::child::Mode;

    use super::*;

    fn mac(last: u8) -> Mac {
        Mac::new([2, 0, 0, 0, 0, last])
    }

    /// The last bytes of those that are kept of children with these, in these namespaces.
    fn kept(children: &[(u8, i32)], known: &[u8], named: &[u8], room: usize) -> (Vec<u8>, usize) {
        let policy = Policy::new(Mode::Bridge, true);
        let known = known.iter().map(|last| (mac(*last), policy)).collect();
        let children: Vec<Child> = children
            .iter()
            .map(|(last, nsid)| {
                let mut child = Child::example("a", mac(*last));
                child.index = u32::from(*last);
                child.place.nsid = Some(*nsid);
                child
            })
            .collect();
        let policies = children.iter().map(|child| {
            let is_named = named.iter().any(|last| mac(*last) == child.mac);
            (child.mac, if is_named { policy.with_named(true) } else { policy })
        });
        let mut members = Members { policies: policies.collect(), ..Members::default() };
        let children: Vec<&Child> = children.iter().collect();
        let left_out = fit(&mut members, &children, &known, room);
        (members.policies.into_keys().map(|mac| mac.octets()[5]).collect(), left_out)
    }

    #[test]
    fn where_room_is_short_those_inside_stay() {
        let apart = [(1, 1), (2, 2), (3, 3), (4, 4)];
        assert_eq!(kept(&apart, &[3, 4], &[], 3), (vec![1, 3, 4], 1));
        assert_eq!(kept(&apart, &[3, 4], &[], 4), (vec![1, 2, 3, 4], 0));
    }

    #[test]
    fn a_container_with_many_devices_keeps_nobody_out() {
        let crowd = [(1, 7), (2, 7), (3, 7), (4, 7), (5, 8), (6, 9)];
        assert_eq!(kept(&crowd, &[1, 2, 3, 4], &[], 4), (vec![1, 2, 5, 6], 2));
        assert_eq!(kept(&crowd, &[1, 2, 3, 4], &[3, 4], 4), (vec![1, 3, 4, 5], 2), "two are named");
    }
}
