//! Which children get into a map that has not room for all.

use std::collections::BTreeMap;

use macvlan_common::{child::Policy, mac::Mac};

/// As many as there is room for: those that are in already come first.
pub fn fit(
    wanted: BTreeMap<Mac, Policy>,
    present: &BTreeMap<Mac, Policy>,
    room: usize,
) -> (BTreeMap<Mac, Policy>, usize) {
    let left_out = wanted.len().saturating_sub(room);
    if left_out == 0 {
        return (wanted, 0);
    }
    let (old, new): (Vec<_>, Vec<_>) = wanted.into_iter().partition(|(mac, _)| present.contains_key(mac));
    (old.into_iter().chain(new).take(room).collect(), left_out)
}

#[cfg(test)]
mod tests {
    use macvlan_common::child::Mode;

    use super::*;

    #[test]
    fn where_room_is_short_those_inside_stay() {
        let policy = Policy::new(Mode::Bridge, true);
        let mac = |last| Mac::new([2, 0, 0, 0, 0, last]);
        let wanted: BTreeMap<Mac, Policy> = (1..=4).map(|last| (mac(last), policy)).collect();
        let present = BTreeMap::from([(mac(3), policy), (mac(4), policy)]);
        let (fitting, left_out) = fit(wanted.clone(), &present, 3);
        assert_eq!(fitting.into_keys().collect::<Vec<_>>(), [mac(1), mac(3), mac(4)]);
        assert_eq!(left_out, 1);
        assert_eq!(fit(wanted.clone(), &present, 4), (wanted, 0));
    }
}
