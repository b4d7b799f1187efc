//! What guarded children say behind their MACs: read here, judged by
//! [`inspect`].
//!
//! Out of line: where no child is guarded so, nothing comes here.

use aya_ebpf::{
    EbpfContext as _, bindings::BPF_F_NO_PREALLOC, helpers::bpf_skb_load_bytes, macros::map, maps::HashMap,
    programs::TcContext,
};
use macvlan_common::{
    counters::DropReason,
    decide::Tables as _,
    inspect::{OwnAddress, Packet, inspect},
    l3::Address,
};

use crate::maps::{Child, Maps};

/// Addresses when nothing else is asked for; the loader sets the real maximum.
const DEFAULT_MAX_ADDRESSES: u32 = 16_384;

/// The addresses of children held to theirs; only the keys say anything.
#[map]
static MACVLAN_OWNIP: HashMap<OwnAddress, u32> =
    HashMap::with_max_entries(DEFAULT_MAX_ADDRESSES, BPF_F_NO_PREALLOC);

/// Octets of an Ethernet header.
const ETH_HLEN: u32 = 14;

/// Why this frame of a child with this MAC (its key) is dropped, if it is. `headless`: the data begin
/// behind the MAC header.
#[inline(always)]
pub fn refusal(ctx: &TcContext, child: Child, mac: u64, headless: bool) -> Option<DropReason> {
    match judge(ctx, child, mac, headless) {
        SPOOFED => Some(DropReason::Spoofed),
        RA_GUARD => Some(DropReason::RaGuard),
        DHCP_GUARD => Some(DropReason::DhcpGuard),
        _ => None,
    }
}

// What `judge` gives: a function out of line gives integers alone.
const PASSES: u32 = 0;
const SPOOFED: u32 = 1;
const RA_GUARD: u32 = 2;
const DHCP_GUARD: u32 = 3;

#[inline(never)]
fn judge(ctx: &TcContext, child: Child, mac: u64, headless: bool) -> u32 {
    let Some(maps) = Maps::open() else { return PASSES };
    let policy = maps.policy(child);
    if !policy.is_inspected() {
        return PASSES;
    }
    match inspect(policy, mac, &Skb { ctx, mac, missing: if headless { ETH_HLEN } else { 0 } }) {
        Some(DropReason::Spoofed) => SPOOFED,
        Some(DropReason::RaGuard) => RA_GUARD,
        Some(DropReason::DhcpGuard) => DHCP_GUARD,
        _ => PASSES,
    }
}

/// A frame of the child with this MAC, of which so many octets are not in the data.
struct Skb<'a> {
    ctx: &'a TcContext,
    mac: u64,
    missing: u32,
}

impl Skb<'_> {
    /// The EtherType comes from the frame, not from `skb->protocol`, which a packet socket sets at will.
    #[inline(always)]
    fn load(&self, at: u32, to: *mut core::ffi::c_void, len: u32) -> bool {
        // SAFETY: the helper writes `len` octets to `to`, which has room for them, or fails.
        unsafe { bpf_skb_load_bytes(self.ctx.as_ptr(), at.wrapping_sub(self.missing), to, len) == 0 }
    }
}

impl Packet for Skb<'_> {
    #[inline(always)]
    fn half(&self, at: u32) -> Option<u16> {
        if at < self.missing {
            // SAFETY: reading a field of the context that the program was called with. What comes up
            // has the EtherType of the frame there (`eth_type_trans`).
            return Some((unsafe { (*self.ctx.skb.skb).protocol } as u16).swap_bytes());
        }
        let mut half = [0_u8; 2];
        self.load(at, (&raw mut half).cast(), size_of_val(&half) as u32).then(|| u16::from_be_bytes(half))
    }

    #[inline(always)]
    fn words<const N: usize>(&self, at: u32) -> Option<[u32; N]> {
        let mut words = [0_u32; N];
        self.load(at, (&raw mut words).cast(), size_of_val(&words) as u32).then_some(words)
    }

    #[inline(always)]
    fn owns(&self, address: Address) -> bool {
        let own = OwnAddress { address, mac: self.mac };
        MACVLAN_OWNIP.get_ptr(own).is_some()
    }
}
