//! The way of frames to ports; and TC on the two devices of a port in the master's namespace: what one of them receives, the
//! other sends.

use aya_ebpf::{bindings::TC_ACT_SHOT, helpers::bpf_redirect, macros::classifier, programs::TcContext};
use macvlan_common::{
    config::Config,
    port::{Half, index_of, other_half},
};

use crate::{maps::policy_at, skb, tc::NEXT};

/// The number of the port at a slot; 0 is none.
#[inline(always)]
pub fn port_at(slot: u32, config: &Config) -> u32 {
    if config.has_ports() { policy_at(slot).port() } else { 0 }
}

/// Hands the frame to the other end of a port's pair, which gives it to an AF_XDP socket or the stack there. By its
/// index: from XDP, the kernel queues it as from a map of devices (`dev_xdp_enqueue` in kernel/bpf/devmap.c), which is for
/// programs with or without fragments, not both, and has to be kept.
#[inline(always)]
pub fn send_to(port: u32) -> i32 {
    // SAFETY: no memory is touched; the helper records where the frame goes.
    unsafe { bpf_redirect(index_of(port, Half::HostEnd), 0) as i32 }
}

/// Up: from the master to the port, or from the port to the master.
#[classifier]
pub fn macvlan_pt_in(ctx: TcContext) -> i32 {
    // SAFETY: no memory is touched; the helper records where the frame goes.
    unsafe { bpf_redirect(other_half(skb::ifindex(&ctx)), 0) as i32 }
}

/// Down: what some device has received, and nothing that the host's own stack has to say.
#[classifier]
pub fn macvlan_pt_out(ctx: TcContext) -> i32 {
    if skb::ingress_ifindex(&ctx) == 0 { TC_ACT_SHOT } else { NEXT }
}
