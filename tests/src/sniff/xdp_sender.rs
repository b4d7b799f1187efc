//! Sending frames by an XDP socket (AF_XDP) in copy mode, as user-space stacks in containers do.
//!
//! Such a frame has no protocol and no network header: the kernel takes what is in the socket's memory as it
//! is (`xsk_build_skb` in net/xdp/xsk.c). Layout: `Documentation/networking/af_xdp.rst`.

use std::{
    ffi::c_int,
    io, mem,
    os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd},
    ptr::{self, NonNull},
    sync::atomic::{AtomicU32, Ordering},
};

use crate::{fail::wait_for, netns::Netns};

/// Bytes of one frame in the socket's memory, and how many there are room for.
const SLOT: usize = 4096;
/// Entries of each ring, a power of two; a frame is sent only when the one before has left.
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
        // SAFETY: takes and gives back integers.
        let fd = unsafe { libc::socket(libc::AF_XDP, libc::SOCK_RAW | libc::SOCK_CLOEXEC, 0) };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: a descriptor just opened, which nobody else has.
        let fd = unsafe { OwnedFd::from_raw_fd(fd) };
        let frames = Memory::map(SLOT, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS, -1, 0)?;
        let umem = libc::xdp_umem_reg {
            addr: frames.start.as_ptr() as u64,
            len: SLOT as u64,
            chunk_size: SLOT as u32,
            headroom: 0,
            flags: 0,
            tx_metadata_len: 0,
        };
        option(&fd, libc::XDP_UMEM_REG, &umem)?;
        for ring in [libc::XDP_UMEM_FILL_RING, libc::XDP_UMEM_COMPLETION_RING, libc::XDP_TX_RING] {
            option(&fd, ring, &(ENTRIES as c_int))?;
        }
        let offsets = offsets(&fd)?;
        let sent = Ring::map(&fd, libc::XDP_PGOFF_TX_RING, &offsets.tx, size_of::<libc::xdp_desc>())?;
        let completed =
            Ring::map(&fd, libc::XDP_UMEM_PGOFF_COMPLETION_RING as i64, &offsets.cr, size_of::<u64>())?;
        let address = libc::sockaddr_xdp {
            sxdp_family: libc::AF_XDP as u16,
            sxdp_flags: libc::XDP_COPY,
            sxdp_ifindex: index,
            sxdp_queue_id: 0,
            sxdp_shared_umem_fd: 0,
        };
        let len = size_of_val(&address) as libc::socklen_t;
        // SAFETY: the pointer and the length are those of a live address.
        if unsafe { libc::bind(fd.as_raw_fd(), (&raw const address).cast(), len) } < 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(Self { fd, frames, sent, completed })
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

fn option<T>(fd: &OwnedFd, name: c_int, value: &T) -> io::Result<()> {
    let len = size_of::<T>() as libc::socklen_t;
    // SAFETY: the pointer and the length are those of a live value.
    let set =
        unsafe { libc::setsockopt(fd.as_raw_fd(), libc::SOL_XDP, name, ptr::from_ref(value).cast(), len) };
    if set < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
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
    fn map(len: usize, flags: c_int, fd: c_int, offset: i64) -> io::Result<Self> {
        let access = libc::PROT_READ | libc::PROT_WRITE;
        // SAFETY: the kernel picks the address; nothing that is mapped is replaced.
        let start =
            unsafe { libc::mmap(ptr::null_mut(), len, access, flags | libc::MAP_POPULATE, fd, offset) };
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
        let memory = Memory::map(len, libc::MAP_SHARED, fd.as_raw_fd(), page)?;
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
