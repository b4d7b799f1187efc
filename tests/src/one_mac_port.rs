//! A port that carries one MAC, as an access point does for a station, or a switch with port security.

use std::os::fd::{AsFd as _, OwnedFd};

use macvlan_common::mac::Mac;
use macvlan_core::kernel::program::{self, BpfAttachType, ProgramType, code, instruction};

use crate::{fail::OrFail as _, netns::Netns};

/// The filter of a port, until this is dropped.
#[derive(Debug)]
pub struct OneMacPort {
    _links: [OwnedFd; 2],
}

/// Offsets of the MACs in a frame.
const DESTINATION: i16 = 0;
const SOURCE: i16 = 6;

/// `TC_ACT_*` of `include/uapi/linux/pkt_cls.h`.
const NEXT: i32 = -1;
const SHOT: i32 = 2;

impl OneMacPort {
    /// The port of a switch that is this device, with a station of this MAC behind it: what comes in from another MAC is
    /// dropped, and nothing goes out but to that one and to groups.
    #[track_caller]
    pub fn new(ns: &Netns, device: &str, mac: Mac) -> Self {
        let ifindex = ns.ifindex(device);
        let attach = |hook, at, groups_pass| {
            let program = program::load(ProgramType::SchedCls, &only(mac, at, groups_pass), 0)
                .or_fail("load a port's filter");
            ns.enter(|| program::attach(program.as_fd(), ifindex, hook, 0)).or_fail("attach a port's filter")
        };
        Self {
            _links: [
                attach(BpfAttachType::TcxIngress, SOURCE, false),
                attach(BpfAttachType::TcxEgress, DESTINATION, true),
            ],
        }
    }
}

/// A TC program that drops frames with another MAC than this one at an offset; those to groups pass, or not.
fn only(mac: Mac, at: i16, groups_pass: bool) -> Vec<u64> {
    // Offsets in `struct __sk_buff`.
    const DATA: i16 = 76;
    const DATA_END: i16 = 80;
    const MACS_LEN: i32 = 12;
    const LOAD_HALF: u8 = 0x69;
    const AND_NUMBER: u8 = 0x57;
    const JUMP_IF_NOT: u8 = 0x55;
    let [a, b, c, d, e, f] = mac.octets().map(i32::from);
    let halves = [a | b << 8, c | d << 8, e | f << 8];
    let mut program = vec![
        instruction(code::LOAD_WORD, 2, 1, DATA, 0),
        instruction(code::LOAD_WORD, 3, 1, DATA_END, 0),
        instruction(code::MOVE, 4, 2, 0, 0),
        instruction(code::ADD_NUMBER, 4, 0, 0, MACS_LEN),
        instruction(code::JUMP_IF_GREATER, 4, 3, 11, 0),
        instruction(LOAD_HALF, 5, 2, at, 0),
        // The lowest bit of the first byte says that it is a group's.
        instruction(AND_NUMBER, 5, 0, 0, if groups_pass { 1 } else { 0 }),
        instruction(JUMP_IF_NOT, 5, 0, 6, 0),
    ];
    for (place, half) in (0_i16..).zip(halves) {
        program.push(instruction(LOAD_HALF, 5, 2, at + 2 * place, 0));
        program.push(instruction(JUMP_IF_NOT, 5, 0, 6 - 2 * place, half));
    }
    program.extend([
        instruction(code::MOVE_NUMBER, 0, 0, 0, NEXT),
        instruction(code::EXIT, 0, 0, 0, 0),
        instruction(code::MOVE_NUMBER, 0, 0, 0, SHOT),
        instruction(code::EXIT, 0, 0, 0, 0),
    ]);
    program
}
