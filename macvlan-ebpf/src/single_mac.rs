//! One MAC on the wire: frames are rewritten as [`leave`](macvlan_common::single_mac::leave()) and
//! [`arrive`](macvlan_common::single_mac::arrive()) say, and the table of addresses is kept.
//!
//! Only the programs for such a master come here.

use core::ptr::NonNull;

use aya_ebpf::{
    EbpfContext as _,
    bindings::{BPF_F_MARK_MANGLED_0, BPF_F_NO_PREALLOC, TC_ACT_SHOT},
    helpers::{bpf_csum_diff, bpf_ktime_get_ns, bpf_l4_csum_replace},
    macros::map,
    maps::{HashMap, LpmTrie, LruHashMap, lpm_trie},
    programs::TcContext,
};
use macvlan_common::{
    config::Config,
    counters::DropReason,
    decide::Tables as _,
    frame::Frame,
    l3::Address,
    mac::{Mac, is_group},
    neigh::{Place, TRIES},
    single_mac::{
        self, Holder, Key, Lesson, Whose, is_plain_ip, judge_lesson, judge_place, may_concern, place_of,
        plain_target, refusal,
    },
    verdict::{Action, Verdict},
};

use crate::{
    account::{charge_drop, charge_failed_copy},
    global::{__sk_buff, context_of, skb_of},
    maps::{Child, Maps, may_be_child},
    packet, skb,
    tc::{NEXT, size},
};

/// Addresses known when nothing else is asked for; the loader sets the real maximum.
const DEFAULT_MAX_ADDRESSES: u32 = 16_384;

/// Probes whose answers are awaited.
const MOST_PROBES: u32 = 256;

/// Networks on the link.
const MOST_NETWORKS: u32 = 1024;

/// Where the EtherType is.
const ETHERTYPE: u32 = 12;

/// `include/uapi/linux/if_packet.h`.
const PACKET_BROADCAST: u32 = 1;
const PACKET_MULTICAST: u32 = 2;
const PACKET_OTHERHOST: u32 = 3;

/// Memory grows with the addresses known.
#[map]
static MACVLAN_HOLDER: HashMap<Key, Holder> =
    HashMap::with_max_entries(DEFAULT_MAX_ADDRESSES, BPF_F_NO_PREALLOC);

#[map]
static MACVLAN_TAUGHT: HashMap<u64, Key> =
    HashMap::with_max_entries(DEFAULT_MAX_ADDRESSES, BPF_F_NO_PREALLOC);

#[map]
static MACVLAN_PROBER: LruHashMap<Key, u64> = LruHashMap::with_max_entries(MOST_PROBES, 0);

#[map]
static MACVLAN_ONLINK: LpmTrie<Key, u32> = LpmTrie::with_max_entries(MOST_NETWORKS, BPF_F_NO_PREALLOC);

/// Whether a frame with this source is rewritten on its way to the wire.
#[inline(always)]
pub const fn is_rewritten(src: u64, config: &Config) -> bool {
    src != config.master && config.passthru == 0
}

/// The drop of a frame that goes down to the wire alone and may not reach this one. Of what is for others here too, the
/// wire's part is dropped later.
#[inline(always)]
pub fn kept_from_wire(
    ctx: &TcContext,
    frame: Frame,
    config: &Config,
    verdict: &Verdict<Child>,
) -> Option<Verdict<Child>> {
    if !matches!(verdict.action, Action::Pass) || !is_rewritten(frame.src, config) {
        return None;
    }
    let Some(child) = verdict.tx else {
        return Some(Verdict::kept_from_wire(DropReason::Stranger, None));
    };
    match macvlan_may_leave(skb_of(ctx), frame.dst) {
        FOREIGN => Some(Verdict::kept_from_wire(DropReason::Foreign, Some(child))),
        ISOLATED => Some(Verdict::kept_from_wire(DropReason::Isolated, Some(child))),
        _ => None,
    }
}

// What a function out of line gives: integers alone.
const MAY: u32 = 0;
const FOREIGN: u32 = 1;
const ISOLATED: u32 = 2;

