//! An AF_XDP socket on the child's device.

use std::{
    io,
    os::fd::{AsFd as _, AsRawFd as _, BorrowedFd},
    ptr,
};

use anyhow::{Context as _, Result};
use macvlan_core::kernel::xsk::{
    redirect::Redirect,
    socket::{BoundSocket, FRAME_SIZE},
};

use crate::bench::user_space::{
    program::{BATCH, Program, failure, turn_around},
    rings::{Ring, Shared},
    station::Station,
};

/// Frames in the memory: half of them for what comes, half for what is sent.
const FRAMES: u32 = 4096;

struct Xsk {
    received: Ring<libc::xdp_desc>,
    sent: Ring<libc::xdp_desc>,
    fill: Ring<u64>,
    done: Ring<u64>,
    /// Frames that nobody has.
    free: Vec<u64>,
    /// How many frames have not left yet.
    leaving: usize,
    frame: Vec<u8>,
    umem: Shared,
    socket: BoundSocket,
    _redirect: Redirect,
}

/// Binds to the device's first queue.
pub fn open(station: &Station) -> Result<Box<dyn Program>> {
    let index = station.index()?;
    let (redirect, socket) = station.run(|| {
        let redirect = Redirect::attach(index).context("cannot attach an XDP program")?;
        let socket = BoundSocket::bind(index, 0, FRAMES).context("cannot bind an AF_XDP socket")?;
        redirect.give(0, socket.socket.as_fd()).context("cannot give frames to a socket")?;
        Ok((redirect, socket))
    })?;
    let offsets = offsets(socket.socket.as_fd()).context("cannot find the rings")?;
    let fd = socket.socket.as_fd();
    let (rx, tx) = (libc::XDP_PGOFF_RX_RING, libc::XDP_PGOFF_TX_RING);
    let (fill, done) = (libc::XDP_UMEM_PGOFF_FILL_RING as i64, libc::XDP_UMEM_PGOFF_COMPLETION_RING as i64);
    let len = FRAMES as usize * FRAME_SIZE as usize;
    let mapped = "cannot map a ring";
    let mut xsk = Xsk {
        received: Ring::map(fd, rx, offsets.rx, FRAMES, false).context(mapped)?,
        sent: Ring::map(fd, tx, offsets.tx, FRAMES, true).context(mapped)?,
        fill: Ring::map(fd, fill, offsets.fr, FRAMES, true).context(mapped)?,
        done: Ring::map(fd, done, offsets.cr, FRAMES, false).context(mapped)?,
        free: (FRAMES / 2..FRAMES).map(|number| u64::from(number * FRAME_SIZE)).collect(),
        leaving: 0,
        frame: station.datagram()?,
        umem: Shared::map(socket.umem.as_fd(), 0, len).context("cannot map the frames")?,
        socket,
        _redirect: redirect,
    };
    (0..FRAMES / 2).for_each(|number| xsk.fill.put(u64::from(number * FRAME_SIZE)));
    xsk.fill.publish();
    Ok(Box::new(xsk))
}

impl Xsk {
    /// Has the kernel send what is in the ring.
    fn kick(&self) -> io::Result<()> {
        // SAFETY: no memory is given to the call.
        let sent = unsafe {
            libc::sendto(self.socket.socket.as_raw_fd(), ptr::null(), 0, libc::MSG_DONTWAIT, ptr::null(), 0)
        };
        if sent < 0 { failure().map_or(Ok(()), Err) } else { Ok(()) }
    }

    /// Has the kernel send what is in the ring, and takes back what has left: to where it came from. A call sends some
    /// alone; what is left needs another.
    fn transmit(&mut self) -> io::Result<()> {
        self.sent.publish();
        self.kick()?;
        for _ in 0..self.done.waiting() {
            let frame = self.done.take() & !u64::from(FRAME_SIZE - 1);
            self.leaving = self.leaving.saturating_sub(1);
            if frame < u64::from(FRAMES / 2 * FRAME_SIZE) {
                self.fill.put(frame);
            } else {
                self.free.push(frame);
            }
        }
        self.done.publish();
        Ok(())
    }
}

impl Program for Xsk {
    fn take(&mut self, answers: bool) -> io::Result<usize> {
        let count = self.received.waiting().min(BATCH as u32);
        // Written in vain, the rings' counters would be taken from the kernel's processor.
        if count == 0 && self.leaving == 0 {
            return Ok(0);
        }
        for _ in 0..count {
            let entry = self.received.take();
            if answers && turn_around(self.umem.bytes(entry.addr as usize, entry.len as usize)) {
                self.sent.put(libc::xdp_desc { options: 0, ..entry });
                self.leaving += 1;
            } else {
                self.fill.put(entry.addr & !u64::from(FRAME_SIZE - 1));
            }
        }
        if self.leaving > 0 {
            self.transmit()?;
        }
        self.received.publish();
        self.fill.publish();
        Ok(count as usize)
    }

    fn send(&mut self) -> io::Result<()> {
        if self.leaving == 0 {
            let count = BATCH.min(self.free.len());
            for addr in self.free.split_off(self.free.len() - count) {
                self.umem.bytes(addr as usize, self.frame.len()).copy_from_slice(&self.frame);
                self.sent.put(libc::xdp_desc { addr, len: self.frame.len() as u32, options: 0 });
            }
            self.leaving = count;
        }
        self.transmit()
    }

    fn descriptor(&self) -> BorrowedFd<'_> {
        self.socket.socket.as_fd()
    }
}

fn offsets(socket: BorrowedFd<'_>) -> io::Result<libc::xdp_mmap_offsets> {
    let none = libc::xdp_ring_offset { producer: 0, consumer: 0, desc: 0, flags: 0 };
    let mut offsets = libc::xdp_mmap_offsets { rx: none, tx: none, fr: none, cr: none };
    let mut len = size_of_val(&offsets) as libc::socklen_t;
    let to = (&raw mut offsets).cast();
    // SAFETY: the pointer and the length are those of a live value.
    let got = unsafe {
        libc::getsockopt(socket.as_raw_fd(), libc::SOL_XDP, libc::XDP_MMAP_OFFSETS, to, &raw mut len)
    };
    if got < 0 { Err(io::Error::last_os_error()) } else { Ok(offsets) }
}
