//! Frames as fast as one core can make them.
//!
//! The kernel itself repeats one frame out of a device (`BPF_PROG_TEST_RUN` with
//! `BPF_F_TEST_XDP_LIVE_FRAMES`, kernel 5.18) and runs the receiving side in the same context,
//! so the time that it tells is what sending and receiving took together.

use std::{
    io,
    mem::size_of,
    os::fd::{AsRawFd as _, OwnedFd},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};
use macvlan_core::kernel::{
    ethtool::Ethtool,
    program::{ProgramType, XDP_TX, bpf, code, instruction, load},
};

const BPF_PROG_TEST_RUN: libc::c_int = 10;

const BPF_F_TEST_XDP_LIVE_FRAMES: u32 = 1 << 1;

/// Frames that the kernel prepares at a time.
const BATCH: u32 = 64;

/// Bytes of a frame that are written anew each time: all headers that somebody on the way may change.
const HEAD: usize = 64;

/// Sends out of one device. The device at the other end must take such frames: see [`take_generated`].
#[derive(Debug)]
pub struct Generator {
    ifindex: u32,
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
/// The device is gone, or has no generic receive offload to switch.
pub fn take_generated(device: &str) -> Result<()> {
    Ethtool::open(device.parse()?)?.set_gro(true)
}

impl Generator {
    /// A generator for the device with this index.
    pub const fn new(ifindex: u32) -> Self {
        Self { ifindex }
    }

    /// Sends a frame so many times and tells how long that took. The device is one of the namespace
    /// of the calling thread.
    ///
    /// # Errors
    ///
    /// XDP programs are unavailable, or cannot send frames in a test run: `EINVAL` before 5.18.
    pub fn send(&self, frame: &[u8], times: u32) -> Result<Took> {
        let len = u32::try_from(frame.len()).context("a frame is too long")?;
        let program = sending(frame).context("cannot load an XDP program")?;
        let context = XdpMd { data_end: len, ingress_ifindex: self.ifindex, ..XdpMd::default() };
        let mut run = TestRun {
            program: program.as_raw_fd().unsigned_abs(),
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

/// A program that sends what it is given, with the head of `frame`: the kernel takes the pages of frames
/// that have arrived for the next ones, as whoever they went by has left them (`xdp_test_run_batch`). A
/// router's next hop would stay in them, or the owner of an address that ARP asked for.
fn sending(frame: &[u8]) -> io::Result<OwnedFd> {
    load(ProgramType::Xdp, &sending_code(frame), 0)
}

fn sending_code(frame: &[u8]) -> Vec<u64> {
    const XDP_ABORTED: i32 = 0;
    let (words, _) = frame[..frame.len().min(HEAD)].as_chunks::<4>();
    let count = words.len() as i16;
    let mut instructions = vec![
        // Beginning and end of the frame, which must hold the head.
        instruction(code::LOAD_WORD, 2, 1, 0, 0),
        instruction(code::LOAD_WORD, 3, 1, 4, 0),
        instruction(code::MOVE, 4, 2, 0, 0),
        instruction(code::ADD_NUMBER, 4, 0, 0, 4 * i32::from(count)),
        instruction(code::MOVE_NUMBER, 0, 0, 0, XDP_ABORTED),
        instruction(code::JUMP_IF_GREATER, 4, 3, count + 1, 0),
    ];
    let places = (0..).step_by(4);
    instructions.extend(
        places
            .zip(words)
            .map(|(at, word)| instruction(code::STORE_NUMBER, 2, 0, at, i32::from_ne_bytes(*word))),
    );
    instructions
        .extend([instruction(code::MOVE_NUMBER, 0, 0, 0, XDP_TX), instruction(code::EXIT, 0, 0, 0, 0)]);
    instructions
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_head_is_written_and_nothing_behind_it() {
        let frame: Vec<u8> = (0..100).collect();
        let stores = |len: usize| -> Vec<u64> {
            let code = sending_code(&frame[..len]);
            // The way out when the frame is too short leads to the last instruction.
            assert_eq!((code[5] >> 16) as usize & 0xffff, code.len() - 1 - 6, "{len}");
            code.into_iter().filter(|instruction| instruction & 0xff == 0x62).collect()
        };
        assert_eq!(stores(60).len(), 15);
        assert_eq!(stores(100).len(), 16);
        assert_eq!(stores(61).last().map(|store| store >> 32), Some(0x3b3a_3938));
        assert!(stores(0).is_empty());
    }
}
