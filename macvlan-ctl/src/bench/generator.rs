//! Frames as fast as one core can make them.
//!
//! The kernel itself repeats one frame out of a device (`BPF_PROG_TEST_RUN` with
//! `BPF_F_TEST_XDP_LIVE_FRAMES`, kernel 5.18) and runs the receiving side in the same context,
//! so the time that it tells is what sending and receiving took together.

use std::{
    mem::size_of,
    os::fd::{AsRawFd as _, OwnedFd},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};

use super::program::{ProgramType, XDP_TX, bpf, returning};
use crate::doctor::ethtool::Ethtool;

const BPF_PROG_TEST_RUN: libc::c_int = 10;
const BPF_F_TEST_XDP_LIVE_FRAMES: u32 = 1 << 1;

/// Frames that the kernel prepares at a time.
const BATCH: u32 = 64;

/// Sends out of one device. The device at the other end must take such frames: see [`take_generated`].
#[derive(Debug)]
pub struct Generator {
    ifindex: u32,
    program: OwnedFd,
}

/// How long sending took.
#[derive(Debug, Clone, Copy)]
pub struct Took {
    /// What the frames cost, a whole number of nanoseconds for each: without the preparations (some
    /// 30 ms), and without what others did meanwhile on the same processor
    /// (`bpf_test_timer_continue` in `net/bpf/test_run.c`).
    pub busy: Duration,
    /// By the clock, all in all.
    pub elapsed: Duration,
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

/// Makes a veth in the namespace of the calling thread take frames of the generator: they need a NAPI
/// context, which it has with GRO on, or with an XDP program (`veth_xdp_xmit`).
///
/// # Errors
///
/// When the kernel refuses.
pub fn take_generated(device: &str) -> Result<()> {
    Ethtool::open(device.parse()?)?.set_gro(true)
}

impl Generator {
    /// A generator for the device with this index.
    ///
    /// # Errors
    ///
    /// When the kernel takes no XDP program.
    pub fn new(ifindex: u32) -> Result<Self> {
        let program = returning(ProgramType::Xdp, XDP_TX).context("cannot load an XDP program")?;
        Ok(Self { ifindex, program })
    }

    /// Sends a frame so many times and tells how long that took. The device is one of the namespace
    /// of the calling thread.
    ///
    /// # Errors
    ///
    /// What the kernel says: `EINVAL` before 5.18.
    pub fn send(&self, frame: &[u8], times: u32) -> Result<Took> {
        let len = u32::try_from(frame.len()).context("a frame is too long")?;
        let context = XdpMd { data_end: len, ingress_ifindex: self.ifindex, ..XdpMd::default() };
        let mut run = TestRun {
            program: self.program.as_raw_fd().unsigned_abs(),
            data_size_in: len,
            data_in: frame.as_ptr() as u64,
            repeat: times,
            ctx_size_in: size_of::<XdpMd>() as u32,
            ctx_in: (&raw const context) as u64,
            flags: BPF_F_TEST_XDP_LIVE_FRAMES,
            batch_size: BATCH,
            ..TestRun::default()
        };
        let start = Instant::now();
        bpf(BPF_PROG_TEST_RUN, &mut run).context("cannot generate frames (kernel 5.18 is needed)")?;
        Ok(Took { busy: Duration::from_nanos(run.duration.into()) * times, elapsed: start.elapsed() })
    }
}
