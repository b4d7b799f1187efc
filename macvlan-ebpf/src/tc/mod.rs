//! TC ingress and TC egress on the master, and what both do with a verdict.

pub mod egress;
pub mod ingress;

use aya_ebpf::{
    bindings::{TC_ACT_SHOT, TC_ACT_UNSPEC},
    programs::TcContext,
};
use macvlan_common::{
    config::Config,
    counters::Count,
    gso,
    tag::{Sender, Tag},
    verdict::Verdict,
};

use crate::{
    account::{charge, charge_failed_copy},
    global::{__sk_buff, context_of, skb_of},
    guard,
    limits::limited,
    maps::Child,
    packet::{self, ETH_HLEN},
    skb,
};

/// Both hooks end with the next program: ours is one among others.
pub const NEXT: i32 = TC_ACT_UNSPEC;

/// Bytes of an 802.1Q tag that the kernel holds beside the frame.
const VLAN_LEN: u64 = 4;

/// What the tag proves of the sender. The tag is cleared: no program behind ours may reuse it.
#[inline(always)]
pub fn sender(ctx: &TcContext, src: u64, config: &Config) -> Sender {
    let sender = config.sender_of(src, skb::tag(ctx));
    if matches!(sender, Sender::Vouched) {
        skb::set_tag(ctx, Tag::default());
    }
    sender
}

/// Asks the guards that are on, and charges for the result. `headless`: the data begin behind the MAC
/// header.
#[inline(always)]
pub fn guard_and_charge<const PACES: bool>(
    ctx: &TcContext,
    src: u64,
    config: &Config,
    verdict: Verdict<Child>,
    headless: bool,
) -> Verdict<Child> {
    if !verdict.counts() {
        return verdict;
    }
    let size = size(ctx, ctx.len() + if headless { ETH_HLEN } else { 0 });
    let verdict =
        if config.guards() { guarded::<PACES>(ctx, src, config, verdict, size, headless) } else { verdict };
    charge(&verdict, size);
    verdict
}

/// The verdict, or the drop of a guard in its place.
#[inline(always)]
fn guarded<const PACES: bool>(
    ctx: &TcContext,
    src: u64,
    config: &Config,
    verdict: Verdict<Child>,
    size: Count,
    headless: bool,
) -> Verdict<Child> {
    if config.inspects()
        && let Some(child) = verdict.tx
        && let Some(reason) = guard::refusal(ctx, child, src, headless)
    {
        return Verdict::refused(reason, child);
    }
    let (verdict, leaves) = limited(verdict, config, size);
    if PACES {
        pace(ctx, leaves);
    }
    verdict
}

/// Tells the qdisc `fq` when the frame is to leave, if its sender does not want it to later; others do
/// not look. Where the frame is turned around there is no qdisc, and `turn` clears the time.
#[inline(always)]
fn pace(ctx: &TcContext, leaves: u64) {
    if leaves > skb::tstamp(ctx) {
        skb::set_tstamp(ctx, leaves);
    }
}

/// Frames and bytes that a buffer of `len` bytes stands for on the wire.
#[inline(always)]
pub fn size(ctx: &TcContext, len: u32) -> Count {
    let (segments, tagged) = (skb::segments(ctx), skb::is_tagged(ctx));
    if segments <= 1 {
        return Count { packets: 1, bytes: u64::from(len) + if tagged { VLAN_LEN } else { 0 } };
    }
    let packets = u64::from(segments);
    let tags = if tagged { packets * VLAN_LEN } else { 0 };
    Count { packets, bytes: macvlan_gso_len(skb_of(ctx), len, segments) + tags }
}

/// Out of line: the headers of a large frame are read once for tens of wire frames.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn macvlan_gso_len(skb: *mut __sk_buff, len: u32, segments: u32) -> u64 {
    let ctx = &context_of(skb);
    let headers = gso::header_len(|offset| packet::load_by_header(ctx, offset).map(u16::from_be_bytes));
    gso::wire_len(len, segments, headers)
}

/// A frame that could not be prepared (no memory) must not reach whom it is not for.
#[inline(always)]
pub fn next_or_lost(ctx: &TcContext, prepared: bool) -> i32 {
    if prepared {
        return NEXT;
    }
    copy_failed(ctx);
    TC_ACT_SHOT
}

/// Out of line: it happens only without memory. Not `#[cold]`: that moves it to a section of its
/// own, and aya 0.14 then resolves the call to another function.
#[inline(never)]
pub fn copy_failed(ctx: &TcContext) {
    charge_failed_copy(size(ctx, ctx.len()));
}
