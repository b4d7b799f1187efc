//! What a program without the network stack gets on a port, beside a UDP socket on a macvlan.

use std::time::Duration;

use macvlan_bench::{
    bench::user_space::{WAYS, measured::Measured},
    lab::cpu::Cpus,
};
use macvlan_tests::{
    claim::{Claim, hold, said},
    fail::OrFail as _,
    lab::Lab,
    measure::{rounds, spread, spread_of_ratios},
    needs, require,
};

use super::FRAMES;

const FIGURES: &str = "docs/performance.md";

/// Each has all of a machine of two processors.
const ROUNDS: usize = 21;

/// How long a program sends or answers.
const TIME: Duration = Duration::from_millis(50);

/// Those that are held: ours, and last whom they are compared with.
const HELD: [&str; 4] = ["xsk-port", "xsk-port-patient", "xsk-port-spin", "udp-socket"];

#[test]
#[cfg_attr(
    debug_assertions,
    ignore = "the program is part of the test: measured with cargo xtask test --release"
)]
fn a_program_on_a_port_gets_what_is_said() {
    needs!(require::lab, require::tcx);
    // Mounts of its own, where pins are nobody else's.
    Lab::new().mounts().enter(|| {
        let cpus = Cpus::allowed().or_fail("tell the processors");
        let ways = HELD.map(|name| WAYS.iter().find(|way| way.name == name).or_fail("find a way"));
        let labs = ways.map(|way| Measured::build(way).or_fail(format!("build {}", way.name)));
        let report = |column: usize, what: &str, least: bool, measure: &dyn Fn(&Measured) -> f64| {
            let claims = [0, 1, 2].map(|ours| {
                let (low, high) = said(FIGURES, &format!("{} |", labs[ours].way.title), column);
                let what = format!("{}, {what}", labs[ours].way.title);
                match least {
                    true => Claim::at_least(low, (ours, 3), &what),
                    false => Claim::at_most(high, (ours, 3), &what),
                }
            });
            let [sleeps, patient, spins, udp] = hold(&claims, || rounds(ROUNDS, |lab| measure(&labs[lab])));
            println!(
                "{what}, {ROUNDS} rounds: port {}, patient {}, spinning {} of {:.3e}",
                spread_of_ratios(&sleeps, &udp),
                spread_of_ratios(&patient, &udp),
                spread_of_ratios(&spins, &udp),
                spread(&udp).median
            );
        };
        report(1, "receives", true, &|lab| lab.receive(&cpus, FRAMES).or_fail("receive"));
        report(2, "sends", true, &|lab| lab.send(&cpus, TIME).or_fail("send"));
        report(3, "answers", false, &|lab| lab.echo(&cpus, TIME).or_fail("answer"));
    });
}
