//! bpf(2), for what aya has no call for: as the product's own bench does it.

use std::os::fd::{AsFd as _, OwnedFd};

pub use macvlan_ctl::bench::program::bpf;
use macvlan_ctl::bench::program::{BPF_TCX_INGRESS, ProgramType, attach_tcx, load, returning};

use crate::{
    fail::OrFail as _,
    netns::Netns,
    progs::{SKB_MARK, SKB_TAG},
};

const MOVE_NUMBER: u8 = 0xb7;
const LOAD_WORD: u8 = 0x61;
const STORE_WORD: u8 = 0x63;
const CALL: u8 = 0x85;
const EXIT: u8 = 0x95;

/// `struct bpf_insn`.
pub const fn instruction(code: u8, destination: u8, source: u8, offset: i16, number: i32) -> u64 {
    code as u64
        | (destination as u64) << 8
        | (source as u64) << 12
        | (offset as u16 as u64) << 16
        | (number as u32 as u64) << 32
}

/// A TC program that shows what no socket sees: it sends every frame out of the device with index
/// `to`, `__sk_buff::cb[3]` as its packet mark.
#[track_caller]
pub fn telling_tags(to: u32) -> OwnedFd {
    const MARK: i16 = SKB_MARK as i16;
    const TAG: i16 = SKB_TAG as i16;
    const BPF_REDIRECT: i32 = 23;
    let code = [
        instruction(LOAD_WORD, 2, 1, TAG, 0),
        instruction(STORE_WORD, 1, 2, MARK, 0),
        instruction(MOVE_NUMBER, 1, 0, 0, to as i32),
        instruction(MOVE_NUMBER, 2, 0, 0, 0),
        instruction(CALL, 0, 0, 0, BPF_REDIRECT),
        instruction(EXIT, 0, 0, 0, 0),
    ];
    load(ProgramType::SchedCls, &code).or_fail("load a program")
}

/// An empty program at a device's TC ingress, as long as what is returned lives.
#[track_caller]
pub fn empty_at_ingress(ns: &Netns, device: &str) -> OwnedFd {
    const TCX_NEXT: i32 = -1;
    let program = returning(ProgramType::SchedCls, TCX_NEXT).or_fail("load a program");
    at_ingress(ns, device, &program)
}

/// A program at a device's TC ingress, as long as what is returned lives.
#[track_caller]
pub fn at_ingress(ns: &Netns, device: &str, program: &OwnedFd) -> OwnedFd {
    let target = ns.ifindex(device);
    ns.enter(|| attach_tcx(program.as_fd(), target, BPF_TCX_INGRESS))
        .or_fail("attach a program to TC ingress")
}
