//! Fields of the packet buffer that a TC program is called with; none of them is packet memory.

use aya_ebpf::{
    bindings,
    helpers::{bpf_skb_vlan_pop, bpf_skb_vlan_push},
    programs::TcContext,
};
use macvlan_common::tag::Tag;

#[inline(always)]
fn skb(ctx: &TcContext) -> *mut bindings::__sk_buff {
    ctx.skb.skb
}

/// The packet mark.
#[inline(always)]
pub fn mark(ctx: &TcContext) -> u32 {
    // SAFETY: reading a field of the context that the program was called with.
    unsafe { (*skb(ctx)).mark }
}

/// What lies where our programs tag a frame; only the secret makes it a tag.
#[inline(always)]
pub fn tag(ctx: &TcContext) -> Tag {
    // SAFETY: reading a field of the context that the program was called with.
    let low = unsafe { (*skb(ctx)).cb[3] };
    // SAFETY: as above.
    let high = unsafe { (*skb(ctx)).cb[4] };
    Tag { low, high }
}

/// Tags a frame for our programs.
#[inline(always)]
pub fn set_tag(ctx: &TcContext, tag: Tag) {
    // SAFETY: `cb` is writable for TC programs (`tc_cls_act_is_valid_access`).
    unsafe { (*skb(ctx)).cb[3] = tag.low };
    // SAFETY: as above.
    unsafe { (*skb(ctx)).cb[4] = tag.high };
}

/// Whether the kernel takes the destination for the host's own MAC (`PACKET_HOST`, `eth_type_trans`).
#[inline(always)]
pub fn is_to_host(ctx: &TcContext) -> bool {
    // SAFETY: reading a field of the context that the program was called with.
    unsafe { (*skb(ctx)).pkt_type == 0 }
}

/// Index of the device.
#[inline(always)]
pub fn ifindex(ctx: &TcContext) -> u32 {
    // SAFETY: reading a field of the context that the program was called with.
    unsafe { (*skb(ctx)).ifindex }
}

/// Index of the last device that received the frame; 0 for what was made here.
#[inline(always)]
pub fn ingress_ifindex(ctx: &TcContext) -> u32 {
    // SAFETY: reading a field of the context that the program was called with.
    unsafe { (*skb(ctx)).ingress_ifindex }
}

/// The address family of the socket that it was sent by, if there is one.
#[inline(always)]
pub fn socket_family(ctx: &TcContext) -> Option<u32> {
    // SAFETY: reading a field of the context that the program was called with.
    let field = unsafe { (*skb(ctx)).__bindgen_anon_2 };
    // SAFETY: the one member of the union.
    let socket = unsafe { field.sk };
    // SAFETY: the verifier gives a socket that lives as long as the frame does, or none.
    unsafe { socket.as_ref() }.map(|socket| socket.family)
}

/// When the frame is to leave.
#[inline(always)]
pub fn tstamp(ctx: &TcContext) -> u64 {
    // SAFETY: reading a field of the context that the program was called with.
    unsafe { (*skb(ctx)).tstamp }
}

/// The time a sender wants its frame to leave at means nothing to a receiver.
#[inline(always)]
pub fn set_tstamp(ctx: &TcContext, time: u64) {
    // SAFETY: `tstamp` is writable for TC programs (`tc_cls_act_is_valid_access`).
    unsafe { (*skb(ctx)).tstamp = time };
}

/// Segments of a segmentation-offloaded frame; 0 or 1 when it is none.
#[inline(always)]
pub fn segments(ctx: &TcContext) -> u32 {
    // SAFETY: reading a field of the context that the program was called with.
    unsafe { (*skb(ctx)).gso_segs }
}

/// Whether the kernel holds a VLAN tag beside the frame.
#[inline(always)]
pub fn is_tagged(ctx: &TcContext) -> bool {
    // SAFETY: reading a field of the context that the program was called with.
    unsafe { (*skb(ctx)).vlan_present != 0 }
}

/// EtherType of that tag.
#[inline(always)]
pub fn vlan_protocol(ctx: &TcContext) -> u16 {
    // SAFETY: reading a field of the context that the program was called with.
    (unsafe { (*skb(ctx)).vlan_proto } as u16).swap_bytes()
}

/// Tag control information of that tag.
#[inline(always)]
pub fn vlan_control(ctx: &TcContext) -> u32 {
    // SAFETY: reading a field of the context that the program was called with.
    unsafe { (*skb(ctx)).vlan_tci & 0xffff }
}

/// EtherType of the frame, behind that tag. A packet socket sets it at will; for what comes up, the
/// kernel reads it from the frame (`eth_type_trans`).
#[inline(always)]
pub fn protocol(ctx: &TcContext) -> u16 {
    // SAFETY: reading a field of the context that the program was called with.
    (unsafe { (*skb(ctx)).protocol } as u16).swap_bytes()
}

/// Gives the frame a VLAN tag, beside it; one that was there goes into the frame. `false` when there is no
/// memory for that.
#[inline(always)]
pub fn push_tag(ctx: &TcContext) -> bool {
    /// `ETH_P_8021Q`, as it is sent, and an identifier.
    const PROTOCOL: u16 = 0x8100_u16.to_be();
    const CONTROL: u16 = 1;
    // SAFETY: the helper changes the frame, of which no address is kept here.
    unsafe { bpf_skb_vlan_push(skb(ctx), PROTOCOL, CONTROL) == 0 }
}

/// Takes the outermost VLAN tag from the frame. `false` when there is no memory for that.
#[inline(always)]
pub fn pop_tag(ctx: &TcContext) -> bool {
    // SAFETY: as in `push_tag`.
    unsafe { bpf_skb_vlan_pop(skb(ctx)) == 0 }
}

/// Where the metadata before the frame begin.
#[inline(always)]
pub fn data_meta(ctx: &TcContext) -> usize {
    // SAFETY: reading a field of the context that the program was called with.
    unsafe { (*skb(ctx)).data_meta as usize }
}
