//! The rows on bytes in memory, and what holds whatever the bytes.

use proptest::{collection::vec, prelude::*, sample::select};

use super::*;
use crate::{
    mac::Mac,
    single_mac::{Bytes as _, Packet as _, Whose, plain_target},
};

#[test]
fn every_row_of_the_contract_holds() {
    for case in cases() {
        let mut memory = Memory::of_cases(case.frame.clone());
        let fate = memory.judge(case.way, MASTER);
        assert_eq!(fate, case.fate, "{}", case.name);
        if matches!(fate, Fate::Frame(_)) {
            assert_eq!(memory.taught, case.taught, "{}", case.name);
        }
    }
}

#[test]
fn a_tag_beside_the_frame_is_a_tag_too() {
    let case = cases().into_iter().find(|case| case.name == "IPv4 behind a VLAN tag").unwrap();
    let mut bare = case.frame.clone();
    bare.drain(12..16);
    let mut memory = Memory { beside: 5, ..Memory::of_cases(bare) };
    let Fate::Frame(frame) = memory.judge(case.way, MASTER) else { panic!("dropped") };
    assert_eq!(frame[..6], CHILD.octets());
}

#[test]
fn checksums_hold_before_and_after() {
    for case in cases().iter().filter(|case| !case.name.contains("headers")) {
        assert!(frame_checksums_hold(&case.frame), "{}", case.name);
        if let Fate::Frame(frame) = &case.fate {
            assert!(frame_checksums_hold(frame), "{}", case.name);
        }
    }
}

/// A frame of the table with some bytes changed, behind its MACs.
fn mutated() -> impl Strategy<Value = (Way, Vec<u8>)> {
    mutated_of(cases())
}

/// The same of these rows.
fn mutated_of(cases: Vec<Case>) -> impl Strategy<Value = (Way, Vec<u8>)> {
    (select(cases), vec((12_usize..120, any::<u8>()), 0..4), any::<bool>(), 0_usize..200).prop_map(
        |(case, changes, is_cut, len)| {
            let mut frame = case.frame;
            for (at, byte) in changes {
                if let Some(place) = frame.get_mut(at) {
                    *place = byte;
                }
            }
            if is_cut {
                frame.truncate(len.max(14));
            }
            (case.way, frame)
        },
    )
}

/// Whose a frame is by the short way.
fn by_the_short_way(memory: &Memory) -> Whose {
    memory.whose(0, plain_target(memory, memory.half(12).unwrap_or_default()))
}

/// The rows to which there is one: of both families, for a child, for the host and for all.
fn short_cases() -> Vec<Case> {
    let is_short = |case: &Case| {
        case.way == Way::In
            && case.frame[..6] == MASTER.octets()
            && case.frame[6..12] != MASTER.octets()
            && by_the_short_way(&Memory::of_cases(case.frame.clone())) != Whose::NOBODY
    };
    let short: Vec<Case> = cases().into_iter().filter(is_short).collect();
    assert!(short.len() > 5, "only {} rows", short.len());
    short
}

/// Where ARP or neighbour discovery in a frame that went through tells a link-layer address.
fn told_macs(frame: &[u8]) -> Vec<&[u8]> {
    let mut at = 12;
    while matches!(frame.get(at..at + 2), Some([0x81, 0] | [0x88, 0xa8])) {
        at += 4;
    }
    let kind = frame.get(at..at + 2);
    let packet = frame.get(at + 2..).unwrap_or_default();
    if kind == Some(&[8, 6]) {
        return packet.get(8..14).into_iter().chain(packet.get(18..24)).collect();
    }
    // Of another version it is no IPv6: whoever gets it drops it (`ip6_rcv_core` in net/ipv6/ip6_input.c).
    if kind != Some(&[0x86, 0xdd]) || packet.len() < 40 || packet[0] >> 4 != 6 {
        return Vec::new();
    }
    if packet[7] != 255 || packet[6] != 58 {
        return Vec::new();
    }
    let end = packet.len().min(40 + usize::from(u16::from_be_bytes([packet[4], packet[5]])));
    let message = packet.get(40..end).unwrap_or_default();
    let Some(mut at) = message.first().and_then(|kind| match kind {
        133 => Some(8),
        134 => Some(16),
        135 | 136 => Some(24),
        137 => Some(40),
        _ => None,
    }) else {
        return Vec::new();
    };
    let mut macs = Vec::new();
    while let Some(option) = message.get(at..at + 8)
        && option[1] != 0
    {
        if matches!(option[..2], [1 | 2, 1]) {
            macs.push(&option[2..]);
        }
        at += usize::from(option[1]) * 8;
    }
    macs
}

proptest! {
    #[test]
    fn only_the_masters_mac_leaves_and_no_childs_is_told((_, frame) in mutated(), src in select(vec![CHILD, OTHER, MASTER, PEER])) {
        let mut frame = frame;
        frame[6..12].copy_from_slice(&src.octets());
        let mut memory = Memory::of_cases(frame);
        let Fate::Frame(sent) = memory.judge(Way::Out, MASTER) else { return Ok(()) };
        prop_assert_eq!(&sent[6..12], &MASTER.octets()[..]);
        if src != MASTER {
            for mac in told_macs(&sent) {
                prop_assert!(mac != &CHILD.octets()[..] && mac != &OTHER.octets()[..], "{sent:02x?}");
            }
        }
    }

    #[test]
    fn whatever_comes_in_keeps_its_length_and_its_sender((_, frame) in mutated(), dst in select(vec![CHILD, MASTER, Mac::BROADCAST])) {
        let mut frame = frame;
        frame[..6].copy_from_slice(&dst.octets());
        let mut memory = Memory::of_cases(frame.clone());
        match memory.judge(Way::In, MASTER) {
            Fate::Drop(reason) => prop_assert!(reason == DropReason::Reflected && frame[6..12] == MASTER.octets()),
            Fate::Frame(came) => {
                prop_assert_eq!((came.len(), &came[6..12]), (frame.len(), &frame[6..12]));
                prop_assert!(dst == MASTER || came == frame);
            }
        }
    }

    #[test]
    fn the_short_way_leads_where_the_long_one_does((_, frame) in mutated_of(short_cases())) {
        let mut frame = frame;
        let mut memory = Memory::of_cases(frame.clone());
        let whose = by_the_short_way(&memory);
        prop_assume!(whose != Whose::NOBODY);
        if whose != Whose::HOST {
            frame[..6].copy_from_slice(&Mac::from_key(whose.0).octets());
        }
        prop_assert_eq!(memory.judge(Way::In, MASTER), Fate::Frame(frame));
        prop_assert_eq!(memory.taught, vec![]);
    }

    #[test]
    fn a_checksum_that_held_holds((way, frame) in mutated()) {
        prop_assume!(frame_checksums_hold(&frame));
        let mut memory = Memory::of_cases(frame);
        if let Fate::Frame(frame) = memory.judge(way, MASTER) {
            prop_assert!(frame_checksums_hold(&frame), "{frame:02x?}");
        }
    }
}
