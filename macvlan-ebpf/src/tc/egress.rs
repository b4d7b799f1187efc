//! TC egress on the master: the hairpin.

use aya_ebpf::{
    bindings::{BPF_F_INGRESS, TC_ACT_SHOT},
    helpers::bpf_redirect,
    macros::classifier,
    programs::TcContext,
};
use macvlan_common::{
    config::Config,
    counters::Path,
    decide::{Tables as _, decide},
    flood::{is_flooded, tag_through},
    frame::{Frame, Hook},
    inspect::may_be_control,
    mac::is_group,
    plain::{Hairpinned, hairpinned},
    tag::{Hairpin, Sender, Tag},
    trace::{Judgement, Point},
    verdict::Action,
};

use super::{NEXT, copy_failed, guard_and_charge, next_or_lost, sender, size};
use crate::{
    account::{charge, charge_hairpinned, charge_rx},
    global::{__sk_buff, context_of, skb_of},
    guard,
    maps::{Maps, is_macvlan_sending},
    neigh::{self, AskedByHost},
    packet, presence, single_mac, skb,
    socket::macvlan_foreign,
    trace::macvlan_record,
};

/// `include/linux/netdevice.h`: what was sent has been dropped on its way.
const NET_XMIT_DROP: i64 = 1;

/// Down from the host or from a child, bound for the wire.
#[classifier]
pub fn macvlan_out(ctx: TcContext) -> i32 {
    egress::<false, false>(&ctx)
}

/// [`macvlan_out`], traced.
#[classifier]
pub fn macvlan_out_tr(ctx: TcContext) -> i32 {
    egress::<true, false>(&ctx)
}

/// [`macvlan_out`] to a wire that carries one MAC.
#[classifier]
pub fn macvlan_one_out(ctx: TcContext) -> i32 {
    depart(&ctx, egress::<false, true>(&ctx))
}

/// [`macvlan_one_out`], traced.
#[classifier]
pub fn macvlan_oneo_tr(ctx: TcContext) -> i32 {
    depart(&ctx, egress::<true, true>(&ctx))
}

