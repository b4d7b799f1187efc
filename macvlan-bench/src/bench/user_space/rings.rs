//! The four rings of an AF_XDP socket (`Documentation/networking/af_xdp.rst`), and other memory shared with the kernel.

use std::{
    io,
    marker::PhantomData,
    os::fd::{AsRawFd as _, BorrowedFd},
    ptr::{self, NonNull},
    sync::atomic::{AtomicU32, Ordering},
};

/// Memory shared with the kernel, until this is dropped.
pub struct Shared {
    start: NonNull<u8>,
    len: usize,
}

// SAFETY: it is memory of the process, not of a thread.
unsafe impl Send for Shared {}

impl Shared {
    /// So many bytes of a descriptor from this offset on.
    pub fn map(fd: BorrowedFd<'_>, offset: i64, len: usize) -> io::Result<Self> {
        let access = libc::PROT_READ | libc::PROT_WRITE;
        let flags = libc::MAP_SHARED | libc::MAP_POPULATE;
        // SAFETY: the kernel picks the address; nothing that is mapped is replaced.
        let start = unsafe { libc::mmap(ptr::null_mut(), len, access, flags, fd.as_raw_fd(), offset) };
        if start == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let start = NonNull::new(start.cast()).ok_or_else(|| io::Error::other("memory at address 0"))?;
        Ok(Self { start, len })
    }

    /// The address of a byte.
    ///
    /// # Panics
    ///
    /// It is beyond the end.
    pub fn at(&self, offset: usize) -> *mut u8 {
        assert!(offset < self.len, "{offset} of {}", self.len);
        self.start.as_ptr().wrapping_add(offset)
    }

    /// A range of bytes, which nobody else writes meanwhile.
    ///
    /// # Panics
    ///
    /// It ends beyond the end.
    pub fn bytes(&mut self, offset: usize, len: usize) -> &mut [u8] {
        assert!(offset <= self.len && len <= self.len - offset, "{offset} and {len} of {}", self.len);
        // SAFETY: the range is mapped, and lent once.
        unsafe { std::slice::from_raw_parts_mut(self.start.as_ptr().wrapping_add(offset), len) }
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        // SAFETY: it was mapped with this length, and nobody refers to it any more.
        unsafe { libc::munmap(self.start.as_ptr().cast(), self.len) };
    }
}

/// A ring of entries, of which one side writes and the other reads. What we write or have read shows once
/// [`publish`](Self::publish) says so: an entry at a time would bounce between processors.
pub struct Ring<T> {
    memory: Shared,
    offsets: libc::xdp_ring_offset,
    mask: u32,
    /// Our counter: the producer's of a ring that we fill, else the consumer's.
    own: u32,
    fills: bool,
    entry: PhantomData<T>,
}

impl<T: Copy> Ring<T> {
    /// The ring at this page offset of a socket, with so many entries (a power of two).
    pub fn map(
        socket: BorrowedFd<'_>,
        page: i64,
        offsets: libc::xdp_ring_offset,
        entries: u32,
        fills: bool,
    ) -> io::Result<Self> {
        let len = offsets.desc as usize + entries as usize * size_of::<T>();
        let memory = Shared::map(socket, page, len)?;
        Ok(Self { memory, offsets, mask: entries - 1, own: 0, fills, entry: PhantomData })
    }

    fn counter(&self, offset: u64) -> &AtomicU32 {
        // SAFETY: the kernel says that an aligned counter is there, and changes it as an atomic one.
        unsafe { AtomicU32::from_ptr(self.memory.at(offset as usize).cast()) }
    }

    fn entry(&self, number: u32) -> *mut T {
        let at = self.offsets.desc as usize + (number & self.mask) as usize * size_of::<T>();
        self.memory.at(at).cast()
    }

    /// How many entries there are to take.
    pub fn waiting(&self) -> u32 {
        self.counter(self.offsets.producer).load(Ordering::Acquire).wrapping_sub(self.own)
    }

    /// The next one of those that are [waiting](Self::waiting).
    pub fn take(&mut self) -> T {
        // SAFETY: the producer's counter said that the entry is there; nobody writes it until it is given back.
        let entry = unsafe { self.entry(self.own).read() };
        self.own = self.own.wrapping_add(1);
        entry
    }

    /// Adds an entry. The ring has as many as there are frames: it is never full.
    pub fn put(&mut self, entry: T) {
        // SAFETY: nobody reads the entry before the counter says that it is there.
        unsafe { self.entry(self.own).write(entry) };
        self.own = self.own.wrapping_add(1);
    }

    /// Shows the other side what was put or taken.
    pub fn publish(&self) {
        let offset = if self.fills { self.offsets.producer } else { self.offsets.consumer };
        self.counter(offset).store(self.own, Ordering::Release);
    }
}
