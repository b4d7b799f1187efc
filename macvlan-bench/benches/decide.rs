//! The forwarding decision, one frame at a time, outside of the kernel: what a change of the policy
//! costs, before the programs are built.

use std::hint::black_box;

use criterion::Criterion;
use macvlan_common::{
    cases::{self, World},
    decide::decide,
    frame::Hook,
};

/// Every case of the contract that a hook has, in turn.
fn contract(c: &mut Criterion) {
    for (name, hook) in [("xdp", Hook::Xdp), ("ingress", Hook::Ingress), ("egress", Hook::Egress)] {
        let cases: Vec<_> = cases::all().into_iter().filter(|case| case.hook == hook).collect();
        assert!(!cases.is_empty(), "the contract has nothing for {name}");
        let mut turn = cases.iter().cycle();
        c.bench_function(&format!("decide/{name}"), |bencher| {
            bencher.iter(|| turn.next().map(|case| decide(hook, black_box(case.frame), world(&case.world))));
        });
    }
}

fn world(world: &World) -> &World {
    black_box(world)
}

fn main() {
    let mut criterion = Criterion::default().configure_from_args();
    contract(&mut criterion);
    criterion.final_summary();
}
