//! Figures that are compared within one run.

use std::time::Duration;

use macvlan_bench::lab::{cpu::Cpus, traffic::stream::stream};

use crate::{fail::OrFail as _, lab::Station};

use macvlan_bench::bench::rounds::{Turn, turns};

pub use macvlan_bench::bench::rounds::Spread;

/// Measures every contender in each round, each in its turn the first, so that whatever a predecessor
/// leaves behind hits all; the first round warms up.
pub fn rounds<const N: usize>(count: usize, mut measure: impl FnMut(usize) -> f64) -> [Vec<f64>; N] {
    let mut figures = [const { Vec::new() }; N];
    for Turn { number, counts } in turns(N, count) {
        let figure = measure(number);
        if counts {
            figures[number].push(figure);
        }
    }
    figures
}

/// The middle of these values, and their range.
#[track_caller]
pub fn spread(values: &[f64]) -> Spread {
    Spread::of(values.iter().copied()).or_fail("find the middle of no values")
}

/// The same of the ratios of what was measured in the same round.
#[track_caller]
pub fn spread_of_ratios(values: &[f64], bases: &[f64]) -> Spread {
    Spread::of_ratios(values, bases).or_fail("find the middle of no ratios")
}

/// Bytes that one TCP stream carries in a second, at its receiver, each side on a processor of its own
/// and before other work.
#[track_caller]
pub fn undisturbed_tcp_bytes_per_second(from: &Station, to: &Station, time: Duration) -> f64 {
    tcp_bytes_per_second_on(&Cpus::allowed().or_fail("tell the processors"), from, to, time)
}

/// The same with both sides on one processor.
#[track_caller]
pub fn tcp_bytes_per_second_on_one_cpu(from: &Station, to: &Station, time: Duration) -> f64 {
    tcp_bytes_per_second_on(&Cpus::allowed().or_fail("tell the processors").only_one(), from, to, time)
}

#[track_caller]
fn tcp_bytes_per_second_on(cpus: &Cpus, from: &Station, to: &Station, time: Duration) -> f64 {
    let [near, far] = [from, to].map(Station::endpoint);
    stream(cpus, near, far, 1, time).or_fail("measure a stream")
}
