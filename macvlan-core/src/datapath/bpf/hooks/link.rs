//! What aya does not do with a pinned BPF link: tell its device, and detach it at once.

use std::{
    fs,
    mem::size_of,
    os::fd::{AsRawFd, FromRawFd, OwnedFd},
    path::Path,
};

use anyhow::{Context, Result};

use crate::kernel::{bpffs, crash};

/// Head of `struct bpf_link_info` (`include/uapi/linux/bpf.h`). For XDP and TCX links the union
/// begins with the interface index; the kernel sets it to 0 when the device is gone.
#[repr(C)]
#[derive(Default)]
struct LinkInfo {
    kind: u32,
    id: u32,
    program: u32,
    padding: u32,
    ifindex: u32,
    rest: [u32; 11],
}

#[repr(C)]
struct InfoByFd {
    fd: u32,
    len: u32,
    info: u64,
}

#[repr(C)]
struct ObjGet {
    pathname: u64,
    fd: u32,
    flags: u32,
}

#[repr(C)]
struct LinkUpdate {
    fd: u32,
    program: u32,
    flags: u32,
    old_program: u32,
}

#[repr(C)]
struct LinkDetach {
    fd: u32,
}

const BPF_OBJ_PIN: libc::c_int = 6;

const BPF_OBJ_GET: libc::c_int = 7;

const BPF_OBJ_GET_INFO_BY_FD: libc::c_int = 15;

const BPF_LINK_UPDATE: libc::c_int = 29;

const BPF_LINK_DETACH: libc::c_int = 34;

/// The interface index of the link pinned at `path`; 0 when its device is gone.
///
/// # Errors
///
/// When there is no link.
pub fn pinned_link_ifindex(path: &Path) -> Result<u32> {
    Ok(info(path)?.ifindex)
}

/// The id of the program of the link pinned at `path`.
///
/// # Errors
///
/// When there is no link.
pub fn pinned_link_program(path: &Path) -> Result<u32> {
    Ok(info(path)?.program)
}

/// The id of the link pinned at `path`.
///
/// # Errors
///
/// There is no link.
pub fn pinned_link_id(path: &Path) -> Result<u32> {
    Ok(info(path)?.id)
}

/// Takes the program of the link pinned at `path` off its device. The pin stays.
///
/// # Errors
///
/// When there is no link, or the kernel is older than 5.9.
pub fn detach_pinned_link(path: &Path) -> Result<()> {
    let link = open(path)?;
    let mut detach = LinkDetach { fd: link.as_raw_fd().unsigned_abs() };
    bpf(BPF_LINK_DETACH, &mut detach).with_context(|| format!("cannot detach the link {path:?}"))?;
    Ok(())
}

/// A program that is pinned at `path`, opened. aya opens an XDP program only by a type that it does not
/// export.
///
/// # Errors
///
/// There is no pin.
pub fn open_pinned_program(path: &Path) -> Result<OwnedFd> {
    open(path)
}

/// Puts an open program on the link pinned at `path`, in the place of the one that is on it.
///
/// # Errors
///
/// There is no link, or its device is gone.
pub fn update_pinned_link(path: &Path, program: &OwnedFd) -> Result<()> {
    let link = open(path)?;
    let fd = link.as_raw_fd().unsigned_abs();
    let mut update = LinkUpdate { fd, program: program.as_raw_fd().unsigned_abs(), flags: 0, old_program: 0 };
    bpf(BPF_LINK_UPDATE, &mut update).with_context(|| format!("cannot replace the program of {path:?}"))?;
    Ok(())
}

/// Pins an open program at `path`.
///
/// # Errors
///
/// Something is pinned there.
pub fn pin_program(path: &Path, program: &OwnedFd) -> Result<()> {
    let text = std::ffi::CString::new(path.as_os_str().as_encoded_bytes())?;
    let fd = program.as_raw_fd().unsigned_abs();
    let mut pin = ObjGet { pathname: text.as_ptr() as u64, fd, flags: 0 };
    bpf(BPF_OBJ_PIN, &mut pin).with_context(|| format!("cannot pin program {path:?}"))?;
    Ok(())
}

fn info(path: &Path) -> Result<LinkInfo> {
    let link = open(path)?;
    let mut info = LinkInfo::default();
    let mut query = InfoByFd {
        fd: link.as_raw_fd().unsigned_abs(),
        len: size_of::<LinkInfo>() as u32,
        info: (&raw mut info) as u64,
    };
    bpf(BPF_OBJ_GET_INFO_BY_FD, &mut query).with_context(|| format!("{path:?} is not a link"))?;
    Ok(info)
}

fn open(path: &Path) -> Result<OwnedFd> {
    let text = std::ffi::CString::new(path.as_os_str().as_encoded_bytes())?;
    let mut get = ObjGet { pathname: text.as_ptr() as u64, fd: 0, flags: 0 };
    let fd = bpf(BPF_OBJ_GET, &mut get).with_context(|| format!("cannot open pinned link {path:?}"))?;
    // SAFETY: the kernel has just made this descriptor for us.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// bpf(2) with the fields of `union bpf_attr` that the command reads.
fn bpf<T>(command: libc::c_int, attributes: &mut T) -> std::io::Result<libc::c_int> {
    // SAFETY: `attributes` is the head of `union bpf_attr` for this command, and every address in it
    // is that of a live buffer of the length given beside it.
    let result =
        unsafe { libc::syscall(libc::SYS_bpf, command, std::ptr::from_mut(attributes), size_of::<T>()) };
    if result < 0 { Err(std::io::Error::last_os_error()) } else { Ok(result as libc::c_int) }
}

/// Takes a pinned link off its device now, and removes the pin. Without the pin alone, the kernel
/// lets go of the link some time later (`bpf_link_put_deferred` in kernel/bpf/syscall.c).
pub fn detach_link(pin: &Path) -> Result<()> {
    if fs::exists(pin)? {
        // On a kernel without BPF_LINK_DETACH (before 5.9) it goes with its pin.
        let _ = detach_pinned_link(pin);
        crash::point("detaching a link")?;
    }
    bpffs::remove_pin(pin)
}
