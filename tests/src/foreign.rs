//! Somebody else's BPF programs, as small as can be: they count what passes, tag it, or end its way.

use std::os::fd::{AsFd as _, AsRawFd as _, OwnedFd};

use macvlan_core::kernel::program::{
    self, BpfAttachType, DRIVER_MODE, ProgramType, bpf, code, descriptor, instruction,
};

use macvlan_common::mac::Mac;

use crate::{fail::OrFail as _, netns::Netns};

/// Where a program is attached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// TCX ingress.
    Ingress,
    /// TCX egress.
    Egress,
    /// XDP in the driver.
    XdpNative,
    /// XDP in the stack.
    XdpGeneric,
}

/// Where among the others, for TCX.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// Before all that are there.
    First,
    /// After all that are there.
    Last,
}

/// A program of nobody's, attached until this is dropped.
#[derive(Debug)]
pub struct Foreign {
    counter: OwnedFd,
    _program: OwnedFd,
    _link: OwnedFd,
}

impl Foreign {
    /// A program that counts frames and hands them on.
    #[track_caller]
    pub fn counter(ns: &Netns, device: &str, place: Place, order: Order) -> Self {
        Self::attach(ns, device, place, order, &[], NEXT)
    }

    /// A TCX program that counts frames and passes them, with the last word on them: those that come after
    /// it see none.
    #[track_caller]
    pub fn last_word(ns: &Netns, device: &str, place: Place, order: Order) -> Self {
        const PASS: i32 = 0;
        Self::attach(ns, device, place, order, &[], PASS)
    }

    /// A program on TCX egress that gives each frame an 802.1Q tag beside it, and counts it.
    #[track_caller]
    pub fn tagger(ns: &Netns, device: &str, id: u16) -> Self {
        const SKB_VLAN_PUSH: i32 = 18;
        let ethertype = i32::from(crate::frames::VLAN.to_be());
        let push = [
            instruction(code::MOVE, 1, CONTEXT, 0, 0),
            instruction(code::MOVE_NUMBER, 2, 0, 0, ethertype),
            instruction(code::MOVE_NUMBER, 3, 0, 0, i32::from(id)),
            instruction(code::CALL, 0, 0, 0, SKB_VLAN_PUSH),
        ];
        Self::attach(ns, device, Place::Egress, Order::First, &push, NEXT)
    }

    /// A program behind all others on TCX egress that writes this source MAC into each frame, and counts it.
    #[track_caller]
    pub fn renamer(ns: &Netns, device: &str, source: Mac) -> Self {
        const SKB_STORE_BYTES: i32 = 9;
        const SOURCE: i32 = 6;
        let [a, b, c, d, e, f] = source.octets();
        let words = [[a, b, c, d], [e, f, 0, 0]].map(i32::from_le_bytes);
        let store = [
            instruction(code::STORE_NUMBER, STACK, 0, -8, words[0]),
            instruction(code::STORE_NUMBER, STACK, 0, -4, words[1]),
            instruction(code::MOVE, 1, CONTEXT, 0, 0),
            instruction(code::MOVE_NUMBER, 2, 0, 0, SOURCE),
            instruction(code::MOVE, 3, STACK, 0, 0),
            instruction(code::ADD_NUMBER, 3, 0, 0, -8),
            instruction(code::MOVE_NUMBER, 4, 0, 0, 6),
            instruction(code::MOVE_NUMBER, 5, 0, 0, 0),
            instruction(code::CALL, 0, 0, 0, SKB_STORE_BYTES),
        ];
        Self::attach(ns, device, Place::Egress, Order::Last, &store, NEXT)
    }

    /// How many frames it has seen.
    #[track_caller]
    pub fn seen(&self) -> u64 {
        const LOOKUP: libc::c_int = 1;
        let (key, mut value) = (0_u32, 0_u64);
        let mut attributes = MapElement {
            map: self.counter.as_raw_fd().unsigned_abs(),
            padding: 0,
            key: (&raw const key) as u64,
            value: (&raw mut value) as u64,
            flags: 0,
        };
        bpf(LOOKUP, &mut attributes).or_fail("read a foreign counter");
        value
    }

    #[track_caller]
    fn attach(ns: &Netns, device: &str, place: Place, order: Order, first: &[u64], tcx_verdict: i32) -> Self {
        const MAP_CREATE: libc::c_int = 0;
        const ARRAY: u32 = 2;
        const BEFORE: u32 = 1 << 3;
        const AFTER: u32 = 1 << 4;
        const GENERIC_MODE: u32 = 1 << 1;
        const XDP_PASS: i32 = 2;
        let mut map = MapCreate { kind: ARRAY, key_size: 4, value_size: 8, entries: 1 };
        let counter = descriptor(MAP_CREATE, &mut map).or_fail("make a foreign map");
        let (kind, verdict) = match place {
            Place::Ingress | Place::Egress => (ProgramType::SchedCls, tcx_verdict),
            Place::XdpNative | Place::XdpGeneric => (ProgramType::Xdp, XDP_PASS),
        };
        let (hook, flags) = match (place, order) {
            (Place::Ingress, Order::First) => (BpfAttachType::TcxIngress, BEFORE),
            (Place::Ingress, Order::Last) => (BpfAttachType::TcxIngress, AFTER),
            (Place::Egress, Order::First) => (BpfAttachType::TcxEgress, BEFORE),
            (Place::Egress, Order::Last) => (BpfAttachType::TcxEgress, AFTER),
            (Place::XdpNative, _) => (BpfAttachType::Xdp, DRIVER_MODE),
            (Place::XdpGeneric, _) => (BpfAttachType::Xdp, GENERIC_MODE),
        };
        let instructions = [
            &[instruction(code::MOVE, CONTEXT, 1, 0, 0)],
            first,
            &[
                // One more in the only element of the map.
                instruction(code::STORE_NUMBER, STACK, 0, -4, 0),
                instruction(code::MOVE, 2, STACK, 0, 0),
                instruction(code::ADD_NUMBER, 2, 0, 0, -4),
                instruction(code::LOAD_MAP, 1, 1, 0, counter.as_raw_fd()),
                0,
                instruction(code::CALL, 0, 0, 0, 1),
                instruction(code::JUMP_IF_ZERO, 0, 0, 2, 0),
                instruction(code::MOVE_NUMBER, 1, 0, 0, 1),
                instruction(code::ADD_TO_MEMORY, 0, 1, 0, 0),
                instruction(code::MOVE_NUMBER, 0, 0, 0, verdict),
                instruction(code::EXIT, 0, 0, 0, 0),
            ],
        ]
        .concat();
        let program = program::load(kind, &instructions, 0).or_fail("load a foreign program");
        let ifindex = ns.ifindex(device);
        let link = ns.enter(|| program::attach(program.as_fd(), ifindex, hook, flags));
        Self { counter, _program: program, _link: link.or_fail("attach a foreign program") }
    }
}

/// `TCX_NEXT`: whoever comes next has the word.
const NEXT: i32 = -1;
const STACK: u8 = 10;
/// Where the programs keep their context.
const CONTEXT: u8 = 6;

/// Heads of `union bpf_attr`, one per command.
#[repr(C)]
struct MapCreate {
    kind: u32,
    key_size: u32,
    value_size: u32,
    entries: u32,
}

#[repr(C)]
struct MapElement {
    map: u32,
    padding: u32,
    key: u64,
    value: u64,
    flags: u64,
}
