//! Answers ARP, ping and UDP echo (port 7) for one IPv4 address, past the network stack and without privileges: on an
//! AF_XDP socket that `macvlan-ctl xsk serve` hands over (docs/user-space.md).

use std::{
    io::{Error, IoSliceMut, Result},
    net::Ipv4Addr,
    os::fd::{AsFd as _, AsRawFd as _, BorrowedFd, RawFd},
    ptr, slice,
    sync::atomic::{AtomicU32, Ordering},
};

use nix::{
    poll::{PollFd, PollFlags, PollTimeout, poll},
    sys::socket::{
        AddressFamily, ControlMessageOwned, MsgFlags, SockFlag, SockType, UnixAddr, connect, recvmsg, send,
        socket,
    },
};

/// Memory that is shared with the kernel, for as long as this program runs.
fn map(fd: RawFd, at: i64, len: usize) -> Result<*mut u8> {
    let (access, shared) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_SHARED | libc::MAP_POPULATE);
    // SAFETY: the kernel picks the address; nothing that is mapped is replaced.
    let start = unsafe { libc::mmap(ptr::null_mut(), len, access, shared, fd, at) };
    if start == libc::MAP_FAILED { Err(Error::last_os_error()) } else { Ok(start.cast()) }
}

/// A ring with as many entries as there are frames: it is never too small.
struct Ring<T>(*mut u8, libc::xdp_ring_offset, u32, [T; 0]);

impl<T: Copy> Ring<T> {
    fn map(fd: RawFd, page: i64, offset: libc::xdp_ring_offset, entries: u32) -> Result<Self> {
        let len = offset.desc as usize + entries as usize * size_of::<T>();
        Ok(Self(map(fd, page, len)?, offset, entries, []))
    }

    fn counter(&self, at: u64) -> &AtomicU32 {
        // SAFETY: the kernel says that an aligned counter is there, and changes it as an atomic one.
        unsafe { AtomicU32::from_ptr(self.0.wrapping_add(at as usize).cast()) }
    }

    fn entry(&self, number: u32) -> *mut T {
        self.0.wrapping_add(self.1.desc as usize).cast::<T>().wrapping_add((number % self.2) as usize)
    }

    fn put(&self, entry: T) {
        let next = self.counter(self.1.producer).load(Ordering::Relaxed);
        // SAFETY: nobody reads the entry before the counter says that it is there.
        unsafe { self.entry(next).write(entry) };
        self.counter(self.1.producer).store(next.wrapping_add(1), Ordering::Release);
    }

    fn take(&self) -> Option<T> {
        let next = self.counter(self.1.consumer).load(Ordering::Relaxed);
        if self.counter(self.1.producer).load(Ordering::Acquire) == next {
            return None;
        }
        // SAFETY: the counter says that the entry is there, and nobody writes it until it is taken.
        let entry = unsafe { self.entry(next).read() };
        self.counter(self.1.consumer).store(next.wrapping_add(1), Ordering::Release);
        Some(entry)
    }
}

/// Turns a request for this address into its answer, in place, unless it has IP options or is a fragment; whether it did.
fn answer(frame: &mut [u8], mac: &[u8], ip: [u8; 4]) -> bool {
    let is_arp = frame[12..14] == [8, 6] && frame[20..22] == [0, 1] && frame[38..42] == ip;
    let is_ip =
        frame[12..15] == [8, 0, 0x45] && frame[20] & 0x3f == 0 && frame[21] == 0 && frame[30..34] == ip;
    if is_arp {
        frame.copy_within(22..32, 32);
        frame[22..28].copy_from_slice(mac);
        frame[28..32].copy_from_slice(&ip);
        frame[21] = 2;
    } else if is_ip && frame[23] == 1 && frame[34] == 8 {
        frame[34] = 0;
        // RFC 1624: the type went from 8 to 0.
        let (sum, carry) = u16::from_be_bytes([frame[36], frame[37]]).overflowing_add(0x0800);
        frame[36..38].copy_from_slice(&(sum + u16::from(carry)).to_be_bytes());
    } else if is_ip && frame[23] == 17 && frame[36..38] == [0, 7] {
        frame[34..38].rotate_left(2);
    } else {
        return false;
    }
    if is_ip {
        frame[26..34].rotate_left(4);
    }
    frame.copy_within(6..12, 0);
    frame[6..12].copy_from_slice(mac);
    true
}

