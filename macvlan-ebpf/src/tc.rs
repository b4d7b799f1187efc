//! TC ingress and TC egress on the master: the hairpin, and the demultiplexer where XDP is not.

use core::mem::MaybeUninit;

use aya_ebpf::{
    EbpfContext as _,
    bindings::{self, BPF_F_INGRESS, TC_ACT_SHOT, TC_ACT_UNSPEC, bpf_hdr_start_off::BPF_HDR_START_MAC},
    helpers::{bpf_redirect, bpf_skb_load_bytes_relative},
    macros::classifier,
    programs::TcContext,
};
use macvlan_common::{
    config::{Config, Hairpin, Tag},
    counters::{Count, Path},
    decide::{Action, Frame, Hook, Plain, Sender, Tables as _, Verdict, decide, plain},
    gso,
    mac::{Mac, is_group},
    trace::{Point, Told},
};

use crate::{
    account::{charge, charge_failed_copy, charge_rx, charge_wire_rx},
    global::{__sk_buff, context_of, skb_of},
    guard,
    limits::limited,
    maps::{Child, Maps},
    neigh, packet,
    trace::macvlan_tell,
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
pub const NEXT: i32 = TC_ACT_UNSPEC;

/// Up from the wire, from a sibling, or turned around.
#[classifier]
pub fn macvlan_in(ctx: TcContext) -> i32 {
    ingress::<false>(&ctx)
}

/// [`macvlan_in`], traced.
#[classifier]
pub fn macvlan_in_tr(ctx: TcContext) -> i32 {
    ingress::<true>(&ctx)
}

#[inline(always)]
fn ingress<const TRACED: bool>(ctx: &TcContext) -> i32 {
    let Some(maps) = Maps::open() else { return NEXT };
    let config = maps.config();
    if let Some(kind) = config.hairpin_of(tag(ctx)) {
        return receive_turned(ctx, kind, &maps);
    }
    if config.xdp_is_generic() {
        return receive_behind_xdp::<TRACED>(ctx);
    }
    if TRACED {
        return judge::<true>(ctx);
    }
    // A frame without its MACs in the first buffer is left to `judge`, which pulls them there.
    let Some(frame) = packet::macs(ctx.data(), ctx.data_end()) else { return macvlan_decide(skb_of(ctx)) };
    if config.xdp_is_native() && !is_group(frame.dst) && is_judged(ctx, config.meta) {
        return NEXT;
    }
    match plain(frame, &maps) {
        Some(Plain::Child(slot)) => {
            charge_wire_rx(slot, size(ctx, ctx.len()));
            NEXT
        }
        Some(Plain::Host) => NEXT,
        Some(Plain::Nobody) => {
            let verdict = Verdict::unknown(&config);
            charge(&verdict, size(ctx, ctx.len()));
            receive(ctx, verdict.action)
        }
        None => macvlan_decide(skb_of(ctx)),
    }
}

/// [`judge`], out of the way of the frames that have no need of it.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn macvlan_decide(skb: *mut __sk_buff) -> i32 {
    judge::<false>(&context_of(skb))
}

/// Any frame that was not turned around, and that generic XDP has not seen.
#[inline(always)]
fn judge<const TRACED: bool>(ctx: &TcContext) -> i32 {
    // A frame too short for both MACs is nobody's business here.
    let Some(mut frame) = macs(ctx) else { return NEXT };
    let Some(maps) = Maps::open() else { return NEXT };
    let config = maps.config();
    if config.asks_senders() {
        frame.sender = sender(ctx, &config);
    }
    let judged = config.xdp_is_native() && is_judged(ctx, config.meta);
    let hook = if judged { Hook::Judged } else { Hook::Ingress };
    let verdict = decide(hook, frame, &maps);
    let verdict = settle::<false>(ctx, frame.src, &config, verdict, false);
    if config.directs() && is_group(frame.dst) && verdict.action == Action::Pass {
        macvlan_direct(skb_of(ctx), frame.src);
    }
    if TRACED && !judged {
        macvlan_tell(skb_of(ctx), frame.dst, frame.src, Told::encode(Point::Ingress, &verdict), false);
    }
    receive(ctx, verdict.action)
}

/// A frame that we turned around: the verdict is in the tag.
#[inline(always)]
fn receive_turned(ctx: &TcContext, kind: Hairpin, maps: &Maps) -> i32 {
    const UNREAD: Frame = Frame { dst: 0, src: 0, sender: Sender::Unsaid };
    set_tag(ctx, Tag::default());
    receive(ctx, decide(Hook::Turned(kind), UNREAD, maps).action)
}

