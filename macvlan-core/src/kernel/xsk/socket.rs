//! A bound socket whose frames are in memory that can be handed on with it.

use std::{
    ffi::c_int,
    io,
    mem::size_of,
    os::fd::{AsFd as _, AsRawFd as _, FromRawFd as _, OwnedFd},
    ptr,
};

use nix::{
    fcntl::{FcntlArg, SealFlag, fcntl},
    sys::memfd::{MFdFlags, memfd_create},
    unistd::ftruncate,
};

/// Bytes of one frame in the memory: a page, of which the kernel keeps the first 256 bytes free.
pub const FRAME_SIZE: u32 = 4096;

/// A socket that is bound to one queue of a device. It needs no privileges any more, in whatever namespace.
#[derive(Debug)]
pub struct BoundSocket {
    /// The socket.
    pub socket: OwnedFd,
    /// Its frames, as a file (`memfd_create(2)`) that can neither grow nor shrink.
    pub umem: OwnedFd,
    /// The device itself writes into the frames and reads from them.
    pub is_zero_copy: bool,
}

impl BoundSocket {
    /// Binds to this queue of a device in the namespace of the calling thread, with so many frames (a power of
    /// two). Each of the four rings has as many entries, so none is ever too small.
    ///
    /// # Errors
    ///
    /// `EBUSY` while another socket is bound there, `EINVAL` where there is no such queue, and what else the kernel
    /// says.
    pub fn bind(index: u32, queue: u32, frames: u32) -> io::Result<Self> {
        let umem = memory(frames)?;
        // SAFETY: takes and gives back integers.
        let socket = unsafe { libc::socket(libc::AF_XDP, libc::SOCK_RAW | libc::SOCK_CLOEXEC, 0) };
        if socket < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: a descriptor just opened, which nobody else has.
        let socket = unsafe { OwnedFd::from_raw_fd(socket) };
        register(&socket, &umem, frames)?;
        for ring in
            [libc::XDP_UMEM_FILL_RING, libc::XDP_UMEM_COMPLETION_RING, libc::XDP_RX_RING, libc::XDP_TX_RING]
        {
            set_option(&socket, ring, &frames)?;
        }
        let address = libc::sockaddr_xdp {
            sxdp_family: libc::AF_XDP as u16,
            // Zero copy where the driver has it, else a copy.
            sxdp_flags: libc::XDP_USE_NEED_WAKEUP,
            sxdp_ifindex: index,
            sxdp_queue_id: queue,
            sxdp_shared_umem_fd: 0,
        };
        let len = size_of::<libc::sockaddr_xdp>() as libc::socklen_t;
        // SAFETY: the pointer and the length are those of a live address.
        if unsafe { libc::bind(socket.as_raw_fd(), (&raw const address).cast(), len) } < 0 {
            return Err(io::Error::last_os_error());
        }
        let is_zero_copy = options(&socket)? & libc::XDP_OPTIONS_ZEROCOPY != 0;
        Ok(Self { socket, umem, is_zero_copy })
    }
}

/// A file in memory with room for so many frames. Whoever gets it cannot take pages from under the socket.
fn memory(frames: u32) -> io::Result<OwnedFd> {
    let memory = memfd_create(c"xsk", MFdFlags::MFD_CLOEXEC | MFdFlags::MFD_ALLOW_SEALING)?;
    ftruncate(memory.as_fd(), i64::from(frames) * i64::from(FRAME_SIZE))?;
    let seals = SealFlag::F_SEAL_GROW | SealFlag::F_SEAL_SHRINK | SealFlag::F_SEAL_SEAL;
    fcntl(&memory, FcntlArg::F_ADD_SEALS(seals))?;
    Ok(memory)
}

/// Makes the memory that of the socket. The kernel holds its pages then: it need not stay mapped here.
fn register(socket: &OwnedFd, umem: &OwnedFd, frames: u32) -> io::Result<()> {
    let len = frames as usize * FRAME_SIZE as usize;
    let access = libc::PROT_READ | libc::PROT_WRITE;
    // SAFETY: the kernel picks the address; nothing that is mapped is replaced.
    let start = unsafe { libc::mmap(ptr::null_mut(), len, access, libc::MAP_SHARED, umem.as_raw_fd(), 0) };
    if start == libc::MAP_FAILED {
        return Err(io::Error::last_os_error());
    }
    let registration = libc::xdp_umem_reg {
        addr: start as u64,
        len: len as u64,
        chunk_size: FRAME_SIZE,
        headroom: 0,
        flags: 0,
        tx_metadata_len: 0,
    };
    let registered = set_option(socket, libc::XDP_UMEM_REG, &registration);
    // SAFETY: this was just mapped, and nobody refers to it.
    unsafe { libc::munmap(start, len) };
    registered
}

fn set_option<T>(socket: &OwnedFd, name: c_int, value: &T) -> io::Result<()> {
    let (value, len) = (ptr::from_ref(value).cast(), size_of::<T>() as libc::socklen_t);
    // SAFETY: the pointer and the length are those of a live value.
    let set = unsafe { libc::setsockopt(socket.as_raw_fd(), libc::SOL_XDP, name, value, len) };
    if set < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// `struct xdp_options`.
fn options(socket: &OwnedFd) -> io::Result<u32> {
    let mut flags = 0_u32;
    let mut len = size_of::<u32>() as libc::socklen_t;
    let to = (&raw mut flags).cast();
    // SAFETY: the pointer and the length are those of a live value.
    let got =
        unsafe { libc::getsockopt(socket.as_raw_fd(), libc::SOL_XDP, libc::XDP_OPTIONS, to, &raw mut len) };
    if got < 0 { Err(io::Error::last_os_error()) } else { Ok(flags) }
}
