//! TC ingress and TC egress on the master: the hairpin, and the demultiplexer where XDP is not.

use aya_ebpf::{
    bindings::{__sk_buff, BPF_F_INGRESS, TC_ACT_SHOT, TC_ACT_UNSPEC},
    helpers::bpf_redirect,
    macros::classifier,
    programs::TcContext,
};
use macvlan_common::{
    config::{Config, Hairpin},
    counters::Count,
    decide::{Action, Frame, Hook, Tables as _, decide},
    gso,
    mac::{Mac, is_group},
};

use crate::{
    account::{charge, charge_failed_copy},
    maps::Maps,
    packet,
};

/// `PACKET_*` of `include/uapi/linux/if_packet.h`.
const PACKET_BROADCAST: u32 = 1;
const PACKET_MULTICAST: u32 = 2;
const PACKET_OTHERHOST: u32 = 3;

/// Octets of an 802.1Q tag that the kernel holds beside the frame.
const VLAN_LEN: u64 = 4;

/// Ethernet header: what must be readable for a frame to be judged.
const ETH_HLEN: u32 = 14;

/// Both hooks end with "next program, please": ours is one among others.
const NEXT: i32 = TC_ACT_UNSPEC;

/// Up from the wire, from a sibling, or turned around.
#[classifier]
pub fn macvlan_in(ctx: TcContext) -> i32 {
    let (Some(frame), Some(maps)) = (macs(&ctx), Maps::open()) else {
        return NEXT;
    };
    let config = maps.config();
    let verdict = decide(ingress_hook(&ctx, &config), frame, &maps);
    if verdict.counts() {
        charge(&verdict, size(&ctx));
    }
    match verdict.action {
        Action::Drop(_) => TC_ACT_SHOT,
        Action::Unmark => {
            ctx.set_mark(0);
            NEXT
        }
        Action::HideFromHost => {
            unmark(&ctx, &config);
            hide_from_host(&ctx)
        }
        Action::OnlyToHost => {
            ctx.set_mark(0);
            only_to_host(&ctx, frame, config.master)
        }
        Action::Pass | Action::Defer | Action::Turn | Action::SendAndTurnCopy(_) => NEXT,
    }
}

/// Down from the host or from a child, bound for the wire.
#[classifier]
pub fn macvlan_out(ctx: TcContext) -> i32 {
    let (Some(frame), Some(maps)) = (macs(&ctx), Maps::open()) else {
        return NEXT;
    };
    let verdict = decide(Hook::Egress, frame, &maps);
    if verdict.counts() {
        charge(&verdict, size(&ctx));
    }
    match verdict.action {
        Action::Drop(_) => TC_ACT_SHOT,
        Action::Turn => turn(&ctx, maps.config().mark_of(Hairpin::Unicast)),
        Action::SendAndTurnCopy(kind) => turn_copy(&ctx, maps.config().mark_of(kind)),
        Action::Pass | Action::Defer | Action::Unmark | Action::HideFromHost | Action::OnlyToHost => NEXT,
    }
}

#[inline(always)]
fn ingress_hook(ctx: &TcContext, config: &Config) -> Hook {
    if let Some(kind) = config.hairpin_of(mark(ctx)) {
        return Hook::Turned(kind);
    }
    // SAFETY: reading a field of the context that the program was called with.
    let meta = unsafe { (*skb(ctx)).data_meta } as usize;
    if packet::meta_is(meta, ctx.data(), config.meta) { Hook::Judged } else { Hook::Ingress }
}

/// The frame comes back up on the master, as if the wire had sent it, with our mark and without
/// what a sender may have set: `skb_scrub_packet` and `____dev_forward_skb` clear the rest.
#[inline(always)]
fn turn(ctx: &TcContext, mark: u32) -> i32 {
    ctx.set_mark(mark);
    set_tstamp(ctx, 0);
    // SAFETY: no memory is touched; the helper records where the frame goes.
    unsafe { bpf_redirect(ifindex(ctx), u64::from(BPF_F_INGRESS)) as i32 }
}

