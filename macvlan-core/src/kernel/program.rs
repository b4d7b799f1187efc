//! BPF programs of a few instructions, and bpf(2) for what aya has no call for.

use std::{
    io,
    mem::size_of,
    os::fd::{AsFd as _, AsRawFd as _, BorrowedFd, FromRawFd as _, OwnedFd},
};

/// `BPF_PROG_TYPE_*` of `include/uapi/linux/bpf.h`.
#[derive(Debug, Clone, Copy)]
#[repr(u32)]
pub enum ProgramType {
    /// TC classifier.
    SchedCls = 3,
    /// XDP.
    Xdp = 6,
}

/// `XDP_DROP`: away with it.
pub const XDP_DROP: i32 = 1;

/// `XDP_TX`: out of the device that the context names.
pub const XDP_TX: i32 = 3;

/// `enum bpf_attach_type` of `include/uapi/linux/bpf.h`.
#[derive(Debug, Clone, Copy)]
#[repr(u32)]
pub enum BpfAttachType {
    /// XDP (kernel 5.9).
    Xdp = 37,
    /// Ingress of TCX (kernel 6.6).
    TcxIngress = 46,
    /// Egress of TCX.
    TcxEgress = 47,
}

const BPF_PROG_LOAD: libc::c_int = 5;

const BPF_LINK_CREATE: libc::c_int = 28;

/// `XDP_FLAGS_SKB_MODE` of `include/uapi/linux/if_link.h`: behind the driver.
pub const GENERIC_MODE: u32 = 1 << 1;

/// `XDP_FLAGS_DRV_MODE` of `include/uapi/linux/if_link.h`: in the driver, or not at all.
pub const DRIVER_MODE: u32 = 1 << 2;

/// Operation codes of `include/uapi/linux/bpf.h`, named after what they do.
pub mod code {
    /// A number into a register.
    pub const MOVE_NUMBER: u8 = 0xb7;
    /// A register into another.
    pub const MOVE: u8 = 0xbf;
    /// A number to a register.
    pub const ADD_NUMBER: u8 = 0x07;
    /// 32 bits of memory into a register.
    pub const LOAD_WORD: u8 = 0x61;
    /// A map, by its descriptor, into a register; the next instruction is its upper half, 0.
    pub const LOAD_MAP: u8 = 0x18;
    /// A number into 32 bits of memory.
    pub const STORE_NUMBER: u8 = 0x62;
    /// A register into 32 bits of memory.
    pub const STORE_WORD: u8 = 0x63;
    /// A register to 64 bits of memory, at once.
    pub const ADD_TO_MEMORY: u8 = 0xdb;
    /// Over so many instructions, where a register is 0.
    pub const JUMP_IF_ZERO: u8 = 0x15;
    /// Over so many instructions, where the lower half of a register is a number.
    pub const JUMP_IF_IS: u8 = 0x16;
    /// 32 bits of a frame into register 0; register 6 has the context.
    pub const LOAD_FRAME: u8 = 0x20;
    /// Over so many instructions, where a register is more than another.
    pub const JUMP_IF_GREATER: u8 = 0x2d;
    /// A function of the kernel.
    pub const CALL: u8 = 0x85;
    /// What register 0 holds is returned.
    pub const EXIT: u8 = 0x95;
}

/// Head of `union bpf_attr` for `BPF_PROG_LOAD`.
#[repr(C)]
#[derive(Default)]
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

/// `struct bpf_insn`.
pub const fn instruction(operation: u8, destination: u8, source: u8, offset: i16, number: i32) -> u64 {
    operation as u64
        | (destination as u64) << 8
        | (source as u64) << 12
        | (offset as u16 as u64) << 16
        | (number as u32 as u64) << 32
}

/// Instructions that do nothing but return `value`.
pub const fn returning_code(value: i32) -> [u64; 2] {
    [instruction(code::MOVE_NUMBER, 0, 0, 0, value), instruction(code::EXIT, 0, 0, 0, 0)]
}

/// A program that does nothing but return `value`.
///
/// # Errors
///
/// What the kernel says.
pub fn returning(kind: ProgramType, value: i32) -> io::Result<OwnedFd> {
    load(kind, &returning_code(value), 0)
}

/// Before kernel 5.11 maps are charged to the limit of locked memory, 64 KiB for most.
pub fn allow_memory() {
    let limit = libc::rlimit { rlim_cur: libc::RLIM_INFINITY, rlim_max: libc::RLIM_INFINITY };
    // SAFETY: the pointer is to a live `rlimit`. Where it is refused (`CAP_SYS_RESOURCE`), making the
    // maps says whether that matters.
    let _ = unsafe { libc::setrlimit(libc::RLIMIT_MEMLOCK, &raw const limit) };
}

/// A program of these instructions, with `BPF_F_*` of `BPF_PROG_LOAD`.
///
/// # Errors
///
/// What the kernel says.
pub fn load(kind: ProgramType, code: &[u64], flags: u32) -> io::Result<OwnedFd> {
    let license = c"GPL";
    let mut load = Load {
        kind: kind as u32,
        instructions: code.len() as u32,
        code: code.as_ptr() as u64,
        license: license.as_ptr() as u64,
        flags,
        ..Load::default()
    };
    descriptor(BPF_PROG_LOAD, &mut load)
}

/// A program on the native XDP hook of a device in the namespace of the calling thread that drops
/// everything, for as long as what is returned lives: as fast as a device can be rid of frames.
///
/// # Errors
///
/// What the kernel says: `EOPNOTSUPP` where the driver has no XDP.
pub fn dropping_in_xdp(ifindex: u32) -> io::Result<OwnedFd> {
    attach(returning(ProgramType::Xdp, XDP_DROP)?.as_fd(), ifindex, BpfAttachType::Xdp, DRIVER_MODE)
}

/// Puts a program on a hook of a device in the namespace of the calling thread, for as long as what
/// is returned lives. Flags are `XDP_FLAGS_*` or `BPF_F_BEFORE` and the like, as the hook is.
///
/// # Errors
///
/// What the kernel says: `EINVAL` where it has no such hook.
pub fn attach(program: BorrowedFd<'_>, ifindex: u32, hook: BpfAttachType, flags: u32) -> io::Result<OwnedFd> {
    let program = program.as_raw_fd().unsigned_abs();
    let mut create =
        LinkCreate { program, target: ifindex, attach_type: hook as u32, flags, ..LinkCreate::default() };
    descriptor(BPF_LINK_CREATE, &mut create)
}

/// A command that makes something, and the descriptor of that.
///
/// # Errors
///
/// What the kernel says.
pub fn descriptor<T>(command: libc::c_int, attributes: &mut T) -> io::Result<OwnedFd> {
    let fd = bpf(command, attributes)?;
    // SAFETY: the kernel has just made this descriptor for us.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
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
