//! What aya 0.14 does not do with a pinned BPF link: tell its device, and detach it at once. Its `FdLink`
//! gives no descriptor away either, so the link is opened here for these two.

use std::{
    ffi::CString,
    fs, io,
    mem::{self, size_of},
    os::fd::{AsRawFd, FromRawFd, OwnedFd},
    path::Path,
};

use anyhow::{Context, Result};
use aya::programs::links::{FdLink, PinnedLink};
use aya_obj::generated::{bpf_attach_type, bpf_attr, bpf_cmd, bpf_link_info};

use crate::kernel::{bpffs, crash};

/// The interface index of the XDP or TCX link pinned at `path`; 0 when its device is gone.
///
/// # Errors
///
/// Nothing is pinned there, it is no link, or the process lacks `CAP_BPF`.
pub fn pinned_link_ifindex(path: &Path) -> Result<u32> {
    let link = open(path)?;
    // SAFETY: all zeros are a value of every field.
    let mut info: bpf_link_info = unsafe { mem::zeroed() };
    let mut attributes = no_attributes();
    attributes.info.bpf_fd = link.as_raw_fd().unsigned_abs();
    attributes.info.info_len = size_of::<bpf_link_info>() as u32;
    attributes.info.info = (&raw mut info) as u64;
    // SAFETY: the address is that of a live `bpf_link_info`, whose size is given beside it.
    let told = unsafe { bpf(bpf_cmd::BPF_OBJ_GET_INFO_BY_FD, &mut attributes) };
    told.with_context(|| format!("{path:?} is not a link"))?;
    // SAFETY: any bytes make this field, which is the first of XDP and TCX links alike.
    Ok(unsafe { info.__bindgen_anon_1.xdp.ifindex })
}

/// The id of the program of the link pinned at `path`.
///
/// # Errors
///
/// Nothing is pinned there, it is no link, or the process lacks `CAP_BPF`.
pub fn pinned_link_program(path: &Path) -> Result<u32> {
    let link = FdLink::from(PinnedLink::from_pin(path).with_context(|| cannot_open(path))?);
    Ok(link.info().with_context(|| format!("{path:?} is not a link"))?.program_id())
}

/// Ids of the TCX programs on a hook of the device with this index, of the network namespace of the calling
/// thread, in the order in which they run (kernel 6.6).
///
/// # Errors
///
/// The kernel knows no TCX, the device is gone, or the process lacks `CAP_NET_ADMIN`.
pub fn tcx_programs(index: u32, hook: bpf_attach_type) -> Result<Vec<u32>> {
    // More than `BPF_MPROG_MAX` in include/linux/bpf_mprog.h.
    let mut ids = [0_u32; 64];
    let mut attributes = no_attributes();
    // SAFETY: every field of the union is plain data, and all of it is zero.
    let query = unsafe { &mut attributes.query };
    query.__bindgen_anon_1.target_ifindex = index;
    query.attach_type = hook as u32;
    query.prog_ids = ids.as_mut_ptr() as u64;
    query.__bindgen_anon_2.count = ids.len() as u32;
    // SAFETY: the address is that of a live array with so many elements.
    unsafe { bpf(bpf_cmd::BPF_PROG_QUERY, &mut attributes) }.context("cannot list TCX programs")?;
    // SAFETY: the command read and wrote this member of the union.
    let query = unsafe { attributes.query };
    // SAFETY: both members are this number.
    let count = unsafe { query.__bindgen_anon_2.count };
    Ok(ids[..ids.len().min(count as usize)].to_vec())
}

/// The id of the link pinned at `path`.
///
/// # Errors
///
/// Nothing is pinned there, it is no link, or the process lacks `CAP_BPF`.
pub fn pinned_link_id(path: &Path) -> Result<u32> {
    let link = FdLink::from(PinnedLink::from_pin(path).with_context(|| cannot_open(path))?);
    Ok(link.info().with_context(|| format!("{path:?} is not a link"))?.id())
}

/// What is pinned at `path`, opened: a program, a map or a link. aya opens an XDP program only by a type that
/// it does not export.
///
/// # Errors
///
/// Nothing is pinned there, or the process lacks `CAP_BPF`.
pub fn open_pinned(path: &Path) -> Result<OwnedFd> {
    open(path)
}