/// A copy comes back up; the frame itself goes on with the mark and time it came with.
#[inline(always)]
fn turn_copy(ctx: &TcContext, copy_mark: u32) -> i32 {
    let (own_mark, own_tstamp) = (mark(ctx), tstamp(ctx));
    ctx.set_mark(copy_mark);
    set_tstamp(ctx, 0);
    if ctx.clone_redirect(ifindex(ctx), u64::from(BPF_F_INGRESS)).is_err() {
        charge_failed_copy(size(ctx));
    }
    ctx.set_mark(own_mark);
    set_tstamp(ctx, own_tstamp);
    NEXT
}

/// ARP, IPv4 and IPv6 ignore `PACKET_OTHERHOST`; macvlan sets the type anew for each child.
#[inline(always)]
fn hide_from_host(ctx: &TcContext) -> i32 {
    next_or_lost(ctx, ctx.change_type(PACKET_OTHERHOST).is_ok())
}

/// With the host's MAC as destination, macvlan lets the frame through to the host and floods
/// nobody; the packet type keeps what it was to the protocols above.
#[inline(always)]
fn only_to_host(ctx: &TcContext, frame: Frame, master: u64) -> i32 {
    let cast = if frame.dst == Mac::BROADCAST.key() { PACKET_BROADCAST } else { PACKET_MULTICAST };
    let done = is_group(frame.dst)
        && ctx.store(0, &Mac::from_key(master).octets(), 0).is_ok()
        && ctx.change_type(cast).is_ok();
    next_or_lost(ctx, done)
}

/// A frame that could not be prepared (no memory) must not reach whom it is not for.
#[inline(always)]
fn next_or_lost(ctx: &TcContext, prepared: bool) -> i32 {
    if prepared {
        return NEXT;
    }
    charge_failed_copy(size(ctx));
    TC_ACT_SHOT
}

/// The MACs; a frame whose first octets lie in a fragment is pulled together first.
#[inline(always)]
fn macs(ctx: &TcContext) -> Option<Frame> {
    if let Some(frame) = packet::macs(ctx.data(), ctx.data_end()) {
        return Some(frame);
    }
    if ctx.len() < ETH_HLEN || ctx.pull_data(ETH_HLEN).is_err() {
        return None;
    }
    packet::macs(ctx.data(), ctx.data_end())
}

/// Frames and octets that this buffer stands for on the wire.
#[inline(always)]
fn size(ctx: &TcContext) -> Count {
    // SAFETY: reading fields of the context that the program was called with.
    let (segments, tagged) = unsafe { ((*skb(ctx)).gso_segs, (*skb(ctx)).vlan_present != 0) };
    let packets = u64::from(segments.max(1));
    let bytes = if segments > 1 { segmented_len(ctx, segments) } else { u64::from(ctx.len()) };
    Count { packets, bytes: bytes + if tagged { packets * VLAN_LEN } else { 0 } }
}

/// Out of line: the headers of a large frame are read once for tens of wire frames.
#[inline(never)]
fn segmented_len(ctx: &TcContext, segments: u32) -> u64 {
    let headers = gso::header_len(|offset| ctx.load::<[u8; 2]>(offset as usize).ok().map(u16::from_be_bytes));
    gso::wire_len(ctx.len(), segments, headers)
}

#[inline(always)]
fn unmark(ctx: &TcContext, config: &Config) {
    if config.hairpin_of(mark(ctx)).is_some() {
        ctx.set_mark(0);
    }
}

#[inline(always)]
fn skb(ctx: &TcContext) -> *mut __sk_buff {
    ctx.skb.skb
}

#[inline(always)]
fn mark(ctx: &TcContext) -> u32 {
    // SAFETY: reading a field of the context that the program was called with.
    unsafe { (*skb(ctx)).mark }
}

#[inline(always)]
fn ifindex(ctx: &TcContext) -> u32 {
    // SAFETY: reading a field of the context that the program was called with.
    unsafe { (*skb(ctx)).ifindex }
}

#[inline(always)]
fn tstamp(ctx: &TcContext) -> u64 {
    // SAFETY: reading a field of the context that the program was called with.
    unsafe { (*skb(ctx)).tstamp }
}

/// The time a sender wants its frame to leave at means nothing to a receiver.
#[inline(always)]
fn set_tstamp(ctx: &TcContext, time: u64) {
    // SAFETY: `tstamp` is writable for TC programs (`tc_cls_act_is_valid_access`).
    unsafe { (*skb(ctx)).tstamp = time };
}
