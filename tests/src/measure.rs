//! Figures that are compared within one run.

use std::{
    net::{TcpListener, TcpStream},
    panic, thread,
    time::Duration,
};

use macvlan_bench::lab::{
    cpu::Cpus,
    traffic::stream::{drain, fill, rate, stream},
};

use crate::{fail::OrFail as _, lab::Station};

use macvlan_bench::bench::rounds::{Turn, turns};

pub use macvlan_bench::bench::rounds::Spread;

/// What a ratio must reach: what is aimed at (`MACVLAN_TESTS_AIMS=1`), or what a busy shared machine
/// can hold.
pub fn bound(aimed_at: f64, held: f64) -> f64 {
    let aims = std::env::var_os("MACVLAN_TESTS_AIMS").is_some();
    if aims { aimed_at } else { held }
}

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
    let cpus = Cpus::allowed().or_fail("tell the processors");
    let [near, far] = [from, to].map(Station::endpoint);
    stream(&cpus, near, far, 1, time).or_fail("measure a stream")
}

/// Bytes that one TCP stream carries in a second, at its receiver, wherever the kernel has its sides run.
#[track_caller]
pub fn tcp_bytes_per_second(from: &Station, to: &Station, time: Duration) -> f64 {
    let listener = to.ns.enter(|| TcpListener::bind((to.ip, 0))).or_fail("listen");
    let address = listener.local_addr().or_fail("tell the port");
    let near = from.ns.enter(|| TcpStream::connect(address)).or_fail("connect");
    let (far, _) = listener.accept().or_fail("accept");
    thread::scope(|scope| {
        let reader = scope.spawn(|| drain(far).or_fail("read"));
        fill(near, time).or_fail("write");
        rate(&[reader.join().unwrap_or_else(|cause| panic::resume_unwind(cause))])
    })
}
