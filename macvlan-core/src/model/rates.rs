//! From counters to rates: for `stats --watch` and the screen of `top`.

use std::{collections::BTreeMap, time::Duration};

use crate::model::stats::{ChildStats, MasterStats, Pair};
use macvlan_common::mac::Mac;

/// What was counted since `before`, per second. Who was not there yet, or counts anew since (an attach
/// in between), has rates of 0: nobody knows when that began.
pub fn rates(now: &[MasterStats], before: &[MasterStats], elapsed: Duration) -> Vec<MasterStats> {
    let mut rates = now.to_vec();
    for master in &mut rates {
        let mut earlier = before.iter().find(|earlier| earlier.ifname == master.ifname).cloned();
        let dropped = earlier.as_ref().and_then(|earlier| earlier.kernel_rx_dropped);
        master.kernel_rx_dropped = master.kernel_rx_dropped.map(|now| {
            let pair = |packets| Pair { packets, bytes: 0 };
            pair(now).per_second(pair(dropped.unwrap_or(now)), elapsed).packets
        });
        let pairs = earlier.as_mut().map(master_pairs).unwrap_or_default();
        to_rates(master_pairs(master), &pairs, elapsed);
        let children = earlier.iter_mut().flat_map(|earlier| &mut earlier.children);
        let mut children: BTreeMap<Mac, &mut ChildStats> =
            children.map(|child| (child.address, child)).collect();
        for child in &mut master.children {
            let pairs = children.get_mut(&child.address).map(|child| child_pairs(child)).unwrap_or_default();
            to_rates(child_pairs(child), &pairs, elapsed);
        }
    }
    rates
}

fn to_rates(now: Vec<&mut Pair>, earlier: &[&mut Pair], elapsed: Duration) {
    let same = now.len() == earlier.len();
    let goes_on = same && now.iter().zip(earlier).all(|(now, earlier)| !now.is_behind(**earlier));
    for (index, pair) in now.into_iter().enumerate() {
        let earlier = earlier.get(index).filter(|_| goes_on);
        *pair = earlier.map_or(Pair::default(), |earlier| pair.per_second(**earlier, elapsed));
    }
}

/// Every counter of a master itself, in a fixed order.
fn master_pairs(master: &mut MasterStats) -> Vec<&mut Pair> {
    let mut pairs: Vec<&mut Pair> = Vec::new();
    pairs.extend(&mut master.unknown_unicast);
    pairs.extend(master.flood.iter_mut().flat_map(|floods| floods.values_mut()));
    pairs.extend(master.drops.iter_mut().flat_map(|drops| drops.values_mut()));
    pairs.extend(&mut master.copy_failed);
    pairs
}

/// Every counter of a child, in a fixed order.
fn child_pairs(child: &mut ChildStats) -> Vec<&mut Pair> {
    let mut pairs: Vec<&mut Pair> = Vec::new();
    for path in [&mut child.stats64, &mut child.wire, &mut child.host, &mut child.sibling] {
        for both in path.as_mut_slice() {
            pairs.extend([&mut both.rx, &mut both.tx]);
        }
    }
    pairs.extend(child.drops.iter_mut().flat_map(|drops| drops.values_mut()));
    pairs
}

impl Pair {
    /// Whether this is less than `earlier` was: the counter began anew in between.
    fn is_behind(self, earlier: Self) -> bool {
        self.packets < earlier.packets || self.bytes < earlier.bytes
    }

