//! Who has which address: requests are directed to the owner, claims are learnt.
//!
//! Everything stands out of line: only broadcasts, ARP and ICMPv6 come here.

use core::{hint::black_box, ptr::NonNull};

use aya_ebpf::{
    bindings::{BPF_F_NO_PREALLOC, BPF_NOEXIST},
    helpers::bpf_ktime_get_ns,
    macros::map,
    maps::HashMap,
    programs::TcContext,
};
use macvlan_common::{
    decide::Tables as _,
    l3::{self, ARP_LEN, Address, NdWords, Neighbours, Word},
    mac::is_group,
    neigh::{
        Claim, Owner, Place, Speaker, TRIES, judge_claim, judge_place, judge_request, mac_of, place,
        takes_from_wire,
    },
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
    let mac = macvlan_asked(skb_of(ctx), src | FROM_WIRE) & OWNER_MAC;
    if mac == 0 {
        return None;
    }
    if mac == master {
        return Some(Asked { mac, child: None });
    }
    let child = maps.child(mac)?;
    takes_from_wire(maps.policy(child)).then_some(Asked { mac, child: Some(child) })
}

/// Whom else than the wire a broadcast of the host is for.
pub enum AskedByHost {
    /// The children, all of them.
    Children,
    /// The owner of the address that it asks for.
    Child(Asked),
    /// Nobody.
    Nobody,
}

/// Whom a broadcast of the host is for, besides the wire.
#[inline(always)]
pub fn asked_by_host(ctx: &TcContext, maps: &Maps) -> AskedByHost {
    let owner = macvlan_asked(skb_of(ctx), 0);
    if owner & IS_FOR_WIRE != 0 {
        return AskedByHost::Nobody;
    }
    let mac = owner & OWNER_MAC;
    if mac != 0
        && let Some(child) = maps.child(mac)
        && maps.policy(child).reaches_host()
    {
        return AskedByHost::Child(Asked { mac, child: Some(child) });
    }
    AskedByHost::Children
}

/// The MAC in what [`macvlan_asked`] gives.
const OWNER_MAC: u64 = (1 << 48) - 1;
/// Set in what [`macvlan_asked`] gives: the host looks for the address on the wire alone.
const IS_FOR_WIRE: u64 = 1 << 48;

/// Set in what [`macvlan_asked`] is told of the sender.
const FROM_WIRE: u64 = 1 << 48;

/// Key of the MAC that a request may go to alone, 0 for none; or [`IS_FOR_WIRE`]. The sender is the host, or
/// [`FROM_WIRE`] with its MAC: what such a station announces contests what others here have.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn macvlan_asked(skb: *mut __sk_buff, sender: u64) -> u64 {
    let said = read(&context_of(skb));
    if !said.asked.is_some() {
        if sender & FROM_WIRE != 0 && matches!(said.word, Word::Announced) && said.claimed.is_some() {
            let mac = if said.hardware == 0 { sender & OWNER_MAC } else { said.hardware };
            learn(Speaker::Wire, said.word, mac, said.claimed);
        }
        return 0;
    }
    let Some(held) = MACVLAN_ADDR.get_ptr_mut(said.asked).and_then(NonNull::new) else { return 0 };
    // SAFETY: an entry is replaced or removed as a whole, and freed after an RCU grace period.
    let owner = unsafe { *held.as_ptr() };
    if owner.is_for_wire() {
        return IS_FOR_WIRE;
    }
    let request = judge_request(&owner, said.word, now());
    if let Some((asked, asks)) = request.counted {
        // SAFETY: as above; one aligned word.
        unsafe { (*held.as_ptr()).asked = asked };
        // SAFETY: as above.
        unsafe { (*held.as_ptr()).asks = asks };
    }
    if request.is_directed { owner.mac } else { 0 }
}

/// Whether a frame going out may claim an address: ARP and ICMPv6. Every frame of another IPv6 protocol to
/// a group is left out by the reader.
#[inline(always)]
pub fn may_tell(ctx: &TcContext, dst: u64) -> bool {
    let protocol = protocol(ctx);
    protocol == l3::ARP
        || (protocol == l3::IPV6 && (is_group(dst) || packet::is_icmpv6(ctx.data(), ctx.data_end())))
}

