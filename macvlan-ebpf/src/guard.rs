//! The payload of children's frames: read here, judged by [`inspect`].
//!
//! Out of line: few frames come here, of children whose payload is guarded, and to the host what may be a
//! control frame.

use aya_ebpf::{bindings::BPF_F_NO_PREALLOC, macros::map, maps::HashMap, programs::TcContext};
use macvlan_common::{
    counters::DropReason,
    inspect::{CONTROL, OwnAddress, Packet, inspect, may_be_control},
    l3::Address,
};

use crate::{
    global::{__sk_buff, context_of, skb_of},
    maps::{Child, policy_at},
    packet::{self, ETH_HLEN},
    skb,
};

/// Addresses when nothing else is asked for; the loader sets the real maximum.
const DEFAULT_MAX_ADDRESSES: u32 = 16_384;

/// The addresses of children held to theirs; only the keys matter.
#[map]
static MACVLAN_OWNIP: HashMap<OwnAddress, u32> =
    HashMap::with_max_entries(DEFAULT_MAX_ADDRESSES, BPF_F_NO_PREALLOC);

/// Why this frame of a child with this MAC (its key) is dropped, if it is. `headless`: the data begin
/// behind the MAC header.
#[inline(always)]
pub fn refusal(ctx: &TcContext, child: Child, mac: u64, headless: bool) -> Option<DropReason> {
    // SAFETY: see [`Child`].
    let slot = unsafe { (*child.as_ptr()).slot };
    match macvlan_judge(skb_of(ctx), slot, mac, if headless { HEADLESS } else { 0 }) {
        SPOOFED => Some(DropReason::Spoofed),
        RA_GUARD => Some(DropReason::RaGuard),
        DHCP_GUARD => Some(DropReason::DhcpGuard),
        _ => None,
    }
}

/// Whether this frame of a child is a control frame, and the host may not get those of this child.
#[inline(always)]
pub fn is_kept_from_host(ctx: &TcContext, child: Child) -> bool {
    let (data, data_end) = (ctx.data(), ctx.data_end());
    if !may_be_control(|at| packet::half(data, data_end, at)) {
        return false;
    }
    // SAFETY: see [`Child`].
    let slot = unsafe { (*child.as_ptr()).slot };
    macvlan_judge(skb_of(ctx), slot, 0, TO_HOST) != PASSES
}

// What `judge` is told besides: a function out of line takes integers alone.
/// The data begin behind the MAC header.
const HEADLESS: u32 = 1;
/// Whether it is a control frame that the host may not get is asked, and nothing else.
const TO_HOST: u32 = 2;

// What `judge` gives: a function out of line gives integers alone.
const PASSES: u32 = 0;
const SPOOFED: u32 = 1;
const RA_GUARD: u32 = 2;
const DHCP_GUARD: u32 = 3;

#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn macvlan_judge(skb: *mut __sk_buff, slot: u32, mac: u64, how: u32) -> u32 {
    let ctx = &context_of(skb);
    let mut policy = policy_at(slot);
    if how & TO_HOST != 0 {
        if policy.host_control() {
            return PASSES;
        }
        policy = CONTROL;
    }
    if !policy.is_inspected() {
        return PASSES;
    }
    let missing = if how & HEADLESS != 0 { ETH_HLEN } else { 0 };
    match inspect(policy, mac, &Skb { ctx, mac, missing }) {
        Some(DropReason::Spoofed) => SPOOFED,
        Some(DropReason::RaGuard) => RA_GUARD,
        Some(DropReason::DhcpGuard) => DHCP_GUARD,
        _ => PASSES,
    }
}

/// A frame of the child with this MAC, of which so many bytes are not in the data.
struct Skb<'a> {
    ctx: &'a TcContext,
    mac: u64,
    missing: u32,
}

impl Skb<'_> {
    /// The EtherType comes from the frame, not from `skb->protocol`, which a packet socket sets at will.
    #[inline(always)]
    fn load<T: Copy>(&self, at: u32) -> Option<T> {
        packet::load(self.ctx, at.wrapping_sub(self.missing))
    }
}

impl Packet for Skb<'_> {
    #[inline(always)]
    fn half(&self, at: u32) -> Option<u16> {
        if at < self.missing {
            return Some(skb::protocol(self.ctx));
        }
        self.load::<[u8; 2]>(at).map(u16::from_be_bytes)
    }

    #[inline(always)]
    fn words<const N: usize>(&self, at: u32) -> Option<[u32; N]> {
        self.load(at)
    }

    #[inline(always)]
    fn owns(&self, address: Address) -> bool {
        let own = OwnAddress { address, mac: self.mac };
        MACVLAN_OWNIP.get_ptr(own).is_some()
    }
}
