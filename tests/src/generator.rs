//! Frames as fast as one core can make them.
//!
//! The kernel itself repeats one frame out of a device (`BPF_PROG_TEST_RUN` with
//! `BPF_F_TEST_XDP_LIVE_FRAMES`, kernel 5.18) and runs the receiving side in the same context,
//! so the time of a call is the time that sending and receiving took together.

use std::{
    io,
    mem::size_of,
    os::fd::{AsRawFd as _, OwnedFd},
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::{Duration, Instant},
};

use nix::{
    sched::{CpuSet, sched_setaffinity},
    unistd::Pid,
};

use crate::{
    fail::OrFail as _,
    netns::Netns,
    syscall::{ProgramType, bpf, returning},
};

const BPF_PROG_TEST_RUN: libc::c_int = 10;
const BPF_F_TEST_XDP_LIVE_FRAMES: u32 = 1 << 1;

/// Out of the device that the context names.
const XDP_TX: i32 = 3;

/// Frames that the kernel prepares at a time.
const BATCH: u32 = 64;

/// Sends out of one device.
pub struct Generator<'a> {
    ns: &'a Netns,
    ifindex: u32,
    program: OwnedFd,
}

/// Head of `union bpf_attr` for `BPF_PROG_TEST_RUN`.
#[repr(C)]
#[derive(Default)]
struct TestRun {
    program: u32,
    result: u32,
    data_size_in: u32,
    data_size_out: u32,
    data_in: u64,
    data_out: u64,
    repeat: u32,
    duration: u32,
    ctx_size_in: u32,
    ctx_size_out: u32,
    ctx_in: u64,
    ctx_out: u64,
    flags: u32,
    cpu: u32,
    batch_size: u32,
    padding: u32,
}

/// `struct xdp_md`.
#[repr(C)]
#[derive(Default)]
struct XdpMd {
    data: u32,
    data_end: u32,
    data_meta: u32,
    ingress_ifindex: u32,
    rx_queue_index: u32,
    egress_ifindex: u32,
}

impl<'a> Generator<'a> {
    /// A generator on a device. The device at the other end must take such frames: a veth does
    /// with GRO on, or with an XDP program.
    #[track_caller]
    pub fn new(ns: &'a Netns, device: &str) -> Self {
        let program = returning(ProgramType::Xdp, XDP_TX);
        Self { ns, ifindex: ns.ifindex(device), program }
    }

    /// Sends a frame so many times, and tells how long that took.
    #[track_caller]
    pub fn send(&self, frame: &[u8], times: u32) -> Duration {
        self.ns.enter(|| {
            undisturbed();
            let start = Instant::now();
            self.repeat(frame, times);
            start.elapsed()
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

    /// The kernel waits for a grace period before and after: few frames take as long as many
    /// (`bpf_prog_change_xdp` in net/bpf/test_run.c).
    #[track_caller]
    fn repeat(&self, frame: &[u8], times: u32) {
        let context =
            XdpMd { data_end: frame.len() as u32, ingress_ifindex: self.ifindex, ..XdpMd::default() };
        let mut run = TestRun {
            program: self.program.as_raw_fd().unsigned_abs(),
            data_size_in: frame.len() as u32,
            data_in: frame.as_ptr() as u64,
            repeat: times,
            ctx_size_in: size_of::<XdpMd>() as u32,
            ctx_in: (&raw const context) as u64,
            flags: BPF_F_TEST_XDP_LIVE_FRAMES,
            batch_size: BATCH,
            ..TestRun::default()
        };
        bpf(BPF_PROG_TEST_RUN, &mut run).or_fail("generate frames");
    }
}

/// Keeps other work off this thread: one processor, and before everybody else on it. Sending is
/// bounded, so nobody starves.
fn undisturbed() {
    let last = thread::available_parallelism().map_or(1, usize::from) - 1;
    let mut only = CpuSet::new();
    only.set(last).or_fail("name a processor");
    sched_setaffinity(Pid::from_raw(0), &only).or_fail("stay on one processor");
    let priority = libc::sched_param { sched_priority: 50 };
    // SAFETY: `priority` is read, for the calling thread alone.
    let status = unsafe { libc::sched_setscheduler(0, libc::SCHED_FIFO, &raw const priority) };
    assert_eq!(status, 0, "cannot go first: {}", io::Error::last_os_error());
}