/// Whether a child's frame to this destination may go on to the wire: no switch brings it back to a sibling or to the
/// host, whose MACs it does not know, or knows to be where it came from.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn macvlan_may_leave(skb: *mut __sk_buff, dst: u64) -> u32 {
    let ctx = &context_of(skb);
    let Some(maps) = Maps::open() else { return MAY };
    let is_here = || dst == maps.config().master || (maps.may_be_child(dst) && maps.child(dst).is_some());
    if !is_group(dst) && is_here() {
        return ISOLATED;
    }
    if packet::half(ctx.data(), ctx.data_end(), ETHERTYPE).is_some_and(is_plain_ip) {
        return MAY;
    }
    if refusal(&Wire { ctx }).is_some() { FOREIGN } else { MAY }
}

/// Rewrites a frame with this source for the wire; gives the verdict of TC.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn macvlan_leave(skb: *mut __sk_buff, src: u64) -> i32 {
    let ctx = &context_of(skb);
    let Some(maps) = Maps::open() else { return TC_ACT_SHOT };
    if single_mac::leave(&mut Wire { ctx }, src, maps.config().master) {
        return NEXT;
    }
    if let Some(child) = maps.entry(src) {
        charge_drop(child, DropReason::Foreign, size(ctx, ctx.len()));
    }
    TC_ACT_SHOT
}

/// What becomes of a frame that comes in.
pub enum Arrival {
    /// It is judged as one that came for whom it is.
    Here,
    /// It was sent from here.
    Own,
    /// There was no memory to give it to whom it is for.
    Lost,
}

/// Gives a frame from the wire to whom it is for. What siblings send each other passes here, too.
#[inline(always)]
pub fn arrives(ctx: &TcContext, config: &Config) -> Arrival {
    if config.passthru != 0 {
        return Arrival::Here;
    }
    let Some(frame) = packet::whole_macs(ctx) else { return Arrival::Here };
    if frame.src == config.master {
        return Arrival::Own;
    }
    let kind = packet::half(ctx.data(), ctx.data_end(), ETHERTYPE).unwrap_or_default();
    if !may_concern(frame.dst, kind, config.master) {
        return Arrival::Here;
    }
    let lost = match known(ctx, frame.dst == config.master, kind) {
        Some(whose) if whose.is_child() || whose == Whose::ALL => give_to(ctx, whose.0),
        Some(_) => false,
        None => macvlan_arrive(skb_of(ctx), frame.dst) != 0,
    };
    if lost { Arrival::Lost } else { Arrival::Here }
}

/// Whose the frame is, where its address alone says so and somebody is known to have that.
#[inline(always)]
fn known(ctx: &TcContext, to_master: bool, kind: u16) -> Option<Whose> {
    if !to_master || skb::is_tagged(ctx) {
        return None;
    }
    let address = plain_target(&Head { data: ctx.data(), end: ctx.data_end() }, kind);
    let whose = if address.is_some() { holder_of(0, address) } else { Whose::NOBODY };
    (whose != Whose::NOBODY).then_some(whose)
}

/// Gives a frame to whom this destination stands for; `true` when there is no memory for that.
#[inline(always)]
fn give_to(ctx: &TcContext, whose: u64) -> bool {
    // As the driver would have typed a frame to this MAC (`eth_type_trans`).
    let kind = if !is_group(whose) {
        PACKET_OTHERHOST
    } else if whose == Whose::ALL.0 {
        PACKET_BROADCAST
    } else {
        PACKET_MULTICAST
    };
    if packet::set_destination(ctx, whose) && ctx.change_type(kind).is_ok() {
        return false;
    }
    charge_failed_copy(size(ctx, ctx.len()));
    true
}

/// Who has an address, as the table says.
#[inline(always)]
fn holder_of(vlan: u32, address: Address) -> Whose {
    // SAFETY: an entry is replaced or removed as a whole, and freed after an RCU grace period.
    let Some(held) = (unsafe { MACVLAN_HOLDER.get(Key { address, vlan }) }) else { return Whose::NOBODY };
    match held.kind {
        Holder::HOST => Whose::HOST,
        Holder::BROADCAST => Whose::ALL,
        // One that is gone or down has nothing, whoever forgot to say so.
        _ if may_be_child(held.mac) => Whose(held.mac),
        _ => Whose::NOBODY,
    }
}