/// Behind generic XDP, which nobody takes for speed: out of the way of all other frames.
#[inline(never)]
fn receive_behind_xdp<const TRACED: bool>(ctx: &TcContext) -> i32 {
    // One after the other: were both looked up before either is judged, verifiers before that of 6.12
    // would walk on with a frame that was not read.
    let Some(mut frame) = macs_by_header(ctx) else { return NEXT };
    let Some(maps) = Maps::open() else { return NEXT };
    let headless = macs(ctx) != Some(frame);
    if maps.config().asks_senders() {
        frame.sender = sender(ctx, &maps.config());
    }
    let verdict = decide(Hook::AfterXdp, frame, &maps);
    let verdict = settle::<false>(ctx, frame.src, &maps.config(), verdict, headless);
    // A frame without its MAC header cannot be given another one: it goes to all.
    if maps.config().directs() && is_group(frame.dst) && verdict.action == Action::Pass && !headless {
        macvlan_direct(skb_of(ctx), frame.src);
    }
    // What XDP did not leave to this hook, it has told of.
    if TRACED && decide(Hook::Xdp, frame, &maps).action == Action::Defer {
        macvlan_tell(skb_of(ctx), frame.dst, frame.src, Told::encode(Point::Ingress, &verdict), headless);
    }
    receive(ctx, verdict.action)
}

#[inline(always)]
fn receive(ctx: &TcContext, action: Action) -> i32 {
    match action {
        action if action.drop_reason().is_some() => TC_ACT_SHOT,
        Action::HideFromHost => retype(ctx, PACKET_OTHERHOST),
        Action::UntagBroadcast => retype(ctx, PACKET_BROADCAST),
        Action::UntagMulticast => retype(ctx, PACKET_MULTICAST),
        _ => NEXT,
    }
}

/// Down from the host or from a child, bound for the wire.
#[classifier]
pub fn macvlan_out(ctx: TcContext) -> i32 {
    egress::<false>(&ctx)
}

/// [`macvlan_out`], traced.
#[classifier]
pub fn macvlan_out_tr(ctx: TcContext) -> i32 {
    egress::<true>(&ctx)
}

#[inline(always)]
fn egress<const TRACED: bool>(ctx: &TcContext) -> i32 {
    let Some(mut frame) = macs(ctx) else { return NEXT };
    let Some(maps) = Maps::open() else { return NEXT };
    let config = maps.config();
    if config.asks_senders() {
        frame.sender = sender(ctx, &config);
    }
    let verdict = decide(Hook::Egress, frame, &maps);
    let verdict = settle::<true>(ctx, frame.src, &config, verdict, false);
    if TRACED {
        macvlan_tell(skb_of(ctx), frame.dst, frame.src, Told::encode(Point::Egress, &verdict), false);
    }
    let action = verdict.action;
    // What is dropped is not believed either.
    if config.directs() && action.drop_reason().is_none() && neigh::may_tell(ctx, frame.dst) {
        neigh::macvlan_hear(skb_of(ctx), frame.src);
    }
    match action {
        action if action.drop_reason().is_some() => TC_ACT_SHOT,
        Action::Turn => turn(ctx, config.tag_of(Hairpin::Unicast)),
        // A child's own flood is for those siblings that may hear it, whomever it asks for.
        Action::CopyToChildren if config.directs() && frame.src == config.master => {
            macvlan_copy(skb_of(ctx), frame.dst)
        }
        Action::CopyToChildren => {
            copy_to_ingress(ctx, config.tag_of(Hairpin::Flood));
            NEXT
        }
        Action::CopyToAll => {
            copy_to_ingress(ctx, config.tag_of(Hairpin::Unicast));
            NEXT
        }
        Action::CopyBroadcastToHost => copy_to_host(ctx, frame, &config, Hairpin::BroadcastToHost),
        Action::CopyMulticastToHost => copy_to_host(ctx, frame, &config, Hairpin::MulticastToHost),
        _ => NEXT,
    }
}

