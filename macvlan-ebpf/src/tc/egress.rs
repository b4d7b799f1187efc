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
    frame::{Frame, Hook},
    tag::{Hairpin, Tag},
    trace::{Judgement, Point},
    verdict::Action,
};

use super::{NEXT, copy_failed, guard_and_charge, next_or_lost, sender, size};
use crate::{
    account::charge_rx,
    global::{__sk_buff, context_of, skb_of},
    guard,
    maps::Maps,
    neigh::{self, AskedByHost},
    packet, presence, skb,
    trace::macvlan_record,
};

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
    let Some(mut frame) = packet::whole_macs(ctx) else { return NEXT };
    let Some(maps) = Maps::open() else { return NEXT };
    let config = maps.config();
    if config.asks_senders() {
        frame.sender = sender(ctx, &config);
    }
    presence::wake(frame, &maps);
    let verdict = decide(Hook::Egress, frame, &maps);
    if let Some(child) = verdict.tx {
        presence::sent(child, frame.dst);
    }
    let verdict = match verdict.sender_to_host() {
        Some(child) if guard::is_kept_from_host(ctx, child) => verdict.without_host(),
        _ => verdict,
    };
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
    let asked = match neigh::asked_by_host(ctx, &maps) {
        AskedByHost::Child(asked) => asked,
        AskedByHost::Children => {
            copy_to_ingress(ctx, config.tag_of(Hairpin::Flood));
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

/// The frame comes back up on the master, as if the wire had sent it, with our tag and without
/// what a sender may have set: `skb_scrub_packet` and `____dev_forward_skb` clear the rest.
#[inline(always)]
fn turn(ctx: &TcContext, tag: Tag) -> i32 {
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
    let (own_tag, own_mark, own_tstamp) = (skb::tag(ctx), skb::mark(ctx), skb::tstamp(ctx));
    skb::set_tag(ctx, copy_tag);
    ctx.set_mark(0);
    skb::set_tstamp(ctx, 0);
    if ctx.clone_redirect(skb::ifindex(ctx), u64::from(BPF_F_INGRESS)).is_err() {
        copy_failed(ctx);
    }
    skb::set_tag(ctx, own_tag);
    ctx.set_mark(own_mark);
    skb::set_tstamp(ctx, own_tstamp);
}