fn main() -> Result<()> {
    let words: Vec<String> = std::env::args().collect();
    let [_, path, ip] = words.as_slice() else { return Err(Error::other("usage: xsk_echo SOCKET IPV4")) };
    let ip = ip.parse::<Ipv4Addr>().map_err(Error::other)?.octets();
    let server = socket(AddressFamily::Unix, SockType::SeqPacket, SockFlag::SOCK_CLOEXEC, None)?;
    connect(server.as_raw_fd(), &UnixAddr::new(path.as_str())?)?;
    send(server.as_raw_fd(), b"/xsk,0", MsgFlags::empty())?;
    let (mut message, mut control) = ([0; 256], nix::cmsg_space!([RawFd; 2]));
    let mut room = [IoSliceMut::new(&mut message)];
    let got = recvmsg::<()>(server.as_raw_fd(), &mut room, Some(&mut control), MsgFlags::MSG_CMSG_CLOEXEC)?;
    let (len, rights) = (got.bytes, got.cmsgs()?.next());
    let Some(ControlMessageOwned::ScmRights(fds)) = rights.filter(|_| message.starts_with(b"xsk1")) else {
        return Err(Error::other(String::from_utf8_lossy(&message[..len])));
    };
    let number = |at: usize| u32::from_ne_bytes(message[at..at + 4].try_into().unwrap_or_default());
    let (xsk, frames, size, mac) = (fds[0], number(8), number(12), &message[24..30]);
    let mut offsets = [libc::xdp_ring_offset { producer: 0, consumer: 0, desc: 0, flags: 0 }; 4];
    let (to, mut len) = (offsets.as_mut_ptr().cast(), size_of_val(&offsets) as libc::socklen_t);
    // SAFETY: the pointer and the length are those of a live value (`struct xdp_mmap_offsets` is these four).
    if unsafe { libc::getsockopt(xsk, libc::SOL_XDP, libc::XDP_MMAP_OFFSETS, to, &raw mut len) } < 0 {
        return Err(Error::last_os_error());
    }
    let umem = map(fds[1], 0, frames as usize * size as usize)?;
    let received = Ring::<libc::xdp_desc>::map(xsk, libc::XDP_PGOFF_RX_RING, offsets[0], frames)?;
    let sent = Ring::<libc::xdp_desc>::map(xsk, libc::XDP_PGOFF_TX_RING, offsets[1], frames)?;
    let free = Ring::<u64>::map(xsk, libc::XDP_UMEM_PGOFF_FILL_RING as i64, offsets[2], frames)?;
    let left = Ring::<u64>::map(xsk, libc::XDP_UMEM_PGOFF_COMPLETION_RING as i64, offsets[3], frames)?;
    (0..frames).for_each(|frame| free.put(u64::from(frame) * u64::from(size)));

    // SAFETY: the descriptor stays open as long as this program runs.
    let waiting = unsafe { BorrowedFd::borrow_raw(xsk) };
    let mut leaving = 0_u32;
    loop {
        let mut fds = [waiting, server.as_fd()].map(|fd| PollFd::new(fd, PollFlags::POLLIN));
        // A call sends some at most: what has not left needs another.
        poll(&mut fds, if leaving == 0 { PollTimeout::NONE } else { PollTimeout::ZERO })?;
        if fds[1].any() == Some(true) || fds[0].revents() == Some(PollFlags::POLLERR) {
            return Err(Error::other("the server or the device is gone"));
        }
        while let Some(entry) = received.take() {
            let start = umem.wrapping_add(entry.addr as usize);
            // SAFETY: the kernel tells a place in the memory, and leaves it to us until it is given back.
            let frame = unsafe { slice::from_raw_parts_mut(start, entry.len as usize) };
            if frame.len() >= 42 && answer(frame, mac, ip) {
                sent.put(libc::xdp_desc { options: 0, ..entry });
                leaving += 1;
            } else {
                free.put(entry.addr);
            }
        }
        // SAFETY: no memory is given to the call.
        unsafe { libc::sendto(xsk, ptr::null(), 0, libc::MSG_DONTWAIT, ptr::null(), 0) };
        while let Some(frame) = left.take() {
            free.put(frame);
            leaving -= 1;
        }
    }
}