/// Gives a frame to this destination to whom it is for: 0, or 1 when there is no memory for that.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn macvlan_arrive(skb: *mut __sk_buff, dst: u64) -> u32 {
    let ctx = &context_of(skb);
    let Some(maps) = Maps::open() else { return 0 };
    let whose = single_mac::arrive(&mut Wire { ctx }, dst, maps.config().master);
    u32::from(whose != 0 && give_to(ctx, whose))
}

/// The part of a frame that can be read without a call into the kernel.
struct Head {
    data: usize,
    end: usize,
}

impl single_mac::Bytes for Head {
    #[inline(always)]
    fn half(&self, at: u32) -> Option<u16> {
        packet::half(self.data, self.end, at)
    }

    #[inline(always)]
    fn words<const N: usize>(&self, at: u32) -> Option<[u32; N]> {
        packet::words(self.data, self.end, at)
    }
}

/// A frame in the kernel's hands.
struct Wire<'a> {
    ctx: &'a TcContext,
}

impl single_mac::Bytes for Wire<'_> {
    #[inline(always)]
    fn half(&self, at: u32) -> Option<u16> {
        packet::load::<[u8; 2]>(self.ctx, at).map(u16::from_be_bytes)
    }

    #[inline(always)]
    fn words<const N: usize>(&self, at: u32) -> Option<[u32; N]> {
        packet::load(self.ctx, at)
    }
}

impl single_mac::Packet for Wire<'_> {
    #[inline(always)]
    fn vlan(&self) -> u16 {
        if skb::is_tagged(self.ctx) { skb::vlan_control(self.ctx) as u16 } else { 0 }
    }

    #[inline(always)]
    fn is_child(&self, mac: u64) -> bool {
        macvlan_is_child(mac) != 0
    }

    #[inline(always)]
    fn whose(&self, vlan: u32, address: Address) -> Whose {
        holder_of(vlan, address)
    }

    #[inline(always)]
    fn prober(&self, vlan: u32, address: Address) -> u64 {
        // SAFETY: as above.
        match unsafe { MACVLAN_PROBER.get(Key { address, vlan }) } {
            Some(mac) => *mac,
            None => 0,
        }
    }

    #[inline(always)]
    fn probes(&mut self, vlan: u32, address: Address, mac: u64) {
        let _ = MACVLAN_PROBER.insert(Key { address, vlan }, mac, 0);
    }

    #[inline(always)]
    fn learn(&mut self, vlan: u32, address: Address, mac: u64, kind: u64) {
        let Address([a, b, c, d]) = address;
        let (high, low, how) = (pair(a, b), pair(c, d), pair(vlan, kind as u32));
        // One after the other: the stack of all calls together is small.
        if macvlan_learn(high, low, how, mac) != 0 {
            macvlan_take_address(high, low, how, mac);
        }
    }

    #[inline(always)]
    fn put_mac(&mut self, at: u32, mac: u64) -> bool {
        self.ctx.store(at as usize, &Mac::from_key(mac).octets(), 0).is_ok()
    }

    #[inline(always)]
    fn put_option(&mut self, at: u32, old: [u32; 2], new: [u32; 2], checksum: u32) -> bool {
        let (mut old, mut new) = (old, new);
        // SAFETY: both are 8 bytes that live.
        let differs = unsafe { bpf_csum_diff(old.as_mut_ptr(), 8, new.as_mut_ptr(), 8, 0) };
        differs >= 0
            && self.mend(checksum, 0, differs as u64, 0)
            && self.ctx.store(at as usize, &new, 0).is_ok()
    }

    #[inline(always)]
    fn leave_option(&mut self, at: u32, checksum: u32, master: u64) -> u32 {
        macvlan_option(skb_of(self.ctx), at, checksum, master)
    }

    #[inline(always)]
    fn put_half(&mut self, at: u32, old: u16, new: u16, checksum: u32) -> bool {
        let (old, new) = (old.to_be(), new.to_be());
        self.mend(checksum, u64::from(old), u64::from(new), u64::from(BPF_F_MARK_MANGLED_0) | 2)
            && self.ctx.store(at as usize, &new, 0).is_ok()
    }
}

