//! TC egress on a child's own device: the one place where a frame of this child cannot be taken for
//! one of another. Each child has its own copy of the program, as its MAC is in it.

use aya_ebpf::{bindings::TC_ACT_SHOT, macros::classifier, programs::TcContext};
use macvlan_common::{
    counters::DropReason,
    decide::{Leaving, Tables as _, leave},
};

use crate::{
    account::charge_drop,
    guard,
    maps::Maps,
    packet, skb,
    tc::{NEXT, size},
};

/// [`Mac::key`](macvlan_common::mac::Mac::key) of the child's own MAC. Set when loading.
#[unsafe(no_mangle)]
static MACVLAN_OWN: u64 = 0;

/// Not 0: the child is held to its MAC. Set when loading.
#[unsafe(no_mangle)]
static MACVLAN_HELD: u64 = 0;

/// Down from the child's own protocols and sockets, before macvlan has it.
#[classifier]
pub fn macvlan_child(ctx: TcContext) -> i32 {
    let own = own();
    // SAFETY: a global of the read-only section, which the loader has set.
    let held = unsafe { core::ptr::read_volatile(&raw const MACVLAN_HELD) } != 0;
    let Some(frame) = packet::whole_macs(&ctx) else { return NEXT };
    let leaving = leave(frame.src, own, held);
    if matches!(leaving, Leaving::Drop) {
        return drop(&ctx, own, DropReason::Spoofed);
    }
    let Some(maps) = Maps::open() else { return NEXT };
    let config = maps.config();
    // The driver gives a broadcast to bridge siblings before the master's programs see it.
    if config.inspects()
        && let Some(child) = maps.entry(own)
        && let Some(reason) = guard::refusal(&ctx, child, own, false)
    {
        return drop(&ctx, own, reason);
    }
    if matches!(leaving, Leaving::Vouch) {
        skb::set_tag(&ctx, config.vouching_tag(own));
    }
    NEXT
}

/// The child's own MAC.
#[inline(always)]
pub fn own() -> u64 {
    // SAFETY: a global of the read-only section, which the loader has set.
    unsafe { core::ptr::read_volatile(&raw const MACVLAN_OWN) }
}

#[inline(always)]
fn drop(ctx: &TcContext, own: u64, reason: DropReason) -> i32 {
    let Some(maps) = Maps::open() else { return TC_ACT_SHOT };
    if let Some(child) = maps.entry(own) {
        charge_drop(child, reason, size(ctx, ctx.len()));
    }
    TC_ACT_SHOT
}