    /// What came since `earlier`, per second, to the nearest whole number.
    fn per_second(self, earlier: Self, elapsed: Duration) -> Self {
        let rate = |now: u64, earlier: u64| {
            let nanos = elapsed.as_nanos().max(1);
            let scaled = u128::from(now.saturating_sub(earlier)) * Duration::from_secs(1).as_nanos();
            u64::try_from((scaled + nanos / 2) / nanos).unwrap_or(u64::MAX)
        };
        Self { packets: rate(self.packets, earlier.packets), bytes: rate(self.bytes, earlier.bytes) }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::model::stats::BothWays;

    const SECOND: Duration = Duration::from_secs(1);

    fn pair(packets: u64) -> Pair {
        Pair { packets, bytes: packets * 60 }
    }

    fn both(packets: u64) -> BothWays {
        BothWays { rx: pair(packets), tx: pair(packets) }
    }

    fn child(packets: u64) -> ChildStats {
        ChildStats {
            ifname: "web".into(),
            netns: None,
            netnsid: None,
            address: "02:00:00:00:00:01".parse().unwrap(),
            stats64: None,
            wire: Some(both(packets)),
            host: None,
            sibling: Some(both(packets)),
            container: None,
            drops: Some([("isolated", pair(packets))].into()),
        }
    }

    fn master(packets: u64) -> MasterStats {
        MasterStats {
            ifname: "eth0".into(),
            unknown_unicast: Some(pair(packets)),
            flood: None,
            drops: None,
            copy_failed: Some(pair(packets)),
            kernel_rx_dropped: Some(packets),
            children: vec![child(packets)],
        }
    }

    #[test]
    fn a_rate_is_the_difference_per_second() {
        let rates = rates(&[master(30)], &[master(10)], Duration::from_secs(2));
        assert_eq!(rates, [master(10)]);
    }

    #[test]
    fn a_rate_is_over_the_true_time_and_rounded_to_the_nearest() {
        let rate = |packets, millis| pair(packets).per_second(pair(0), Duration::from_millis(millis)).packets;
        assert_eq!((rate(10, 500), rate(10, 1001), rate(1, 3000), rate(2, 3000)), (20, 10, 0, 1));
    }

    #[test]
    fn one_counter_that_began_anew_makes_all_of_that_child_0_and_no_other() {
        let mut now = master(30);
        now.children[0].sibling = Some(both(1));
        let rates = rates(&[now], &[master(10)], SECOND);
        assert_eq!(rates[0].children, [child(0)]);
        assert_eq!(rates[0].unknown_unicast, Some(pair(20)));
    }

    #[test]
    fn who_was_not_there_or_not_counted_begins_at_0() {
        assert_eq!(rates(&[master(9)], &[], SECOND), [master(0)]);
        let without = |master: MasterStats| MasterStats {
            children: Vec::new(),
            unknown_unicast: None,
            kernel_rx_dropped: None,
            ..master
        };
        assert_eq!(rates(&[master(9)], &[without(master(3))], SECOND), [master(0)]);
        let mut uncounted = master(3);
        uncounted.children[0] = ChildStats { wire: None, sibling: None, drops: None, ..child(0) };
        assert_eq!(rates(&[master(9)], &[uncounted], SECOND)[0].children, [child(0)]);
    }

    proptest! {
        #[test]
        fn a_rate_times_its_time_is_what_came(
            earlier in 0..u64::MAX / 2, came in 0..u64::MAX / 2, millis in 1..10_000_000_u64,
        ) {
            let (now, before) = (Pair { packets: earlier + came, bytes: 0 }, Pair { packets: earlier, bytes: 0 });
            let rate = now.per_second(before, Duration::from_millis(millis)).packets;
            // Half a frame per second is lost to rounding at most.
            let (back, came) = (u128::from(rate) * u128::from(millis), u128::from(came) * 1000);
            prop_assert!(rate == u64::MAX || back.abs_diff(came) * 2 <= u128::from(millis));
        }

        #[test]
        fn no_counters_whatever_make_a_negative_rate_or_a_panic(
            now: (u64, u64), before: (u64, u64), nanos: u64,
        ) {
            let of = |(packets, bytes)| MasterStats { unknown_unicast: Some(Pair { packets, bytes }), ..master(0) };
            let rate = rates(&[of(now)], &[of(before)], Duration::from_nanos(nanos))[0].unknown_unicast.unwrap();
            if now.0 < before.0 || now.1 < before.1 {
                prop_assert_eq!(rate, Pair::default());
            }
        }
    }
}
