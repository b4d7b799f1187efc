//! XDP on the devices of children in mode source that list MACs of others here. It stands before all sockets.

use aya_ebpf::{
    bindings::xdp_action::{XDP_DROP, XDP_PASS},
    macros::xdp,
    programs::XdpContext,
};
use macvlan_common::decide::overhears;

use crate::{child::own, maps::Maps, packet};

/// Up: what is for others is not for this child.
#[xdp]
pub fn macvlan_ear(ctx: XdpContext) -> u32 {
    let Some(frame) = packet::macs(ctx.data(), ctx.data_end()) else { return XDP_PASS };
    let Some(maps) = Maps::open() else { return XDP_PASS };
    if overhears(frame, own(), &maps) { XDP_DROP } else { XDP_PASS }
}
