//! Reading counters: what a scrape or a look of `top` costs on a large machine.

use std::hint::black_box;

use criterion::Criterion;
use macvlan_common::child::ChildEntry;
use macvlan_core::datapath::bpf::sum;

const CHILDREN: usize = 4000;
const CPUS: usize = 64;

/// Sums the shares of all CPUs of every child.
fn decode(c: &mut Criterion) {
    let children = vec![vec![ChildEntry::default(); CPUS]; CHILDREN];
    c.bench_function("counters/4000 children on 64 CPUs", |bencher| {
        bencher.iter(|| {
            for shares in &children {
                black_box(sum(black_box(shares)));
            }
        });
    });
}

fn main() {
    let mut criterion = Criterion::default().configure_from_args();
    decode(&mut criterion);
    criterion.final_summary();
}
