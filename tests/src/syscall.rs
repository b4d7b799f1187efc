//! bpf(2), for what aya has no call for.

use std::{
    io,
    mem::size_of,
    os::fd::{FromRawFd as _, OwnedFd},
};

use crate::{
    fail::OrFail as _,
    netns::Netns,
    progs::{SKB_MARK, SKB_TAG},
};

/// `BPF_PROG_TYPE_*`.
#[derive(Debug, Clone, Copy)]
#[repr(u32)]
pub enum ProgramType {
    /// TC classifier.
    SchedCls = 3,
    /// XDP.
    Xdp = 6,
}

const BPF_PROG_LOAD: libc::c_int = 5;
const BPF_LINK_CREATE: libc::c_int = 28;
const BPF_TCX_INGRESS: u32 = 46;
const BPF_XDP: u32 = 37;
const XDP_FLAGS_DRV_MODE: u32 = 1 << 2;

/// Head of `union bpf_attr` for `BPF_PROG_LOAD`.
#[repr(C)]
struct Load {
    kind: u32,
    instructions: u32,
    code: u64,
    license: u64,
    log_level: u32,
    log_size: u32,
    log: u64,
    kernel_version: u32,
    flags: u32,
}

/// Head of `union bpf_attr` for `BPF_LINK_CREATE`.
#[repr(C)]
#[derive(Default)]
struct LinkCreate {
    program: u32,
    target: u32,
    attach_type: u32,
    flags: u32,
    relative: u64,
    revision: u64,
}

const MOVE_NUMBER: u8 = 0xb7;
const LOAD_WORD: u8 = 0x61;
const STORE_WORD: u8 = 0x63;
const CALL: u8 = 0x85;
const EXIT: u8 = 0x95;

/// `struct bpf_insn`.
pub const fn instruction(code: u8, destination: u8, source: u8, offset: i16, number: i32) -> u64 {
    code as u64
        | (destination as u64) << 8
        | (source as u64) << 12
        | (offset as u16 as u64) << 16
        | (number as u32 as u64) << 32
}

/// `BPF_F_XDP_HAS_FRAGS`: the program takes frames in several buffers (kernel 5.18).
const BPF_F_XDP_HAS_FRAGS: u32 = 1 << 5;

/// A program that does nothing but return `value`.
#[track_caller]
pub fn returning(kind: ProgramType, value: i32) -> OwnedFd {
    try_load(kind, &returning_code(value), 0).or_fail("load a program")
}

const fn returning_code(value: i32) -> [u64; 2] {
    [instruction(MOVE_NUMBER, 0, 0, 0, value), instruction(EXIT, 0, 0, 0, 0)]
}

/// Whether the kernel has XDP programs that take frames in several buffers.
///
/// # Panics
///
/// When it refuses them for another reason than that it does not know of such.
#[track_caller]
pub fn has_xdp_frags() -> bool {
    const XDP_PASS: i32 = 2;
    match try_load(ProgramType::Xdp, &returning_code(XDP_PASS), BPF_F_XDP_HAS_FRAGS) {
        Ok(_) => true,
        Err(error) if error.raw_os_error() == Some(libc::EINVAL) => false,
        Err(error) => panic!("cannot load a program: {error}"),
    }
}

/// A TC program that shows what no socket sees: it sends every frame out of the device with index
/// `to`, `__sk_buff::cb[3]` as its packet mark.
#[track_caller]
pub fn telling_tags(to: u32) -> OwnedFd {
    const MARK: i16 = SKB_MARK as i16;
    const TAG: i16 = SKB_TAG as i16;
    const BPF_REDIRECT: i32 = 23;
    let code = [
        instruction(LOAD_WORD, 2, 1, TAG, 0),
        instruction(STORE_WORD, 1, 2, MARK, 0),
        instruction(MOVE_NUMBER, 1, 0, 0, to as i32),
        instruction(MOVE_NUMBER, 2, 0, 0, 0),
        instruction(CALL, 0, 0, 0, BPF_REDIRECT),
        instruction(EXIT, 0, 0, 0, 0),
    ];
    try_load(ProgramType::SchedCls, &code, 0).or_fail("load a program")
}

fn try_load(kind: ProgramType, code: &[u64], flags: u32) -> io::Result<OwnedFd> {
    let license = c"GPL";
    let mut load = Load {
        kind: kind as u32,
        instructions: code.len() as u32,
        code: code.as_ptr() as u64,
        license: license.as_ptr() as u64,
        log_level: 0,
        log_size: 0,
        log: 0,
        kernel_version: 0,
        flags,
    };
    let fd = bpf(BPF_PROG_LOAD, &mut load)?;
    // SAFETY: the kernel has just made this descriptor for us.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// An empty program at a device's TC ingress, as long as what is returned lives.
#[track_caller]
pub fn empty_at_ingress(ns: &Netns, device: &str) -> OwnedFd {
    const TCX_NEXT: i32 = -1;
    at_ingress(ns, device, &returning(ProgramType::SchedCls, TCX_NEXT))
}

/// A program at a device's TC ingress, as long as what is returned lives.
#[track_caller]
pub fn at_ingress(ns: &Netns, device: &str, program: &OwnedFd) -> OwnedFd {
    use std::os::fd::AsRawFd as _;
    let target = ns.ifindex(device);
    ns.enter(|| {
        let program = program.as_raw_fd().unsigned_abs();
        let mut create =
            LinkCreate { program, target, attach_type: BPF_TCX_INGRESS, ..LinkCreate::default() };
        let fd = bpf(BPF_LINK_CREATE, &mut create).or_fail("attach a program to TC ingress");
        // SAFETY: the kernel has just made this descriptor for us.
        unsafe { OwnedFd::from_raw_fd(fd) }
    })
}

/// A program in a device's native XDP that drops everything, as long as what is returned lives: as
/// fast as a device can be rid of frames.
#[track_caller]
pub fn dropping_in_xdp(ns: &Netns, device: &str) -> OwnedFd {
    use std::os::fd::AsRawFd as _;
    const XDP_DROP: i32 = 1;
    let program = returning(ProgramType::Xdp, XDP_DROP);
    let mut create = LinkCreate {
        program: program.as_raw_fd().unsigned_abs(),
        target: ns.ifindex(device),
        attach_type: BPF_XDP,
        flags: XDP_FLAGS_DRV_MODE,
        ..LinkCreate::default()
    };
    let fd = ns.enter(|| bpf(BPF_LINK_CREATE, &mut create).or_fail("attach a program to XDP"));
    // SAFETY: the kernel has just made this descriptor for us.
    unsafe { OwnedFd::from_raw_fd(fd) }
}

/// The system call, with the fields of `union bpf_attr` that the command reads.
///
/// # Errors
///
/// What the kernel says.
pub fn bpf<T>(command: libc::c_int, attributes: &mut T) -> io::Result<libc::c_int> {
    // SAFETY: `attributes` is the head of `union bpf_attr` for this command, and every address in
    // it is that of a live buffer of the length given beside it.
    let result =
        unsafe { libc::syscall(libc::SYS_bpf, command, std::ptr::from_mut(attributes), size_of::<T>()) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result as libc::c_int) }
}
