//! Who has which address: requests are directed to the owner, claims are learnt.
//!
//! Everything stands out of line: only broadcasts, and ARP and multicast discovery, come here.

use core::ptr::NonNull;

use aya_ebpf::{
    bindings::{BPF_F_NO_PREALLOC, BPF_NOEXIST},
    helpers::bpf_ktime_get_ns,
    macros::map,
    maps::HashMap,
    programs::TcContext,
};
use macvlan_common::{
    decide::Tables as _,
    l3::{self, ARP_LEN, Address, NdWords, Neighbours},
    mac::is_group,
    neigh::{Claim, Owner, Speaker, judge_claim, place, takes_from_wire},
};

use crate::{
    global::{__sk_buff, context_of, skb_of},
    maps::{Child, Maps},
    packet::{self, ETH_HLEN},
    skb,
};

/// Addresses known when nothing else is asked for; the loader sets the real maximum.
const DEFAULT_MAX_ADDRESSES: u32 = 16_384;

/// Memory grows with the addresses known.
#[map]
static MACVLAN_ADDR: HashMap<Address, Owner> =
    HashMap::with_max_entries(DEFAULT_MAX_ADDRESSES, BPF_F_NO_PREALLOC);

#[map]
static MACVLAN_PLACE: HashMap<u64, Address> =
    HashMap::with_max_entries(DEFAULT_MAX_ADDRESSES, BPF_F_NO_PREALLOC);

/// The owner of the address that a frame from the wire asks for, if the request may go to it alone:
/// its MAC, and the child that has it or, for the host, none.
pub struct Asked {
    /// Key of the owner's MAC.
    pub mac: u64,
    /// The child to charge.
    pub child: Option<Child>,
}

/// Whom a request that came in with this source is for, `None` when it is to go to all.
#[inline(always)]
pub fn asked_from_wire(ctx: &TcContext, src: u64, maps: &Maps) -> Option<Asked> {
    let master = maps.config().master;
    // A local sender's request has reached everybody already, or a switch for VEPA sent it back.
    if src == master || maps.may_be_child(src) {
        return None;
    }
    let mac = macvlan_asked(skb_of(ctx)) & OWNER_MAC;
    if mac == 0 {
        return None;
    }
    if mac == master {
        return Some(Asked { mac, child: None });
    }
    let child = maps.child(mac)?;
    takes_from_wire(maps.policy(child)).then_some(Asked { mac, child: Some(child) })
}

/// Which child a request of the host is for, and whether that is known from netlink; `None` when it is to go to
/// all.
#[inline(always)]
pub fn asked_by_host(ctx: &TcContext, maps: &Maps) -> Option<(Asked, bool)> {
    let owner = macvlan_asked(skb_of(ctx));
    let mac = owner & OWNER_MAC;
    if mac == 0 {
        return None;
    }
    let child = maps.child(mac)?;
    let reaches = maps.policy(child).reaches_host();
    reaches.then_some((Asked { mac, child: Some(child) }, owner & IS_LEARNT == 0))
}

/// The MAC in what [`macvlan_asked`] gives.
const OWNER_MAC: u64 = (1 << 48) - 1;
/// Set in what [`macvlan_asked`] gives: learnt from the owner, not from netlink.
const IS_LEARNT: u64 = 1 << 48;

/// Key of the MAC that the address asked for has, 0 for none; with [`IS_LEARNT`].
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn macvlan_asked(skb: *mut __sk_buff) -> u64 {
    let asked = read(&context_of(skb)).asked;
    if !asked.is_some() {
        return 0;
    }
    // SAFETY: an entry is replaced or removed as a whole, and freed after an RCU grace period.
    let Some(owner) = (unsafe { MACVLAN_ADDR.get(asked) }) else { return 0 };
    let mac = owner.mac_at(now());
    if mac == 0 || owner.source == Owner::NETLINK { mac } else { mac | IS_LEARNT }
}

/// Whether a frame going out may claim an address: all ARP does, and discovery to a group, by
/// which every host finds its first neighbour. Other IPv6 frames are not read.
#[inline(always)]
pub fn may_tell(ctx: &TcContext, dst: u64) -> bool {
    let protocol = protocol(ctx);
    protocol == l3::ARP || (protocol == l3::IPV6 && is_group(dst))
}

