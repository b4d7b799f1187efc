//! TC ingress on the master: hairpinned frames come up, and the demultiplexer where XDP is not.

use aya_ebpf::{bindings::TC_ACT_SHOT, macros::classifier, programs::TcContext};
use macvlan_common::{
    config::Config,
    counters::Path,
    decide::{Tables as _, decide},
    flood::tag_beyond,
    frame::{Frame, Hook},
    mac::is_group,
    plain::{Plain, plain, siblings},
    tag::{Hairpin, Sender},
    trace::{Judgement, Point},
    verdict::{Action, Verdict},
};

use super::{NEXT, guard_and_charge, next_or_lost, sender, size};
use crate::{
    account::{charge, charge_rx, charge_siblings, charge_wire_rx},
    global::{__sk_buff, context_of, skb_of},
    maps::{Maps, tell_other_mac},
    neigh, packet,
    port::{port_at, send_to},
    presence,
    single_mac::{self, Arrival},
    skb,
    trace::macvlan_record,
};

/// `PACKET_*` of `include/uapi/linux/if_packet.h`.
const PACKET_BROADCAST: u32 = 1;
const PACKET_MULTICAST: u32 = 2;
const PACKET_OTHERHOST: u32 = 3;

/// Up from the wire, from a sibling, or turned around.
#[classifier]
pub fn macvlan_in(ctx: TcContext) -> i32 {
    ingress::<false, false>(&ctx)
}

/// [`macvlan_in`], traced.
#[classifier]
pub fn macvlan_in_tr(ctx: TcContext) -> i32 {
    ingress::<true, false>(&ctx)
}

/// [`macvlan_in`] from a wire that carries one MAC.
#[classifier]
pub fn macvlan_one_in(ctx: TcContext) -> i32 {
    ingress::<false, true>(&ctx)
}

/// [`macvlan_one_in`], traced.
#[classifier]
pub fn macvlan_onei_tr(ctx: TcContext) -> i32 {
    ingress::<true, true>(&ctx)
}

#[inline(always)]
fn ingress<const TRACED: bool, const SINGLE: bool>(ctx: &TcContext) -> i32 {
    let Some(maps) = Maps::open() else { return NEXT };
    let config = maps.config();
    if let Some(kind) = config.hairpin_of(skb::tag(ctx)) {
        return receive_turned(ctx, kind, &maps);
    }
    if SINGLE {
        match single_mac::arrives(ctx, &config) {
            Arrival::Own => return drop_own::<TRACED>(ctx),
            Arrival::Lost => return TC_ACT_SHOT,
            Arrival::Here => {}
        }
    } else if config.xdp_is_generic() {
        return receive_behind_xdp::<TRACED>(ctx);
    }
    if TRACED {
        return macvlan_decide_tr(skb_of(ctx));
    }
    // A frame without its MACs in the first buffer is left to `judge`, which pulls them there.
    let Some(frame) = packet::macs(ctx.data(), ctx.data_end()) else { return macvlan_decide(skb_of(ctx)) };
    if config.xdp_is_native() && !is_group(frame.dst) && is_judged(ctx, config.meta) {
        return NEXT;
    }
    let receiver = match plain(frame, &maps) {
        Some(Plain::Child(slot)) => {
            charge_wire_rx(slot, size(ctx, ctx.len()));
            slot
        }
        Some(Plain::Host) => return NEXT,
        Some(Plain::Nobody) => {
            let to_host = skb::is_to_host(ctx);
            learn_mac(Frame { to_host, ..frame }, &config);
            let verdict = Verdict::unknown_at_ingress(&config, to_host);
            if verdict.counts() {
                charge(&verdict, size(ctx, ctx.len()));
            }
            return receive(ctx, verdict.action);
        }
        None => match siblings(frame, &maps) {
            Some(siblings) => {
                charge_siblings(siblings, size(ctx, ctx.len()));
                siblings.to
            }
            None => return macvlan_decide(skb_of(ctx)),
        },
    };
    deliver(ctx, receiver, &config)
}

/// What was sent from here and comes back: whoever is here and is to hear it has heard it, under its sender's own MAC.
#[inline(always)]
fn drop_own<const TRACED: bool>(ctx: &TcContext) -> i32 {
    let verdict = Verdict::new(Action::DropReflected);
    charge(&verdict, size(ctx, ctx.len()));
    if TRACED && let Some(frame) = packet::whole_macs(ctx) {
        macvlan_record(skb_of(ctx), frame.dst, frame.src, Judgement::encode(Point::Ingress, &verdict), false);
    }
    TC_ACT_SHOT
}

/// The host has another MAC than that of the master: native XDP must not drop what is sent to it.
#[inline(always)]
fn learn_mac(frame: Frame, config: &Config) {
    let is_other = frame.to_host && !is_group(frame.dst) && frame.dst != config.master;
    if is_other && config.drops_unknown() && config.other_mac == 0 {
        tell_other_mac();
    }
}

/// [`judge`], out of line of the frames that take the short way.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn macvlan_decide(skb: *mut __sk_buff) -> i32 {
    judge::<false>(&context_of(skb))
}