/// A request from the wire for a known address goes to its owner alone: macvlan delivers by
/// destination MAC. It stays counted as a flood, which it was on its way here, and is charged to the
/// child that gets it.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn macvlan_direct(skb: *mut __sk_buff, src: u64) -> u32 {
    let ctx = &context_of(skb);
    let Some(maps) = Maps::open() else { return 0 };
    let Some(asked) = neigh::asked_from_wire(ctx, src, &maps) else { return 0 };
    if !set_destination(ctx, asked.mac) {
        return 0;
    }
    if let Some(child) = asked.child {
        charge_rx(child, Path::Wire, size(ctx, ctx.len()));
    }
    1
}

/// The host's broadcast goes to the wire and to every child; its request for the address of a child
/// that it reaches, to that child alone. What only the child itself says (no child is to answer for
/// the gateway) goes to the wire too.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn macvlan_copy(skb: *mut __sk_buff, group: u64) -> i32 {
    let ctx = &context_of(skb);
    let Some(maps) = Maps::open() else { return NEXT };
    let config = maps.config();
    let Some((asked, is_certain)) = neigh::asked_by_host(ctx, &maps) else {
        copy_to_ingress(ctx, config.tag_of(Hairpin::Flood));
        return NEXT;
    };
    if !set_destination(ctx, asked.mac) {
        copy_failed(ctx);
        return NEXT;
    }
    if let Some(child) = asked.child {
        charge_rx(child, Path::Host, size(ctx, ctx.len()));
    }
    if is_certain {
        return turn(ctx, config.tag_of(Hairpin::Unicast));
    }
    copy_to_ingress(ctx, config.tag_of(Hairpin::Unicast));
    next_or_lost(ctx, set_destination(ctx, group))
}

/// What is said of who sent the frame. It is said once: nobody behind us is to repeat it.
#[inline(always)]
fn sender(ctx: &TcContext, config: &Config) -> Sender {
    let sender = config.sender_of(tag(ctx));
    if matches!(sender, Sender::Vouched) {
        set_tag(ctx, Tag::default());
    }
    sender
}