/// Puts an open program on the link pinned at `path`, in the place of the one that is on it.
///
/// # Errors
///
/// There is no link, or its device is gone.
pub fn update_pinned_link(path: &Path, program: &OwnedFd) -> Result<()> {
    let link = open(path)?;
    let mut attributes = no_attributes();
    attributes.link_update.link_fd = link.as_raw_fd().unsigned_abs();
    attributes.link_update.__bindgen_anon_1.new_prog_fd = program.as_raw_fd().unsigned_abs();
    // SAFETY: the command reads descriptors and no address.
    let updated = unsafe { bpf(bpf_cmd::BPF_LINK_UPDATE, &mut attributes) };
    updated.map(drop).with_context(|| format!("cannot replace the program of {path:?}"))
}

/// Pins at `path` what is open.
///
/// # Errors
///
/// Something is pinned there.
pub fn pin_open(path: &Path, open: &OwnedFd) -> Result<()> {
    let text = CString::new(path.as_os_str().as_encoded_bytes())?;
    let mut attributes = no_attributes();
    attributes.__bindgen_anon_4.pathname = text.as_ptr() as u64;
    attributes.__bindgen_anon_4.bpf_fd = open.as_raw_fd().unsigned_abs();
    // SAFETY: the address is that of a string that ends with a zero and outlives the call.
    let pinned = unsafe { bpf(bpf_cmd::BPF_OBJ_PIN, &mut attributes) };
    pinned.map(drop).with_context(|| format!("cannot pin {path:?}"))
}

/// Takes the program of the link pinned at `path` off its device. The pin stays.
fn detach_pinned_link(path: &Path) -> Result<()> {
    detach(&open(path)?).with_context(|| format!("cannot detach the link {path:?}"))
}

fn detach(link: &OwnedFd) -> io::Result<()> {
    let mut attributes = no_attributes();
    attributes.link_detach.link_fd = link.as_raw_fd().unsigned_abs();
    // SAFETY: the command reads a descriptor and no address.
    unsafe { bpf(bpf_cmd::BPF_LINK_DETACH, &mut attributes) }.map(drop)
}

/// Takes the program of the link with this id off its device, whoever holds the link.
///
/// # Errors
///
/// The link is gone, or the process lacks `CAP_SYS_ADMIN`.
pub fn detach_link_by_id(id: u32) -> Result<()> {
    let mut attributes = no_attributes();
    attributes.__bindgen_anon_6.__bindgen_anon_1.link_id = id;
    // SAFETY: the command reads a number and no address.
    let fd = unsafe { bpf(bpf_cmd::BPF_LINK_GET_FD_BY_ID, &mut attributes) };
    let fd = fd.with_context(|| format!("cannot open link {id}"))?;
    // SAFETY: the kernel has just made this descriptor for us.
    let link = unsafe { OwnedFd::from_raw_fd(fd) };
    detach(&link).with_context(|| format!("cannot detach link {id}"))
}

fn open(path: &Path) -> Result<OwnedFd> {
    let text = CString::new(path.as_os_str().as_encoded_bytes())?;
    let mut attributes = no_attributes();
    attributes.__bindgen_anon_4.pathname = text.as_ptr() as u64;
    // SAFETY: the address is that of a string that ends with a zero and outlives the call.
    let fd = unsafe { bpf(bpf_cmd::BPF_OBJ_GET, &mut attributes) }.with_context(|| cannot_open(path))?;
    // SAFETY: the kernel has just made this descriptor for us.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

fn cannot_open(path: &Path) -> String {
    format!("cannot open pinned link {path:?}")
}

/// Attributes of a bpf(2) command, none set.
pub fn no_attributes() -> bpf_attr {
    // SAFETY: all zeros are a value of every field of the union.
    unsafe { mem::zeroed() }
}

/// bpf(2).
///
/// # Safety
///
/// Every address in `attributes` that the command reads is that of a live buffer of the length given
/// beside it.
pub unsafe fn bpf(command: bpf_cmd, attributes: &mut bpf_attr) -> io::Result<libc::c_int> {
    let command = command as libc::c_int;
    let size = size_of::<bpf_attr>();
    // SAFETY: the caller's promise; the attributes are live, and of this size.
    let result = unsafe { libc::syscall(libc::SYS_bpf, command, std::ptr::from_mut(attributes), size) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result as libc::c_int) }
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