/// Learns from a frame going out with this source who has an address.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn macvlan_hear(skb: *mut __sk_buff, src: u64) -> u32 {
    let Some(maps) = Maps::open() else { return 0 };
    let speaker = if src == maps.config().master {
        Speaker::Host
    } else if maps.may_be_child(src) && maps.child(src).is_some() {
        Speaker::Child
    } else {
        Speaker::Stranger
    };
    let said = read(&context_of(skb));
    if said.hardware != 0 && said.hardware != src {
        return 0;
    }
    // A new owner sends a probe first.
    let is_contester = matches!(speaker, Speaker::Stranger) && said.is_probe;
    let address = if is_contester { said.asked } else { said.claimed };
    if address.is_some() {
        learn(speaker, src, address);
    }
    0
}

#[inline(always)]
fn learn(speaker: Speaker, mac: u64, address: Address) {
    let now = now();
    let held = MACVLAN_ADDR.get_ptr_mut(address).and_then(NonNull::new);
    // SAFETY: see `macvlan_asked`.
    let known = held.map(|held| unsafe { *held.as_ptr() });
    match judge_claim(speaker, mac, known.as_ref(), now) {
        Claim::Ignore => {}
        Claim::Refresh => {
            if let Some(held) = held {
                // SAFETY: as above; one aligned word.
                unsafe { (*held.as_ptr()).seen = now };
            }
        }
        Claim::Contest => {
            if let Some(held) = held {
                // SAFETY: as above; one aligned word.
                unsafe { (*held.as_ptr()).mac = 0 };
                // SAFETY: as above.
                unsafe { (*held.as_ptr()).seen = now };
            }
        }
        Claim::Take => take(mac, address, known.is_some(), now),
    }
}

/// Remembers the address in the sender's place for it, unless that holds another one that the sender
/// still has.
#[inline(always)]
fn take(mac: u64, address: Address, is_known: bool, now: u64) {
    let place = place(mac, address);
    // SAFETY: see `macvlan_asked`.
    let before = unsafe { MACVLAN_PLACE.get(place) }.copied();
    if let Some(before) = before
        && !before.is(address)
    {
        // SAFETY: as above.
        let owner = unsafe { MACVLAN_ADDR.get(before) }.copied();
        if let Some(owner) = owner {
            if owner.mac_at(now) == mac {
                return;
            }
            // Forgotten with its place: nothing is left that no place leads to.
            if owner.is_stale(now) && owner.source == Owner::LEARNT {
                let _ = MACVLAN_ADDR.remove(before);
            }
        }
    }
    if MACVLAN_PLACE.insert(place, address, 0).is_err() {
        return;
    }
    // Two CPUs at once: the first one has it, and the second one's next frame counts.
    let flags = if is_known { 0 } else { u64::from(BPF_NOEXIST) };
    let _ = MACVLAN_ADDR.insert(address, Owner { mac, seen: now, source: Owner::LEARNT }, flags);
}

/// What an untagged frame says: addresses behind a VLAN tag belong to another network.
#[inline(always)]
fn read(ctx: &TcContext) -> Neighbours {
    match protocol(ctx) {
        l3::ARP => {
            if let Some(bytes) = load::<[u8; ARP_LEN]>(ctx) {
                return l3::read_arp(&bytes);
            }
        }
        l3::IPV6 => {
            if let Some(words) = load::<NdWords>(ctx) {
                return l3::read_nd(&words);
            }
        }
        _ => {}
    }
    Neighbours::default()
}

/// The bytes behind the Ethernet header.
#[inline(always)]
fn load<T: Copy>(ctx: &TcContext) -> Option<T> {
    packet::load(ctx, ETH_HLEN)
}

/// EtherType of the frame, 0 when it has a tag beside it.
#[inline(always)]
fn protocol(ctx: &TcContext) -> u16 {
    if skb::is_tagged(ctx) { 0 } else { skb::protocol(ctx) }
}

/// Nanoseconds of `CLOCK_MONOTONIC`.
#[inline(always)]
fn now() -> u64 {
    // SAFETY: the helper touches no memory.
    unsafe { bpf_ktime_get_ns() }
}
