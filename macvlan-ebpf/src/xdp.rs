//! The demultiplexer: judges frames from the wire before the kernel makes a packet buffer of them.

use aya_ebpf::{
    EbpfContext as _,
    bindings::xdp_action::{XDP_DROP, XDP_PASS},
    helpers::{bpf_xdp_adjust_meta, bpf_xdp_get_buff_len},
    macros::xdp,
    programs::XdpContext,
};
use macvlan_common::{
    counters::Count,
    decide::{Tables as _, decide},
    frame::Hook,
    l3,
    plain::{Plain, plain},
    trace::{Judgement, Point},
    verdict::{Action, Verdict},
};

use crate::{
    account::{charge, charge_wire_rx},
    limits::limited,
    maps::{Child, Maps},
    packet,
    port::{port_at, send_to},
    trace::macvlan_record_xdp,
};

/// Offset of the EtherType.
const ETHERTYPE: u32 = 12;

/// For drivers and kernels that keep a frame in one buffer.
#[xdp]
pub fn macvlan_xdp(ctx: XdpContext) -> u32 {
    let bytes = ctx.data_end() - ctx.data();
    demux::<false>(&ctx, bytes as u64)
}

/// [`macvlan_xdp`], traced.
#[xdp]
pub fn macvlan_xdp_tr(ctx: XdpContext) -> u32 {
    let bytes = ctx.data_end() - ctx.data();
    demux::<true>(&ctx, bytes as u64)
}

/// For multi-buffer frames: `bpf_xdp_get_buff_len` is of kernel 5.18.
#[xdp(frags)]
pub fn macvlan_xdp_fr(ctx: XdpContext) -> u32 {
    // SAFETY: the context is the one this program was called with.
    let bytes = unsafe { bpf_xdp_get_buff_len(ctx.as_ptr().cast()) };
    demux::<false>(&ctx, bytes)
}

/// [`macvlan_xdp_fr`], traced.
#[xdp(frags)]
pub fn macvlan_xdpf_tr(ctx: XdpContext) -> u32 {
    // SAFETY: the context is the one this program was called with.
    let bytes = unsafe { bpf_xdp_get_buff_len(ctx.as_ptr().cast()) };
    demux::<true>(&ctx, bytes)
}

#[inline(always)]
fn demux<const TRACED: bool>(ctx: &XdpContext, bytes: u64) -> u32 {
    let Some(frame) = packet::macs(ctx.data(), ctx.data_end()) else { return XDP_PASS };
    let Some(maps) = Maps::open() else { return XDP_PASS };
    let config = maps.config();
    let size = Count { packets: 1, bytes };
    // What cannot be marked as judged is left to TC ingress, which judges it anew. Generic mode needs no
    // mark: TC ingress knows that the frame was here. Nor does a master with no program of ours there.
    let mark = || config.xdp_is_generic() || config.is_lean() || mark_judged(ctx, config.meta);
    if !TRACED && let Some(whom) = plain(frame, &maps) {
        return match whom {
            Plain::Host => XDP_PASS,
            Plain::Child(slot) => {
                let port = if config.xdp_is_native() { port_at(slot, &config) } else { 0 };
                if config.xdp_sends_to(port) && !is_tagged(ctx) {
                    charge_wire_rx(slot, size);
                    return send_to(port) as u32;
                }
                // What TC ingress sends to a port is left to it, unmarked.
                if (port == 0 || config.is_lean()) && mark() {
                    charge_wire_rx(slot, size);
                }
                XDP_PASS
            }
            Plain::Nobody => {
                let verdict = Verdict::unknown_at_xdp(&config);
                if verdict.action.drop_reason().is_some() {
                    if may_be_answer(ctx) {
                        return XDP_PASS;
                    }
                    charge(&verdict, size);
                    return XDP_DROP;
                }
                if verdict.counts() && mark() {
                    charge(&verdict, size);
                }
                XDP_PASS
            }
        };
    }
    let verdict = decide(Hook::Xdp, frame, &maps);
    let record = |verdict: &Verdict<Child>| {
        if TRACED {
            let judgement = Judgement::encode(Point::Xdp, verdict);
            macvlan_record_xdp(ctx.ctx, frame.dst, frame.src, judgement, bytes as u32);
        }
    };
    match verdict.action {
        Action::DropUnknown if may_be_answer(ctx) => XDP_PASS,
        action if action.drop_reason().is_some() => {
            charge(&verdict, size);
            record(&verdict);
            XDP_DROP
        }
        Action::Pass if verdict.counts() => {
            let port = verdict.rx.map(|child| port_at(maps.slot_of(child), &config));
            let port = port.filter(|port| config.xdp_sends_to(*port) && !is_tagged(ctx));
            if port.is_none() && !mark() {
                return XDP_PASS;
            }
            let verdict = if config.guards() { limited(verdict, &config, size).0 } else { verdict };
            charge(&verdict, size);
            record(&verdict);
            match port {
                _ if verdict.action.drop_reason().is_some() => XDP_DROP,
                Some(port) => send_to(port) as u32,
                None => XDP_PASS,
            }
        }
        // What is not counted has no mark, and is recorded where it is judged anew: only behind
        // generic XDP it is not.
        Action::Pass if TRACED && !verdict.counts() && config.xdp_is_generic() => {
            record(&verdict);
            XDP_PASS
        }
        _ => XDP_PASS,
    }
}

/// Whether the frame is in a VLAN: it is its VLAN device's, if there is one, and goes to the macvlan driver after that.
#[inline(always)]
fn is_tagged(ctx: &XdpContext) -> bool {
    matches!(packet::half(ctx.data(), ctx.data_end(), ETHERTYPE), Some(l3::VLAN | l3::SERVICE_VLAN))
}

/// Whether a frame to nobody is left to TC ingress to drop: ARP and ICMPv6. Where the host has got another
/// MAC, its neighbours' answers come first, and TC ingress sees that they are to the host: then all are left.
#[inline(always)]
fn may_be_answer(ctx: &XdpContext) -> bool {
    match packet::half(ctx.data(), ctx.data_end(), ETHERTYPE) {
        Some(l3::ARP) => true,
        Some(l3::IPV6) => packet::is_icmpv6(ctx.data(), ctx.data_end()),
        _ => false,
    }
}

/// Marks the frame as judged for TC ingress, by metadata before it. Fails on drivers without metadata.
#[inline(always)]
fn mark_judged(ctx: &XdpContext, word: u32) -> bool {
    // SAFETY: the context is the one this program was called with.
    let refused = unsafe { bpf_xdp_adjust_meta(ctx.as_ptr().cast(), -(size_of::<u32>() as i32)) } != 0;
    !refused && packet::set_meta(ctx.metadata(), ctx.metadata_end(), word)
}