/// Learns from a frame going out with this source who has an address. Gives 1 when it is not the host's and
/// claims the address of a gateway of the host's, else 0.
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
    let is_own = said.hardware == 0 || said.hardware == src;
    // A new owner sends a probe first.
    let address = if matches!(said.word, Word::Probe) { said.asked } else { said.claimed };
    if !address.is_some() {
        return 0;
    }
    learn(speaker, said.word, if is_own { src } else { 0 }, address)
}

/// Gives 1 where the address is a gateway's and the speaker is not the host, else 0. With no MAC it learns
/// nothing.
#[inline(always)]
fn learn(speaker: Speaker, word: Word, mac: u64, address: Address) -> u32 {
    let now = now();
    let held = MACVLAN_ADDR.get_ptr_mut(address).and_then(NonNull::new);
    // Not copied: the stack of all calls together is small.
    // SAFETY: see `macvlan_asked`; it is not read after a write below.
    let known = held.map(|held| unsafe { &*held.as_ptr().cast_const() });
    if let Some(known) = known
        && known.kind == Owner::GATEWAY
    {
        return u32::from(!matches!(speaker, Speaker::Host) && !matches!(word, Word::Probe));
    }
    if mac == 0 {
        return 0;
    }
    let kind = if matches!(word, Word::Announced) { Owner::CLAIM } else { Owner::BARE };
    match judge_claim(speaker, word, mac, known, now) {
        Claim::Ignore => {}
        Claim::Refresh => {
            if let (Some(held), Some(known)) = (held, known) {
                let is_stronger = kind > known.kind;
                // SAFETY: as above; one aligned word.
                unsafe { (*held.as_ptr()).seen = now };
                if is_stronger {
                    // SAFETY: as above.
                    unsafe { (*held.as_ptr()).kind = kind };
                }
            }
        }
        Claim::Contest => {
            if let Some(held) = held {
                // SAFETY: as above.
                unsafe { (*held.as_ptr()).contested = now };
            }
        }
        Claim::Take => {
            let Address([a, b, c, d]) = address;
            let (high, low) = (pair(a, b), pair(c, d));
            let place = macvlan_place(high, low, mac, kind, now);
            if place != NO_PLACE {
                macvlan_take(high, low, place, kind, known.is_some());
            }
        }
    }
    0
}

/// No place is free.
const NO_PLACE: u64 = u64::MAX;

/// The place in which a sender may remember an address, [`NO_PLACE`] when other addresses that it still has
/// are in all of them.
///
/// This and the next one are out of line, one behind the other: the verifier walks the loop once then, and
/// the stack of all calls together is small. So they are given integers alone.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn macvlan_place(high: u64, low: u64, mac: u64, kind: u64, now: u64) -> u64 {
    let address = address_of(high, low);
    for attempt in 0..TRIES {
        let place = place(mac, address, attempt);
        // SAFETY: see `macvlan_asked`.
        let Some(before) = (unsafe { MACVLAN_PLACE.get(place) }).copied() else { return place };
        if before.is(address) {
            return place;
        }
        // SAFETY: as above.
        match judge_place(unsafe { MACVLAN_ADDR.get(before) }, mac, kind, now) {
            Place::Keep => {}
            Place::Use => return place,
            // Forgotten with its place: nothing is left that no place leads to.
            Place::Evict => {
                let _ = MACVLAN_ADDR.remove(before);
                return place;
            }
        }
    }
    NO_PLACE
}

/// Remembers an address in its sender's place.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn macvlan_take(high: u64, low: u64, place: u64, kind: u64, is_known: bool) -> u32 {
    let address = address_of(high, low);
    if MACVLAN_PLACE.insert(place, address, 0).is_err() {
        return 0;
    }
    // Hidden from the compiler, which would call a function to fill the words.
    let never = black_box(0);
    let owner = Owner { mac: mac_of(place), seen: now(), contested: never, asked: never, asks: never, kind };
    // Two CPUs at once: the first one has it, and the second one's next frame counts.
    let flags = if is_known { 0 } else { u64::from(BPF_NOEXIST) };
    u32::from(MACVLAN_ADDR.insert(address, owner, flags).is_ok())
}

/// The address in two words made by [`pair`].
#[inline(always)]
const fn address_of(high: u64, low: u64) -> Address {
    Address([high as u32, (high >> 32) as u32, low as u32, (low >> 32) as u32])
}

/// Two words of an address as one.
#[inline(always)]
const fn pair(low: u32, high: u32) -> u64 {
    low as u64 | (high as u64) << 32
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