#[inline(always)]
fn egress<const TRACED: bool, const SINGLE: bool>(ctx: &TcContext) -> i32 {
    let Some(mut frame) = packet::whole_macs(ctx) else { return NEXT };
    let Some(maps) = Maps::open() else { return NEXT };
    let config = maps.config();
    if config.asks_senders() {
        frame.sender = sender(ctx, frame.src, &config);
    } else if is_group(frame.dst) && is_flooded(skb::tag(ctx)) {
        frame.sender = Sender::Flooded;
    }
    if config.is_strict()
        && frame.src == config.master
        && matches!(frame.sender, Sender::Unknown)
        && is_forged(ctx, &config)
    {
        frame.sender = Sender::Macvlan;
    }
    presence::wake(frame, &maps);
    if !TRACED
        && let Some(short) = hairpinned(frame, &maps)
        && !says_more(ctx, short)
    {
        charge_hairpinned(short, size(ctx, ctx.len()));
        return turn(ctx, config.tag_of(Hairpin::Unicast));
    }
    let verdict = decide(Hook::Egress, frame, &maps);
    if verdict.action == Action::End {
        return TC_ACT_SHOT;
    }
    if let Some(child) = verdict.shown_here() {
        presence::sent(child, frame.dst);
    }
    let verdict = match verdict.sender_to_host() {
        Some(child) if guard::is_kept_from_host(ctx, child) => verdict.without_host(),
        _ => verdict,
    };
    if SINGLE && let Some(kept) = single_mac::kept_from_wire(ctx, frame, &config, &verdict) {
        charge(&kept, size(ctx, ctx.len()));
        if TRACED {
            macvlan_record(skb_of(ctx), frame.dst, frame.src, Judgement::encode(Point::Egress, &kept), false);
        }
        return TC_ACT_SHOT;
    }
    let verdict = guard_and_charge::<true>(ctx, frame.src, &config, verdict, false);
    if TRACED {
        macvlan_record(skb_of(ctx), frame.dst, frame.src, Judgement::encode(Point::Egress, &verdict), false);
    }
    let action = verdict.action;
    // Nothing is learnt from a dropped frame.
    let poses = config.directs()
        && action.drop_reason().is_none()
        && neigh::may_tell(ctx, frame.dst)
        && neigh::macvlan_hear(skb_of(ctx), frame.src) != 0;
    if poses {
        return keep_from_host(ctx, frame.dst, action, &config);
    }
    match action {
        action if action.drop_reason().is_some() => TC_ACT_SHOT,
        Action::Turn => turn(ctx, config.tag_of(Hairpin::Unicast)),
        // A child's own flood is for the siblings that may receive it, whatever it asks for.
        Action::CopyToChildren if frame.src == config.master => macvlan_copy(skb_of(ctx), frame.dst),
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

/// Whether a frame with the host's MAC is not the host's.
#[inline(always)]
fn is_forged(ctx: &TcContext, config: &Config) -> bool {
    if config.home == 0 { is_macvlan_sending() } else { macvlan_foreign(skb_of(ctx), config.home) != 0 }
}

/// Whether a frame may say more than its MACs do: who has an address or, to the host, what only some children may.
#[inline(always)]
fn says_more(ctx: &TcContext, Hairpinned { to_host, .. }: Hairpinned) -> bool {
    let (data, data_end) = (ctx.data(), ctx.data_end());
    neigh::may_tell(ctx, 0) || (to_host && may_be_control(|at| packet::half(data, data_end, at)))
}

/// What goes on to a wire that carries one MAC is rewritten last: everybody here has it under its sender's own.
#[inline(always)]
fn depart(ctx: &TcContext, end: i32) -> i32 {
    if end != NEXT {
        return end;
    }
    let Some(frame) = packet::whole_macs(ctx) else { return NEXT };
    let Some(maps) = Maps::open() else { return NEXT };
    if !single_mac::is_rewritten(frame.src, &maps.config()) {
        return NEXT;
    }
    single_mac::macvlan_leave(skb_of(ctx), frame.src)
}

/// A child that claims the address of the host's gateway: the host knows its gateway by what the wire says,
/// as without us. Everybody else gets the frame.
#[inline(always)]
fn keep_from_host(ctx: &TcContext, dst: u64, action: Action, config: &Config) -> i32 {
    match action {
        Action::Turn if dst != config.master => turn(ctx, config.tag_of(Hairpin::Unicast)),
        Action::CopyToAll | Action::CopyToChildren => {
            copy_to_ingress(ctx, config.tag_of(Hairpin::Flood));
            NEXT
        }
        _ => NEXT,
    }
}

/// The host's broadcast goes to the wire and to every child; its request for the address of a child
/// that it reaches, to the wire and to that child; for an address that is on the wire whoever has it here, to
/// the wire alone.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn macvlan_copy(skb: *mut __sk_buff, group: u64) -> i32 {
    let ctx = &context_of(skb);
    let Some(maps) = Maps::open() else { return NEXT };
    let config = maps.config();
    let may_ask = config.directs() && neigh::may_tell(ctx, group);
    let asked = match if may_ask { neigh::asked_by_host(ctx, &maps) } else { AskedByHost::Children } {
        AskedByHost::Child(asked) => asked,
        AskedByHost::Children => {
            flood(ctx, &config);
            return NEXT;
        }
        AskedByHost::Nobody => return NEXT,
    };
    if !packet::set_destination(ctx, asked.mac) {
        copy_failed(ctx);
        return NEXT;
    }
    if let Some(child) = asked.child {
        charge_rx(child, Path::Host, size(ctx, ctx.len()));
    }
    copy_to_ingress(ctx, config.tag_of(Hairpin::Unicast));
    next_or_lost(ctx, packet::set_destination(ctx, group))
}

/// The host's broadcast goes to the children: through the flood device, where there is one, so that nobody else
/// sees a copy; or it comes back up, and the driver floods it. Where no program is at ingress, the host would hear itself
/// then.
///
/// With a tag beside it, it is from a VLAN device of the master. That device takes what comes up in its VLAN before
/// macvlan does (`vlan_do_receive`): no child hears it, as none hears the wire there.
#[inline(always)]
fn flood(ctx: &TcContext, config: &Config) {
    if skb::is_tagged(ctx) {
        return;
    }
    if config.flood != 0 && copy_through(ctx, config.flood) {
        return;
    }
    if config.is_lean() {
        copy_failed(ctx);
    } else {
        copy_to_ingress(ctx, config.tag_of(Hairpin::Flood));
    }
}

/// A copy is sent through the flood device of this index; the frame itself keeps what it came with. Gives
/// whether that took it.
#[inline(always)]
fn copy_through(ctx: &TcContext, device: u32) -> bool {
    with_copy_tagged(ctx, tag_through(device), |ctx| match ctx.clone_redirect(device, 0) {
        // At the end of its way it is dropped, by us.
        Ok(()) | Err(NET_XMIT_DROP) => true,
        // The device is gone, or down: a negative number, or NET_XMIT_CN.
        Err(_) => false,
    })
}

/// The frame comes back up on the master, as if the wire had sent it, with our tag and without
/// what a sender may have set: `skb_scrub_packet` and `____dev_forward_skb` clear the rest.
#[inline(always)]
fn turn(ctx: &TcContext, tag: Tag) -> i32 {
    if !has_network_header(ctx) {
        copy_failed(ctx);
        return TC_ACT_SHOT;
    }
    skb::set_tag(ctx, tag);
    ctx.set_mark(0);
    skb::set_tstamp(ctx, 0);
    // SAFETY: no memory is touched; the helper records where the frame goes.
    unsafe { bpf_redirect(skb::ifindex(ctx), u64::from(BPF_F_INGRESS)) as i32 }
}

/// A copy comes back up, addressed to the host: so it passes macvlan's receive handler, which
/// would give a private child's broadcast back to that child, and flood a bridge child's to VEPA
/// siblings.
#[inline(always)]
fn copy_to_host(ctx: &TcContext, frame: Frame, config: &Config, kind: Hairpin) -> i32 {
    if !packet::set_destination(ctx, config.master) {
        copy_failed(ctx);
        return NEXT;
    }
    copy_to_ingress(ctx, config.tag_of(kind));
    next_or_lost(ctx, packet::set_destination(ctx, frame.dst))
}

/// A copy comes back up; the frame itself keeps what it came with.
#[inline(always)]
fn copy_to_ingress(ctx: &TcContext, copy_tag: Tag) {
    if !has_network_header(ctx) {
        copy_failed(ctx);
        return;
    }
    with_copy_tagged(ctx, copy_tag, |ctx| {
        if ctx.clone_redirect(skb::ifindex(ctx), u64::from(BPF_F_INGRESS)).is_err() {
            copy_failed(ctx);
        }
    });
}

/// Whether the kernel knows where the network header begins, without which it redirects nothing
/// (`__bpf_redirect_common` in net/core/filter.c). Of a frame from an XDP socket it does not, nor the protocol,
/// until it has taken a VLAN tag out of the frame: it gets two, as the first stays beside it.
#[inline(always)]
fn has_network_header(ctx: &TcContext) -> bool {
    skb::protocol(ctx) != 0 || macvlan_headers(skb_of(ctx)) == 0
}

/// Gives the frame a protocol and a network header. Gives 0 when it has them.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn macvlan_headers(skb: *mut __sk_buff) -> i32 {
    let ctx = &context_of(skb);
    let done = skb::push_tag(ctx) && skb::push_tag(ctx) && skb::pop_tag(ctx) && skb::pop_tag(ctx);
    i32::from(!done)
}

/// What `make` copies has this tag, and nothing that a sender may have set beside the frame.
#[inline(always)]
fn with_copy_tagged<T>(ctx: &TcContext, copy_tag: Tag, make: impl FnOnce(&TcContext) -> T) -> T {
    let (own_tag, own_mark, own_tstamp) = (skb::tag(ctx), skb::mark(ctx), skb::tstamp(ctx));
    skb::set_tag(ctx, copy_tag);
    ctx.set_mark(0);
    skb::set_tstamp(ctx, 0);
    let made = make(ctx);
    skb::set_tag(ctx, own_tag);
    ctx.set_mark(own_mark);
    skb::set_tstamp(ctx, own_tstamp);
    made
}
