//! Sending frames by an XDP socket (AF_XDP) in copy mode, as user-space stacks in containers do.
//!
//! Such a frame has no protocol and no network header: the kernel takes what is in the socket's memory as it
//! is (`xsk_build_skb` in net/xdp/xsk.c). Layout: `Documentation/networking/af_xdp.rst`.

use std::{
    ffi::c_int,
    io, mem,
    os::fd::{AsRawFd as _, OwnedFd},
    ptr::{self, NonNull},
    sync::atomic::{AtomicU32, Ordering},
};

use macvlan_core::kernel::xsk::socket::{BoundSocket, FRAME_SIZE};

use crate::{fail::wait_for, netns::Netns};

/// Bytes of one frame in the socket's memory, of which the first is used alone.
const SLOT: usize = FRAME_SIZE as usize;
/// Frames and entries of each ring, a power of two; a frame is sent only when the one before has left.
const ENTRIES: usize = 4;

/// An XDP socket that sends.
#[derive(Debug)]
pub struct XdpSender {
    fd: OwnedFd,
    frames: Memory,
    sent: Ring,
    completed: Ring,
}

impl XdpSender {
    /// Sends out of the first queue of `device`.
    #[track_caller]
    pub fn new(ns: &Netns, device: &str) -> Self {
        let index = ns.ifindex(device);
        ns.enter(|| Self::open(index))
            .unwrap_or_else(|error| panic!("cannot send by XDP on {device}: {error}"))
    }

    fn open(index: u32) -> io::Result<Self> {
        let BoundSocket { socket, umem, .. } = BoundSocket::bind(index, 0, ENTRIES as u32)?;
        let frames = Memory::map(SLOT, umem.as_raw_fd(), 0)?;
        let offsets = offsets(&socket)?;
        let sent = Ring::map(&socket, libc::XDP_PGOFF_TX_RING, &offsets.tx, size_of::<libc::xdp_desc>())?;
        let page = libc::XDP_UMEM_PGOFF_COMPLETION_RING as i64;
        let completed = Ring::map(&socket, page, &offsets.cr, size_of::<u64>())?;
        Ok(Self { fd: socket, frames, sent, completed })
    }

    /// Sends one frame, and waits until it has left.
    #[track_caller]
    pub fn send(&self, frame: &[u8]) {
        assert!(frame.len() <= SLOT, "{} bytes are more than a frame of the socket has", frame.len());
        // SAFETY: the memory has `SLOT` bytes, and the kernel reads none of them between two frames.
        unsafe { ptr::copy_nonoverlapping(frame.as_ptr(), self.frames.start.as_ptr(), frame.len()) };
        self.sent.push(libc::xdp_desc { addr: 0, len: frame.len() as u32, options: 0 });
        let left = || {
            // SAFETY: no memory is given to the call.
            let woken = unsafe {
                libc::sendto(self.fd.as_raw_fd(), ptr::null(), 0, libc::MSG_DONTWAIT, ptr::null(), 0)
            };
            let error = io::Error::last_os_error().raw_os_error();
            // ENOBUFS: a program has dropped it, which is no error here.
            assert!(
                woken >= 0 || matches!(error, Some(libc::EAGAIN | libc::EBUSY | libc::ENOBUFS)),
                "cannot send by XDP: {error:?}"
            );
            self.completed.pop().then_some(())
        };
        wait_for("the frame of an XDP socket to leave", left);
    }
}

fn offsets(fd: &OwnedFd) -> io::Result<libc::xdp_mmap_offsets> {
    // SAFETY: all zeroes is a valid value.
    let mut offsets: libc::xdp_mmap_offsets = unsafe { mem::zeroed() };
    let mut len = size_of_val(&offsets) as libc::socklen_t;
    let to = (&raw mut offsets).cast();
    // SAFETY: the pointer and the length are those of a live value.
    let got =
        unsafe { libc::getsockopt(fd.as_raw_fd(), libc::SOL_XDP, libc::XDP_MMAP_OFFSETS, to, &raw mut len) };
    if got < 0 { Err(io::Error::last_os_error()) } else { Ok(offsets) }
}

/// Memory that the kernel shares, until this is dropped.
#[derive(Debug)]
struct Memory {
    start: NonNull<u8>,
    len: usize,
}

// SAFETY: the memory belongs to the process, whichever thread uses it.
unsafe impl Send for Memory {}

impl Memory {
    fn map(len: usize, fd: c_int, offset: i64) -> io::Result<Self> {
        let (access, shared) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_SHARED | libc::MAP_POPULATE);
        // SAFETY: the kernel picks the address; nothing that is mapped is replaced.
        let start = unsafe { libc::mmap(ptr::null_mut(), len, access, shared, fd, offset) };
        if start == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let start = NonNull::new(start.cast()).ok_or(io::ErrorKind::InvalidData)?;
        Ok(Self { start, len })
    }

    fn at(&self, offset: usize) -> *mut u8 {
        assert!(offset < self.len, "{offset} is beyond what is mapped");
        // SAFETY: as just asserted.
        unsafe { self.start.as_ptr().add(offset) }
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        // SAFETY: this was mapped, and nobody refers to it any more.
        unsafe { libc::munmap(self.start.as_ptr().cast(), self.len) };
    }
}

/// A ring that the kernel and this process share.
#[derive(Debug)]
struct Ring {
    memory: Memory,
    producer: usize,
    consumer: usize,
    entries: usize,
}

impl Ring {
    fn map(fd: &OwnedFd, page: i64, offset: &libc::xdp_ring_offset, entry: usize) -> io::Result<Self> {
        let len = offset.desc as usize + ENTRIES * entry;
        let memory = Memory::map(len, fd.as_raw_fd(), page)?;
        Ok(Self {
            memory,
            producer: offset.producer as usize,
            consumer: offset.consumer as usize,
            entries: offset.desc as usize,
        })
    }

    fn counter(&self, at: usize) -> &AtomicU32 {
        let counter = self.memory.at(at).cast();
        // SAFETY: the kernel says that an aligned counter is there, and changes it as an atomic one.
        unsafe { AtomicU32::from_ptr(counter) }
    }

    fn push(&self, entry: libc::xdp_desc) {
        let producer = self.counter(self.producer);
        let next = producer.load(Ordering::Relaxed);
        let at = self.entries + (next as usize % ENTRIES) * size_of_val(&entry);
        let place = self.memory.at(at).cast::<libc::xdp_desc>();
        // SAFETY: an entry is there, which the kernel reads only once it is produced.
        unsafe { place.write(entry) };
        producer.store(next.wrapping_add(1), Ordering::Release);
    }

    /// Takes one entry, if there is one.
    fn pop(&self) -> bool {
        let consumer = self.counter(self.consumer);
        let next = consumer.load(Ordering::Relaxed);
        let is_there = self.counter(self.producer).load(Ordering::Acquire) != next;
        if is_there {
            consumer.store(next.wrapping_add(1), Ordering::Release);
        }
        is_there
    }
}
