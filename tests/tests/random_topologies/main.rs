//! Random topologies, carried by plain macvlan and by the data path: everything that plain macvlan delivers is
//! delivered, to the same receivers and at most once, and host and children reach each other unless the contract
//! says otherwise.
//!
//! 200 topologies, or as many as `MACVLAN_TESTS_TOPOLOGIES` says; `MACVLAN_TESTS_SEED` brings one back.

mod contract;
mod scene;
mod topology;

use std::{
    collections::BTreeSet,
    sync::atomic::{AtomicUsize, Ordering},
    thread,
    time::{Duration, Instant},
};

use macvlan_tests::{
    fail::OrFail as _,
    following::Following,
    lab::Lab,
    needs, require,
    rng::{self, Rng},
};

use crate::{contract::violations, scene::Scene, topology::Topology};

/// Topologies of one lab: it is changed step by step.
const STEPS: usize = 10;

/// Labs at the same time: they mostly wait.
const WORKERS: usize = 6;

/// So long may `run` take to follow a change, on a busy machine.
const PATIENCE: Duration = Duration::from_secs(5);

#[test]
fn nothing_is_delivered_worse_than_by_plain_macvlan() {
    needs!(require::lab, require::tc, require::binary);
    let wanted = std::env::var("MACVLAN_TESTS_TOPOLOGIES").ok();
    let wanted: usize = wanted.map_or(200, |count| count.parse().or_fail("read MACVLAN_TESTS_TOPOLOGIES"));
    let (seed, next) = (rng::seed(), AtomicUsize::new(0));
    let work = || {
        loop {
            let number = next.fetch_add(1, Ordering::Relaxed);
            if number * STEPS >= wanted {
                return;
            }
            one_lab(seed.wrapping_add(number as u64));
        }
    };
    thread::scope(|scope| {
        let workers: Vec<_> = (0..WORKERS).map(|_| scope.spawn(work)).collect();
        for worker in workers {
            if let Err(panic) = worker.join() {
                std::panic::resume_unwind(panic);
            }
        }
    });
}

/// A lab of plain macvlan and one with the data path go through the same changes.
fn one_lab(seed: u64) {
    let mut rng = Rng::new(seed);
    let mut topology = Topology::random(&mut rng);
    let labs = [Lab::new(), Lab::new()];
    let [mut plain, mut ours] = labs.each_ref().map(|lab| Scene::new(lab, &topology));
    let [_, lab] = &labs;
    let is_followed = !rng.one_in(3);
    let _following = is_followed.then(|| Following::start(lab, &["eth0", "--require-bpf"]));
    let mut unasked = BTreeSet::new();
    for step in 0..STEPS {
        if step > 0 {
            let next = topology.changed(&mut rng);
            unasked.extend(topology.with_other_modes(&next));
            topology = next;
            plain.become_like(&topology);
            ours.become_like(&topology);
        }
        if !is_followed {
            lab.ctl(&["attach", "eth0", "--require-bpf"]).succeeded();
        }
        // A mode that was changed inside counts once root asks for it.
        unasked.retain(|number: &usize| {
            let (member, mac) = (topology.members[*number], ours.mac(*number));
            if member.is_up {
                let change = format!("{mac},mode={}", member.mode.as_str());
                lab.ctl(&["child", "set", "eth0", &change]).succeeded();
            }
            !member.is_up
        });
        let how = if is_followed { "followed" } else { "attached" };
        compare(&plain, &ours, &format!("{how}, step {step}, MACVLAN_TESTS_SEED={seed}"));
    }
}

/// Both are measured until they agree: `run` needs a moment to follow.
fn compare(plain: &Scene<'_>, ours: &Scene<'_>, when: &str) {
    let (topology, start) = (plain.now(), Instant::now());
    loop {
        plain.announce();
        ours.announce();
        let (by_plain, by_ours) = (plain.measure(), ours.measure());
        let wrong = violations(topology, &by_plain, &by_ours);
        if wrong.is_empty() {
            return;
        }
        let is_twice = by_ours.iter().any(|(key, count)| *count > 1 && *count > by_plain[key]);
        if is_twice || start.elapsed() > PATIENCE {
            panic!("{when}\n{topology:?}\n{}", wrong.join("\n"));
        }
    }
}
