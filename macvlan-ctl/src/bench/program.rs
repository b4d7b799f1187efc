//! BPF programs of two instructions, and bpf(2) for what aya has no call for.

use std::{
    io,
    mem::size_of,
    os::fd::{AsRawFd as _, BorrowedFd, FromRawFd as _, OwnedFd},
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

/// `enum bpf_attach_type`: ingress of TCX.
pub const BPF_TCX_INGRESS: u32 = 46;

const BPF_PROG_LOAD: libc::c_int = 5;
const BPF_LINK_CREATE: libc::c_int = 28;
const BPF_XDP: u32 = 37;

/// `XDP_FLAGS_DRV_MODE` of `include/uapi/linux/if_link.h`: in the driver, or not at all.
const DRIVER_MODE: u32 = 1 << 2;

/// Head of `union bpf_attr` for `BPF_PROG_LOAD`.
#[repr(C)]
struct Load {
    kind: u32,
    instructions: u32,
    code: u64,
    license: u64,
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

/// A program that does nothing but return `value`.
///
/// # Errors
///
/// What the kernel says.
pub fn returning(kind: ProgramType, value: i32) -> io::Result<OwnedFd> {
    const MOV_R0: u64 = 0xb7;
    const EXIT: u64 = 0x95;
    load(kind, &[u64::from(value as u32) << 32 | MOV_R0, EXIT])
}

/// A program of these instructions.
///
/// # Errors
///
/// What the kernel says.
pub fn load(kind: ProgramType, code: &[u64]) -> io::Result<OwnedFd> {
    let license = c"GPL";
    let mut load = Load {
        kind: kind as u32,
        instructions: code.len() as u32,
        code: code.as_ptr() as u64,
        license: license.as_ptr() as u64,
    };
    let fd = bpf(BPF_PROG_LOAD, &mut load)?;
    // SAFETY: the kernel has just made this descriptor for us.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Puts a program on the XDP hook of the driver of a device in the namespace of the calling thread,
/// for as long as what is returned lives.
///
/// # Errors
///
/// What the kernel says: `EOPNOTSUPP` where the driver has no XDP.
pub fn attach_xdp(program: BorrowedFd<'_>, ifindex: u32) -> io::Result<OwnedFd> {
    link(program, ifindex, BPF_XDP, DRIVER_MODE)
}

/// Puts a program on a TCX hook of a device in the namespace of the calling thread, for as long as
/// what is returned lives.
///
/// # Errors
///
/// What the kernel says: `EINVAL` before 6.6.
pub fn attach_tcx(program: BorrowedFd<'_>, ifindex: u32, hook: u32) -> io::Result<OwnedFd> {
    link(program, ifindex, hook, 0)
}

fn link(program: BorrowedFd<'_>, target: u32, attach_type: u32, flags: u32) -> io::Result<OwnedFd> {
    let program = program.as_raw_fd().unsigned_abs();
    let mut create = LinkCreate { program, target, attach_type, flags, ..LinkCreate::default() };
    let fd = bpf(BPF_LINK_CREATE, &mut create)?;
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