impl Wire<'_> {
    #[inline(always)]
    fn mend(&self, at: u32, from: u64, to: u64, flags: u64) -> bool {
        // SAFETY: the helper checks the offset; the context is the one that the program was called with.
        unsafe { bpf_l4_csum_replace(self.ctx.as_ptr().cast(), at, from, to, flags) == 0 }
    }
}

/// Rewrites one option of neighbour discovery: what is done in a loop, a verifier before Linux 6.12 looks at again and
/// again.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn macvlan_option(skb: *mut __sk_buff, at: u32, checksum: u32, master: u64) -> u32 {
    let ctx = &context_of(skb);
    single_mac::leave_option(&mut Wire { ctx }, at, checksum, master)
}

/// Whether this MAC is a child's, 1 or 0. Out of line: it is asked in loops.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn macvlan_is_child(mac: u64) -> u32 {
    let Some(maps) = Maps::open() else { return 0 };
    u32::from(maps.may_be_child(mac) && maps.entry(mac).is_some())
}

/// Hears that the child with this MAC has an address: its words two and two, then the VLAN and how it is told. Gives 1
/// where it is to have it from now on, else 0.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn macvlan_learn(high: u64, low: u64, how: u64, mac: u64) -> u32 {
    let key = key_of(high, low, how);
    let kind = how >> 32;
    let held = MACVLAN_HOLDER.get_ptr_mut(key).and_then(NonNull::new);
    // SAFETY: see `whose`; it is not read after a write below.
    let known = held.map(|held| unsafe { &*held.as_ptr().cast_const() });
    let now = now();
    match judge_lesson(known, mac, kind, now) {
        Lesson::Ignore => {}
        Lesson::Refresh => {
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
        Lesson::Take => return u32::from(is_on_link(key)),
    }
    0
}

/// Lets the child with this MAC have an address, where there is a place for that in its ring: it has a bounded number.
/// Gives 1, or 0 where those in use have all.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn macvlan_take_address(high: u64, low: u64, how: u64, mac: u64) -> u32 {
    let key = key_of(high, low, how);
    let now = now();
    for attempt in 0..TRIES {
        let place = place_of(mac, key, attempt);
        // SAFETY: see `whose`.
        if let Some(before) = unsafe { MACVLAN_TAUGHT.get(place) }.copied()
            && !before.is(key)
        {
            // SAFETY: as above.
            match judge_place(unsafe { MACVLAN_HOLDER.get(before) }, mac, how >> 32, now) {
                Place::Keep => continue,
                Place::Use => {}
                // Forgotten with its place: nothing is left that no place leads to.
                Place::Evict => {
                    let _ = MACVLAN_HOLDER.remove(before);
                }
            }
        }
        if MACVLAN_TAUGHT.insert(place, key, 0).is_err() {
            return 0;
        }
        let holder = Holder { mac, seen: now, kind: how >> 32 };
        return u32::from(MACVLAN_HOLDER.insert(key, holder, 0).is_ok());
    }
    0
}

/// Whether children may teach this address, by the longest prefix that is known: it is of a network on this link. Where the host forwards, what is for
/// others would be a child's otherwise.
#[inline(always)]
fn is_on_link(key: Key) -> bool {
    MACVLAN_ONLINK.get(lpm_trie::Key::new(Key::BITS, key)).is_some_and(|may| *may != 0)
}

#[inline(always)]
const fn key_of(high: u64, low: u64, how: u64) -> Key {
    let address = Address([high as u32, (high >> 32) as u32, low as u32, (low >> 32) as u32]);
    Key { address, vlan: how as u32 }
}

/// Two words as one.
#[inline(always)]
const fn pair(low: u32, high: u32) -> u64 {
    low as u64 | (high as u64) << 32
}

/// Nanoseconds of `CLOCK_MONOTONIC`.
#[inline(always)]
fn now() -> u64 {
    // SAFETY: the helper touches no memory.
    unsafe { bpf_ktime_get_ns() }
}
