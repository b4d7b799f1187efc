//! Frames as fast as one core can make them.
//!
//! The kernel itself repeats one frame out of a device (`BPF_PROG_TEST_RUN` with
//! `BPF_F_TEST_XDP_LIVE_FRAMES`, kernel 5.18) and runs the receiving side in the same context,
//! so the time of a call is the time that sending and receiving took together.

use std::{
    io,
    mem::size_of,
    os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd},
    time::{Duration, Instant},
};

use crate::{fail::OrFail as _, netns::Netns};

const BPF_PROG_LOAD: libc::c_int = 5;
const BPF_PROG_TEST_RUN: libc::c_int = 10;
const BPF_PROG_TYPE_XDP: u32 = 6;
const BPF_F_TEST_XDP_LIVE_FRAMES: u32 = 1 << 1;

/// `r0 = XDP_TX; exit`: out of the device that the context names.
const TRANSMIT: [u64; 2] = [0x0000_0003_0000_00b7, 0x0000_0000_0000_0095];

/// Frames that the kernel prepares at a time.
const BATCH: u32 = 64;

/// Sends out of one device.
pub struct Generator<'a> {
    ns: &'a Netns,
    ifindex: u32,
    program: OwnedFd,
}

/// Head of `union bpf_attr` for `BPF_PROG_LOAD`.
#[repr(C)]
struct Load {
    kind: u32,
    instructions: u32,
    code: u64,
    license: u64,
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
        let license = c"GPL";
        let mut load = Load {
            kind: BPF_PROG_TYPE_XDP,
            instructions: TRANSMIT.len() as u32,
            code: TRANSMIT.as_ptr() as u64,
            license: license.as_ptr() as u64,
        };
        let fd = bpf(BPF_PROG_LOAD, &mut load).or_fail("load the generator");
        // SAFETY: the kernel has just made this descriptor for us.
        let program = unsafe { OwnedFd::from_raw_fd(fd) };
        Self { ns, ifindex: ns.ifindex(device), program }
    }

    /// Sends a frame so many times, and tells how long that took.
    #[track_caller]
    pub fn send(&self, frame: &[u8], times: u32) -> Duration {
        self.ns.enter(|| {
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
            let start = Instant::now();
            bpf(BPF_PROG_TEST_RUN, &mut run).or_fail("generate frames");
            start.elapsed()
        })
    }
}

fn bpf<T>(command: libc::c_int, attributes: &mut T) -> io::Result<libc::c_int> {
    // SAFETY: `attributes` is the head of `union bpf_attr` for this command, and every address in
    // it is that of a live buffer of the length given beside it.
    let result =
        unsafe { libc::syscall(libc::SYS_bpf, command, std::ptr::from_mut(attributes), size_of::<T>()) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result as libc::c_int) }
}
