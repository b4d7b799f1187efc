//! TC on the two devices of a port in the master's namespace: what one of them receives, the other sends.

use aya_ebpf::{bindings::TC_ACT_SHOT, helpers::bpf_redirect, macros::classifier, programs::TcContext};
use macvlan_common::port::other_half;

use crate::{skb, tc::NEXT};

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
