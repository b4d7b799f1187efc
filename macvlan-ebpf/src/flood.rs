//! TC on the flood device: the host speaks and hears nothing there.

use aya_ebpf::{bindings::TC_ACT_SHOT, macros::classifier, programs::TcContext};
use macvlan_common::flood::tag_through;

use crate::{skb, tc::NEXT};

/// Down: copies that `macvlan_out` sends through it, and nothing of anybody else.
#[classifier]
pub fn macvlan_fl_out(ctx: TcContext) -> i32 {
    if skb::tag(&ctx) == tag_through(skb::ifindex(&ctx)) { NEXT } else { TC_ACT_SHOT }
}

/// Up: whatever group of the wire or of a child shares a bit of its filter.
#[classifier]
pub fn macvlan_fl_in(_ctx: TcContext) -> i32 {
    TC_ACT_SHOT
}
