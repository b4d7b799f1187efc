//! What guarded children say behind their MACs: every case of `inspect`, on both paths of a child.

use macvlan_common::{
    cases::{World, WorldChild},
    child::{Mode, Policy},
    config::Config,
    frame::Hook,
    inspect::cases::{self, CHILD},
    mac::Mac,
    tag::Sender,
};
use macvlan_tests::{needs, require};

use crate::bench::{Offload, in_bench, runs_as_skb};

/// A bridge child beside the one that is guarded.
const SIBLING: Mac = Mac::new([0x02, 0, 0, 0, 1, 2]);

#[test]
fn every_case_of_the_guards_holds_in_tc_egress_and_between_siblings() {
    needs!(require::lab);
    in_bench(|bench| {
        bench.own = cases::own();
        bench.programs.set_own(CHILD, &cases::own());
        let hooks = [(Hook::Egress, 0), (Hook::Ingress, 0), (Hook::AfterXdp, Config::XDP_GENERIC)];
        let mut run = 0;
        for case in cases::all().into_iter().filter(|case| runs_as_skb(&case.frame)) {
            for (hook, flags) in hooks {
                bench.programs.set_world(&world(case.policy).with_flags(flags));
                let mut frame = case.frame.clone();
                if hook != Hook::Egress {
                    frame[..6].copy_from_slice(&SIBLING.octets());
                }
                let mut world = world(case.policy).with_flags(flags);
                let before = bench.programs.counters().children[0].drops;
                let checked = bench.check(&mut world, hook, Sender::Unknown, &frame, Offload::None);
                checked.unwrap_or_else(|difference| panic!("{}: {difference}", case.row));
                let after = bench.programs.counters().children[0].drops;
                let counted = (0..after.len()).find(|reason| after[*reason] != before[*reason]);
                assert_eq!(counted, case.verdict.map(|reason| reason as usize), "{}: {hook:?}", case.row);
                run += 1;
            }
        }
        assert!(run > 500, "only {run} cases could be run");
    });
}

fn world(policy: Policy) -> World {
    let child = |name, mac, policy| WorldChild::new(name, mac, policy);
    World::new(vec![child("g1", CHILD, policy), child("b1", SIBLING, Policy::new(Mode::Bridge, true))])
}