/// Lets the guards that are on have their say, and charges for what it comes to. `headless`: the data
/// begin behind the MAC header.
#[inline(always)]
fn settle<const PACES: bool>(
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

/// What a frame that a guard may drop comes to.
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
/// not look. Where the frame is turned around there is no qdisc, and [`turn`] takes the time off.
#[inline(always)]
fn pace(ctx: &TcContext, leaves: u64) {
    if leaves > tstamp(ctx) {
        set_tstamp(ctx, leaves);
    }
}

/// Whether native XDP left word that it has judged the frame.
#[inline(always)]
fn is_judged(ctx: &TcContext, word: u32) -> bool {
    // SAFETY: reading a field of the context that the program was called with.
    let meta = unsafe { (*skb(ctx)).data_meta } as usize;
    packet::meta_is(meta, ctx.data(), word)
}

/// The frame comes back up on the master, as if the wire had sent it, with our tag and without
/// what a sender may have set: `skb_scrub_packet` and `____dev_forward_skb` clear the rest.
#[inline(always)]
fn turn(ctx: &TcContext, tag: Tag) -> i32 {
    set_tag(ctx, tag);
    ctx.set_mark(0);
    set_tstamp(ctx, 0);
    // SAFETY: no memory is touched; the helper records where the frame goes.
    unsafe { bpf_redirect(ifindex(ctx), u64::from(BPF_F_INGRESS)) as i32 }
}

/// A copy comes back up, addressed to the host: so it passes macvlan's receive handler, which
/// would give a private child's broadcast back to that child, and flood a bridge child's to VEPA
/// siblings.
#[inline(always)]
fn copy_to_host(ctx: &TcContext, frame: Frame, config: &Config, kind: Hairpin) -> i32 {
    if !set_destination(ctx, config.master) {
        copy_failed(ctx);
        return NEXT;
    }
    copy_to_ingress(ctx, config.tag_of(kind));
    next_or_lost(ctx, set_destination(ctx, frame.dst))
}

/// A copy comes back up; the frame itself keeps what it came with.
#[inline(always)]
fn copy_to_ingress(ctx: &TcContext, copy_tag: Tag) {
    let (own_tag, own_mark, own_tstamp) = (tag(ctx), mark(ctx), tstamp(ctx));
    set_tag(ctx, copy_tag);
    ctx.set_mark(0);
    set_tstamp(ctx, 0);
    if ctx.clone_redirect(ifindex(ctx), u64::from(BPF_F_INGRESS)).is_err() {
        copy_failed(ctx);
    }
    set_tag(ctx, own_tag);
    ctx.set_mark(own_mark);
    set_tstamp(ctx, own_tstamp);
}

#[inline(always)]
fn set_destination(ctx: &TcContext, mac: u64) -> bool {
    ctx.store(0, &Mac::from_key(mac).octets(), 0).is_ok()
}

/// As `PACKET_OTHERHOST`, a frame is ignored by the host's ARP, IPv4 and IPv6 input; macvlan sets
/// the type anew for each child.
#[inline(always)]
fn retype(ctx: &TcContext, packet_type: u32) -> i32 {
    next_or_lost(ctx, ctx.change_type(packet_type).is_ok())
}

/// A frame that could not be prepared (no memory) must not reach whom it is not for.
#[inline(always)]
fn next_or_lost(ctx: &TcContext, prepared: bool) -> i32 {
    if prepared {
        return NEXT;
    }
    copy_failed(ctx);
    TC_ACT_SHOT
}

/// Out of line: it happens only without memory. Not `#[cold]`: that moves it to a section of its
/// own, and aya 0.14 then resolves the call to another function.
#[inline(never)]
fn copy_failed(ctx: &TcContext) {
    charge_failed_copy(size(ctx, ctx.len()));
}

/// The MACs; a frame whose first octets lie in a fragment is pulled together first.
#[inline(always)]
pub fn macs(ctx: &TcContext) -> Option<Frame> {
    if let Some(frame) = packet::macs(ctx.data(), ctx.data_end()) {
        return Some(frame);
    }
    if ctx.len() < ETH_HLEN || ctx.pull_data(ETH_HLEN).is_err() {
        return None;
    }
    packet::macs(ctx.data(), ctx.data_end())
}

/// The MACs, from where the kernel says the MAC header is.
///
/// Behind generic XDP the data of a frame may begin at the network header: a copy that the kernel
/// makes for a multi-buffer program forgets `mac_len` (`skb_pp_cow_data` in net/core/skbuff.c,
/// seen on 6.18), by which TC ingress goes back to the MAC header.
#[inline(always)]
fn macs_by_header(ctx: &TcContext) -> Option<Frame> {
    load_by_header(ctx, 0).map(packet::frame_of)
}

#[inline(always)]
fn load_by_header<T: Copy>(ctx: &TcContext, offset: u32) -> Option<T> {
    let mut value = MaybeUninit::<T>::uninit();
    // SAFETY: the helper writes `size_of::<T>()` octets to `value`, or fails.
    let status = unsafe {
        bpf_skb_load_bytes_relative(
            ctx.as_ptr(),
            offset,
            value.as_mut_ptr().cast(),
            size_of::<T>() as u32,
            BPF_HDR_START_MAC,
        )
    };
    // SAFETY: it did not fail, and `T` is an array of integers.
    (status == 0).then(|| unsafe { value.assume_init() })
}

/// Frames and octets that a buffer of `len` octets stands for on the wire.
#[inline(always)]
pub fn size(ctx: &TcContext, len: u32) -> Count {
    // SAFETY: reading a field of the context that the program was called with.
    let segments = unsafe { (*skb(ctx)).gso_segs };
    // SAFETY: as above.
    let tagged = unsafe { (*skb(ctx)).vlan_present } != 0;
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
    let headers = gso::header_len(|offset| load_by_header(ctx, offset).map(u16::from_be_bytes));
    gso::wire_len(len, segments, headers)
}

#[inline(always)]
fn skb(ctx: &TcContext) -> *mut bindings::__sk_buff {
    ctx.skb.skb
}

#[inline(always)]
fn mark(ctx: &TcContext) -> u32 {
    // SAFETY: reading a field of the context that the program was called with.
    unsafe { (*skb(ctx)).mark }
}

/// What lies where our programs leave word of a frame.
#[inline(always)]
fn tag(ctx: &TcContext) -> Tag {
    // SAFETY: reading a field of the context that the program was called with.
    let low = unsafe { (*skb(ctx)).cb[3] };
    // SAFETY: as above.
    let high = unsafe { (*skb(ctx)).cb[4] };
    Tag { low, high }
}

/// Leaves word of a frame for our programs.
#[inline(always)]
pub fn set_tag(ctx: &TcContext, tag: Tag) {
    // SAFETY: `cb` is writable for TC programs (`tc_cls_act_is_valid_access`).
    unsafe { (*skb(ctx)).cb[3] = tag.low };
    // SAFETY: as above.
    unsafe { (*skb(ctx)).cb[4] = tag.high };
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