/// The same, traced: kernels before 6.3 count the stack of all calls together.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn macvlan_decide_tr(skb: *mut __sk_buff) -> i32 {
    judge::<true>(&context_of(skb))
}

/// Any frame that was not turned around, and that generic XDP has not seen.
#[inline(always)]
fn judge<const TRACED: bool>(ctx: &TcContext) -> i32 {
    // A frame too short for both MACs is not judged.
    let Some(mut frame) = packet::whole_macs(ctx) else { return NEXT };
    let Some(maps) = Maps::open() else { return NEXT };
    let config = maps.config();
    if config.asks_senders() {
        frame.sender = sender(ctx, frame.src, &config);
    }
    frame.to_host = skb::is_to_host(ctx);
    learn_mac(frame, &config);
    presence::heard(ctx, frame, &maps);
    let judged = config.xdp_is_native() && is_judged(ctx, config.meta);
    let hook = if judged { Hook::Judged } else { Hook::Ingress };
    let verdict = decide(hook, frame, &maps);
    let verdict = guard_and_charge::<false>(ctx, frame.src, &config, verdict, false);
    if config.directs() && is_group(frame.dst) && verdict.action == Action::Pass {
        macvlan_direct(skb_of(ctx), frame.src);
    }
    if TRACED && !judged {
        macvlan_record(skb_of(ctx), frame.dst, frame.src, Judgement::encode(Point::Ingress, &verdict), false);
    }
    match verdict.rx {
        Some(child) if verdict.action == Action::Pass => deliver(ctx, maps.slot_of(child), &config),
        _ => receive(ctx, verdict.action),
    }
}

/// Leaves a frame that is for the child at a slot alone to the macvlan driver; one for a port goes there at once. With a tag
/// beside it, it is its VLAN device's, if there is one, which comes before macvlan.
#[inline(always)]
fn deliver(ctx: &TcContext, slot: u32, config: &Config) -> i32 {
    let port = port_at(slot, config);
    if port != 0 && !skb::is_tagged(ctx) { send_to(port) } else { NEXT }
}

/// A frame that we turned around: the verdict is in the tag.
#[inline(always)]
fn receive_turned(ctx: &TcContext, kind: Hairpin, maps: &Maps) -> i32 {
    const UNREAD: Frame = Frame { dst: 0, src: 0, sender: Sender::Unknown, to_host: false };
    skb::set_tag(ctx, tag_beyond(kind));
    receive(ctx, decide(Hook::Turned(kind), UNREAD, maps).action)
}

/// Behind generic XDP, which nobody takes for speed: out of line of all other frames.
#[inline(never)]
fn receive_behind_xdp<const TRACED: bool>(ctx: &TcContext) -> i32 {
    // One after the other: were both looked up before either is judged, verifiers before that of 6.12
    // would walk on with a frame that was not read.
    let Some(mut frame) = packet::macs_by_header(ctx) else { return NEXT };
    let Some(maps) = Maps::open() else { return NEXT };
    let headless = packet::whole_macs(ctx) != Some(frame);
    if maps.config().asks_senders() {
        frame.sender = sender(ctx, frame.src, &maps.config());
    }
    frame.to_host = skb::is_to_host(ctx);
    presence::heard(ctx, frame, &maps);
    let verdict = decide(Hook::AfterXdp, frame, &maps);
    let verdict = guard_and_charge::<false>(ctx, frame.src, &maps.config(), verdict, headless);
    // A frame without its MAC header cannot be given another one: it goes to all.
    if maps.config().directs() && is_group(frame.dst) && verdict.action == Action::Pass && !headless {
        macvlan_direct(skb_of(ctx), frame.src);
    }
    // XDP has recorded what it did not leave to this hook.
    if TRACED && decide(Hook::Xdp, frame, &maps).action == Action::Defer {
        macvlan_record(
            skb_of(ctx),
            frame.dst,
            frame.src,
            Judgement::encode(Point::Ingress, &verdict),
            headless,
        );
    }
    receive(ctx, verdict.action)
}

#[inline(always)]
fn receive(ctx: &TcContext, action: Action) -> i32 {
    match action {
        Action::HideFromHost => retype(ctx, PACKET_OTHERHOST),
        Action::UntagBroadcast => retype(ctx, PACKET_BROADCAST),
        Action::UntagMulticast => retype(ctx, PACKET_MULTICAST),
        action if action.drop_reason().is_some() => TC_ACT_SHOT,
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
    if !packet::set_destination(ctx, asked.mac) {
        return 0;
    }
    if let Some(child) = asked.child {
        charge_rx(child, Path::Wire, size(ctx, ctx.len()));
    }
    1
}

/// Whether native XDP has marked the frame as judged.
#[inline(always)]
fn is_judged(ctx: &TcContext, word: u32) -> bool {
    packet::meta_is(skb::data_meta(ctx), ctx.data(), word)
}

/// As `PACKET_OTHERHOST`, a frame is ignored by the host's ARP, IPv4 and IPv6 input; macvlan sets
/// the type anew for each child.
#[inline(always)]
fn retype(ctx: &TcContext, packet_type: u32) -> i32 {
    next_or_lost(ctx, ctx.change_type(packet_type).is_ok())
}
