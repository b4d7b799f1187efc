//! The program that gives the frames of a device to the sockets bound to its queues.

use std::{
    io,
    os::fd::{AsFd, AsRawFd as _, BorrowedFd, OwnedFd},
};

use crate::kernel::program::{
    BpfAttachType, DRIVER_MODE, GENERIC_MODE, ProgramType, allow_memory, attach, bpf, code, descriptor,
    instruction, load,
};

const BPF_MAP_CREATE: libc::c_int = 0;

const BPF_MAP_UPDATE_ELEM: libc::c_int = 2;

const BPF_MAP_TYPE_XSKMAP: u32 = 17;

/// Queues that a device may have: a veth has one for each CPU at most.
pub const MOST_QUEUES: u32 = 64;

/// Frames of a queue go to the socket that the map has for it; without one, up the stack as ever. It is in place as
/// long as this lives, however the process ends.
#[derive(Debug)]
pub struct Redirect {
    map: OwnedFd,
    /// Whether it runs in the driver, not behind it.
    pub is_native: bool,
    _link: OwnedFd,
}

impl Redirect {
    /// Puts it on a device in the namespace of the calling thread: in the driver, where that has XDP.
    ///
    /// # Errors
    ///
    /// `EBUSY` where another XDP program is, `ERANGE` where frames are too large, and what else the kernel says.
    pub fn attach(index: u32) -> io::Result<Self> {
        allow_memory();
        let map = new_map()?;
        let program = load(ProgramType::Xdp, &to_socket(&map), 0)?;
        let on = |mode| attach(program.as_fd(), index, BpfAttachType::Xdp, mode);
        match on(DRIVER_MODE) {
            Err(error) if error.raw_os_error() == Some(libc::EOPNOTSUPP) => {
                Ok(Self { map, is_native: false, _link: on(GENERIC_MODE)? })
            }
            link => Ok(Self { map, is_native: true, _link: link? }),
        }
    }

    /// Gives the frames of this queue to a socket that is bound to it, until that is closed.
    ///
    /// # Errors
    ///
    /// `E2BIG` beyond [`MOST_QUEUES`], and what else the kernel says.
    pub fn give(&self, queue: u32, socket: BorrowedFd<'_>) -> io::Result<()> {
        let socket = socket.as_raw_fd();
        let mut update = MapUpdate {
            map: self.map.as_raw_fd().unsigned_abs(),
            key: (&raw const queue) as u64,
            value: (&raw const socket) as u64,
            ..MapUpdate::default()
        };
        bpf(BPF_MAP_UPDATE_ELEM, &mut update).map(drop)
    }
}

impl AsFd for Redirect {
    /// The map (`BPF_MAP_TYPE_XSKMAP`), by number of the queue.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.map.as_fd()
    }
}

/// Head of `union bpf_attr` for `BPF_MAP_CREATE`.
#[repr(C)]
struct MapCreate {
    kind: u32,
    key_size: u32,
    value_size: u32,
    max_entries: u32,
}

/// Of `union bpf_attr` for `BPF_MAP_UPDATE_ELEM`.
#[repr(C)]
#[derive(Default)]
struct MapUpdate {
    map: u32,
    padding: u32,
    key: u64,
    value: u64,
    flags: u64,
}

fn new_map() -> io::Result<OwnedFd> {
    let mut create =
        MapCreate { kind: BPF_MAP_TYPE_XSKMAP, key_size: 4, value_size: 4, max_entries: MOST_QUEUES };
    descriptor(BPF_MAP_CREATE, &mut create)
}

/// `return bpf_redirect_map(&map, ctx->rx_queue_index, XDP_PASS)`.
fn to_socket(map: &OwnedFd) -> [u64; 6] {
    /// Where `struct xdp_md` has the number of the queue.
    const RX_QUEUE_INDEX: i16 = 16;
    const BPF_PSEUDO_MAP_FD: u8 = 1;
    const BPF_REDIRECT_MAP: i32 = 51;
    const XDP_PASS: i32 = 2;
    [
        instruction(code::LOAD_WORD, 2, 1, RX_QUEUE_INDEX, 0),
        instruction(code::LOAD_MAP, 1, BPF_PSEUDO_MAP_FD, 0, map.as_raw_fd()),
        0,
        instruction(code::MOVE_NUMBER, 3, 0, 0, XDP_PASS),
        instruction(code::CALL, 0, 0, 0, BPF_REDIRECT_MAP),
        instruction(code::EXIT, 0, 0, 0, 0),
    ]
}
