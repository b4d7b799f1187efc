//! BPF programs written by hand, which tests put beside ours or instead of them.

use std::os::fd::{AsFd as _, OwnedFd};

use macvlan_core::kernel::program::{
    self, BpfAttachType, ProgramType, attach, code, instruction, load, returning, returning_code,
};

use macvlan_common::mac::Mac;

use crate::{
    contexts::{SKB_MARK, SKB_TAG},
    fail::OrFail as _,
    netns::Netns,
};

/// `BPF_F_XDP_HAS_FRAGS`: the program takes frames in several buffers (kernel 5.18).
const BPF_F_XDP_HAS_FRAGS: u32 = 1 << 5;

/// Whether the kernel has XDP programs that take frames in several buffers.
///
/// # Panics
///
/// When it refuses them for another reason than that it does not know of such.
#[track_caller]
pub fn has_xdp_frags() -> bool {
    const XDP_PASS: i32 = 2;
    match load(ProgramType::Xdp, &returning_code(XDP_PASS), BPF_F_XDP_HAS_FRAGS) {
        Ok(_) => true,
        Err(error) if error.raw_os_error() == Some(libc::EINVAL) => false,
        Err(error) => panic!("cannot load a program: {error}"),
    }
}

/// A TC program that shows what no socket sees: it sends every frame out of the device with index
/// `to`, `__sk_buff::cb[3]` as its packet mark.
#[track_caller]
pub fn telling_tags(to: u32) -> OwnedFd {
    const MARK: i16 = SKB_MARK as i16;
    const TAG: i16 = SKB_TAG as i16;
    const BPF_REDIRECT: i32 = 23;
    let instructions = [
        instruction(code::LOAD_WORD, 2, 1, TAG, 0),
        instruction(code::STORE_WORD, 1, 2, MARK, 0),
        instruction(code::MOVE_NUMBER, 1, 0, 0, to as i32),
        instruction(code::MOVE_NUMBER, 2, 0, 0, 0),
        instruction(code::CALL, 0, 0, 0, BPF_REDIRECT),
        instruction(code::EXIT, 0, 0, 0, 0),
    ];
    load(ProgramType::SchedCls, &instructions, 0).or_fail("load a program")
}

/// An empty program at a device's TC ingress, as long as what is returned lives.
#[track_caller]
pub fn empty_at_ingress(ns: &Netns, device: &str) -> OwnedFd {
    const TCX_NEXT: i32 = -1;
    at_ingress(ns, device, &returning(ProgramType::SchedCls, TCX_NEXT).or_fail("load a program"))
}

/// A program at a device's TC ingress, as long as what is returned lives.
#[track_caller]
pub fn at_ingress(ns: &Netns, device: &str, program: &OwnedFd) -> OwnedFd {
    let ifindex = ns.ifindex(device);
    ns.enter(|| attach(program.as_fd(), ifindex, BpfAttachType::TcxIngress, 0))
        .or_fail("attach a program to TC ingress")
}

/// The least that a hairpin can be, at a device's TC egress, as long as what is returned lives: frames to these MACs
/// come back up, all others go on. Nothing is looked up, asked or counted.
#[track_caller]
pub fn bare_hairpin(ns: &Netns, device: &str, macs: [Mac; 2]) -> OwnedFd {
    const BPF_REDIRECT: i32 = 23;
    const BPF_F_INGRESS: i32 = 1;
    const TCX_NEXT: i32 = -1;
    let ifindex = ns.ifindex(device);
    // All MACs of a lab begin with the same 16 bits.
    let [one, other] = macs.map(|mac| {
        let [_, _, a, b, c, d] = mac.octets();
        i32::from_be_bytes([a, b, c, d])
    });
    let instructions = [
        instruction(code::MOVE, 6, 1, 0, 0),
        instruction(code::LOAD_FRAME, 0, 0, 0, 2),
        instruction(code::JUMP_IF_IS, 0, 0, 3, one),
        instruction(code::JUMP_IF_IS, 0, 0, 2, other),
        instruction(code::MOVE_NUMBER, 0, 0, 0, TCX_NEXT),
        instruction(code::EXIT, 0, 0, 0, 0),
        instruction(code::MOVE_NUMBER, 1, 0, 0, ifindex as i32),
        instruction(code::MOVE_NUMBER, 2, 0, 0, BPF_F_INGRESS),
        instruction(code::CALL, 0, 0, 0, BPF_REDIRECT),
        instruction(code::EXIT, 0, 0, 0, 0),
    ];
    let program = load(ProgramType::SchedCls, &instructions, 0).or_fail("load a program");
    ns.enter(|| attach(program.as_fd(), ifindex, BpfAttachType::TcxEgress, 0))
        .or_fail("attach a program to TC egress")
}

/// A program in a device's native XDP that drops everything, as long as what is returned lives: as
/// fast as a device can be rid of frames.
#[track_caller]
pub fn dropping_in_xdp(ns: &Netns, device: &str) -> OwnedFd {
    let ifindex = ns.ifindex(device);
    ns.enter(|| program::dropping_in_xdp(ifindex)).or_fail("attach a program to XDP")
}
