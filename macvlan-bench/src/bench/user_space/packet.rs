//! A packet socket with a ring of blocks (`TPACKET_V3`, Documentation/networking/packet_mmap.rst), which sends past the
//! queueing discipline.

use std::{
    io,
    mem::size_of,
    os::fd::{AsFd as _, AsRawFd as _, BorrowedFd, FromRawFd as _, OwnedFd},
    sync::atomic::{AtomicU32, Ordering},
};

use anyhow::{Context as _, Result};

use crate::bench::user_space::{
    program::{BATCH, Program, failure, turn_around},
    rings::Shared,
    station::Station,
};

const BLOCK_SIZE: u32 = 1 << 16;

const BLOCKS: u32 = 64;

/// What a frame may have, for the kernel's arithmetic alone.
const FRAME_SIZE: u32 = 2048;

struct Packet {
    socket: OwnedFd,
    ring: Shared,
    next: u32,
    frame: Vec<u8>,
}

/// Takes all frames of the device.
pub fn open(station: &Station) -> Result<Box<dyn Program>> {
    // The stack is not to answer, too.
    station.forget_address()?;
    let index = station.index()?;
    let socket = station.run(|| {
        // SAFETY: takes and gives back integers.
        let socket = unsafe { libc::socket(libc::AF_PACKET, libc::SOCK_RAW | libc::SOCK_CLOEXEC, 0) };
        if socket < 0 {
            return Err(io::Error::last_os_error()).context("cannot open a packet socket");
        }
        // SAFETY: a descriptor just opened, which nobody else has.
        Ok(unsafe { OwnedFd::from_raw_fd(socket) })
    })?;
    let request = libc::tpacket_req3 {
        tp_block_size: BLOCK_SIZE,
        tp_block_nr: BLOCKS,
        tp_frame_size: FRAME_SIZE,
        tp_frame_nr: BLOCK_SIZE / FRAME_SIZE * BLOCKS,
        tp_retire_blk_tov: 1,
        tp_sizeof_priv: 0,
        tp_feature_req_word: 0,
    };
    set(&socket, libc::PACKET_VERSION, &libc::tpacket_versions::TPACKET_V3)?;
    set(&socket, libc::PACKET_RX_RING, &request)?;
    set(&socket, libc::PACKET_QDISC_BYPASS, &1_i32)?;
    set(&socket, libc::PACKET_IGNORE_OUTGOING, &1_i32)?;
    let ring = Shared::map(socket.as_fd(), 0, (BLOCK_SIZE * BLOCKS) as usize).context("cannot map a ring")?;
    bind(&socket, index)?;
    Ok(Box::new(Packet { socket, ring, next: 0, frame: station.datagram()? }))
}

fn set<T>(socket: &OwnedFd, name: libc::c_int, value: &T) -> Result<()> {
    let (from, len) = (std::ptr::from_ref(value).cast(), size_of::<T>() as libc::socklen_t);
    // SAFETY: the pointer and the length are those of a live value.
    let set = unsafe { libc::setsockopt(socket.as_raw_fd(), libc::SOL_PACKET, name, from, len) };
    if set < 0 { Err(io::Error::last_os_error()).context("cannot set up a packet socket") } else { Ok(()) }
}

fn bind(socket: &OwnedFd, index: u32) -> Result<()> {
    // SAFETY: all zeros are an address of no family.
    let mut address: libc::sockaddr_ll = unsafe { std::mem::zeroed() };
    address.sll_family = libc::AF_PACKET as u16;
    address.sll_protocol = (libc::ETH_P_ALL as u16).to_be();
    address.sll_ifindex = index.cast_signed();
    let len = size_of::<libc::sockaddr_ll>() as libc::socklen_t;
    // SAFETY: the pointer and the length are those of a live address.
    let bound = unsafe { libc::bind(socket.as_raw_fd(), (&raw const address).cast(), len) };
    if bound < 0 { Err(io::Error::last_os_error()).context("cannot bind a packet socket") } else { Ok(()) }
}

impl Packet {
    fn transmit(&self, frame: &[u8]) -> io::Result<()> {
        // SAFETY: the frame is live and as long as said.
        let sent = unsafe { libc::send(self.socket.as_raw_fd(), frame.as_ptr().cast(), frame.len(), 0) };
        if sent < 0 { failure().map_or(Ok(()), Err) } else { Ok(()) }
    }
}

impl Program for Packet {
    fn take(&mut self, answers: bool) -> io::Result<usize> {
        let start = (self.next * BLOCK_SIZE) as usize;
        let block = self.ring.at(start).cast::<libc::tpacket_block_desc>();
        // SAFETY: a block begins with this header; nothing is read.
        let header = unsafe { &raw mut (*block).hdr.bh1 };
        // SAFETY: as above.
        let status = unsafe { &raw mut (*header).block_status };
        // SAFETY: an aligned word that both sides change as an atomic one.
        if unsafe { AtomicU32::from_ptr(status) }.load(Ordering::Acquire) & libc::TP_STATUS_USER == 0 {
            return Ok(0);
        }
        // SAFETY: the block is ours until its status says otherwise.
        let libc::tpacket_hdr_v1 { num_pkts: count, offset_to_first_pkt, .. } = unsafe { header.read() };
        let mut offset = offset_to_first_pkt;
        for _ in 0..count {
            let at = start + offset as usize;
            // SAFETY: the kernel says that a header is there.
            let packet = unsafe { self.ring.at(at).cast::<libc::tpacket3_hdr>().read() };
            let range = (at + packet.tp_mac as usize, packet.tp_snaplen as usize);
            if answers && turn_around(self.ring.bytes(range.0, range.1)) {
                let frame = self.ring.bytes(range.0, range.1).to_vec();
                self.transmit(&frame)?;
            }
            offset += packet.tp_next_offset;
        }
        // SAFETY: as above.
        unsafe { AtomicU32::from_ptr(status) }.store(libc::TP_STATUS_KERNEL, Ordering::Release);
        self.next = (self.next + 1) % BLOCKS;
        Ok(count as usize)
    }

    fn send(&mut self) -> io::Result<()> {
        (0..BATCH).try_for_each(|_| self.transmit(&self.frame))
    }

    fn descriptor(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}
