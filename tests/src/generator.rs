//! Frames as fast as one core can make them, out of a device in a lab.

use std::{
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::{Duration, Instant},
};

use macvlan_bench::lab::{
    cpu::Cpus,
    generator::{self, Took, take_generated},
};

use crate::{fail::OrFail as _, lab::Lab, netns::Netns};

/// Sends out of one device of a namespace.
pub struct Generator<'a> {
    ns: &'a Netns,
    generator: generator::Generator,
}

impl<'a> Generator<'a> {
    /// Out of the wire's device; the master at its other end is made to take what comes.
    #[track_caller]
    pub fn on_wire(lab: &'a Lab) -> Self {
        let (host, wire) = (&lab.host, &lab.wire);
        host.ns.enter(|| take_generated(&host.dev)).or_fail("make the master take generated frames");
        let (ns, ifindex) = (&wire.ns, wire.ns.ifindex(&wire.dev));
        Self { ns, generator: generator::Generator::new(ifindex) }
    }

    /// Sends a frame so many times, and tells how long that took: by the clock, few take as long as many,
    /// as the kernel waits for a grace period before and after (`bpf_prog_change_xdp` in
    /// net/bpf/test_run.c).
    #[track_caller]
    pub fn send(&self, frame: &[u8], times: u32) -> Took {
        self.ns.enter(|| {
            undisturbed();
            self.repeat(frame, times)
        })
    }

    /// Sends a frame so many times a second, or as fast as it goes, until `over`; tells how many times
    /// a second it was.
    #[track_caller]
    pub fn flood(&self, frame: &[u8], per_second: u32, over: &AtomicBool) -> f64 {
        const ROUNDS: u32 = 10;
        self.ns.enter(|| {
            undisturbed();
            let (start, mut rounds) = (Instant::now(), 0);
            while !over.load(Ordering::Relaxed) {
                self.repeat(frame, per_second / ROUNDS);
                rounds += 1;
                let next = start + rounds * Duration::from_secs(1) / ROUNDS;
                thread::sleep(next.saturating_duration_since(Instant::now()));
            }
            f64::from(rounds * (per_second / ROUNDS)) / start.elapsed().as_secs_f64()
        })
    }

    #[track_caller]
    fn repeat(&self, frame: &[u8], times: u32) -> Took {
        self.generator.send(frame, times).or_fail("generate frames")
    }
}

/// Keeps other work off this thread. Sending is bounded, so nobody starves.
fn undisturbed() {
    let cpus = Cpus::allowed().or_fail("tell the processors");
    cpus.take_one().or_fail("stay on one processor");
}
