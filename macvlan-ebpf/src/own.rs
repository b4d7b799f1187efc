//! TC on macvlan devices of the host's own: the host does not hear itself there.

use aya_ebpf::{bindings::TC_ACT_SHOT, macros::classifier, programs::TcContext};
use macvlan_common::flood::is_flooded;

use crate::{skb, tc::NEXT};

/// Up: what the driver gives to every child, of the copies that we make of the host's broadcasts, too.
#[classifier]
pub fn macvlan_own(ctx: TcContext) -> i32 {
    if is_flooded(skb::tag(&ctx)) { TC_ACT_SHOT } else { NEXT }
}
