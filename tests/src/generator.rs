//! Frames as fast as one core can make them: the product's own generator, in a test's namespace.

use std::time::Duration;

use macvlan_ctl::bench::{cpu::Cpus, generator};

use crate::{fail::OrFail as _, netns::Netns};

/// Sends out of one device.
pub struct Generator<'a> {
    ns: &'a Netns,
    generator: generator::Generator,
}

impl<'a> Generator<'a> {
    /// A generator on a device. The device at the other end must take such frames: a veth does
    /// with GRO on, or with an XDP program.
    #[track_caller]
    pub fn new(ns: &'a Netns, device: &str) -> Self {
        let generator = generator::Generator::new(ns.ifindex(device)).or_fail("make a generator");
        Self { ns, generator }
    }

    /// Sends a frame so many times, and tells how long that took by the clock.
    #[track_caller]
    pub fn send(&self, frame: &[u8], times: u32) -> Duration {
        self.ns.enter(|| {
            let cpus = Cpus::allowed().or_fail("tell the processors");
            cpus.take_one().or_fail("keep a processor");
            self.generator.send(frame, times).or_fail("generate frames").elapsed
        })
    }
}
