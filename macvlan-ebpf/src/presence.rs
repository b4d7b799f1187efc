//! Where the MACs of children are: what frames teach of that.
//!
//! A frame that leaves under a child's MAC shows that the child is here; a broadcast that comes in from the
//! wire under it, that it is elsewhere. Unicast from the wire never comes here.

use aya_ebpf::{helpers::bpf_ktime_get_ns, programs::TcContext};
use macvlan_common::{
    decide::Tables as _,
    frame::Frame,
    mac::is_group,
    presence::{Presence, keeps_place},
    tag::Sender,
};

use crate::{
    global::{__sk_buff, context_of, skb_of},
    maps::{Child, Maps, add_to_filter, presence_mut},
    skb,
};

/// EtherTypes of VLAN tags in the frame: 802.1Q and 802.1ad.
const VLANS: [u16; 2] = [0x8100, 0x88a8];

/// A frame to `dst` leaves under the child's MAC: the child is here.
#[inline(always)]
pub fn sent(child: Child, dst: u64) {
    // SAFETY: see [`Child`].
    let slot = unsafe { (*child.as_ptr()).slot };
    let Some(presence) = presence_mut(slot) else { return };
    // SAFETY: an array element never moves; one aligned word.
    if unsafe { (*presence).away } != Presence::HERE {
        // SAFETY: as above.
        unsafe { (*presence).away = Presence::HERE };
    }
    if is_group(dst) {
        // SAFETY: as above.
        unsafe { (*presence).spoke = now() };
    }
}

/// Before a frame is judged that leaves: a child that is not in the filter, because its device was down,
/// is up again if it sends. Nobody but the programs learns of that where no `run` follows.
///
/// The word of the filter is not changed atomically, which takes a kernel of 5.12. A bit that is lost to
/// another writer comes back with the next frame of that child: [`Config::ABSENT`] stays set until user
/// space has written the whole filter.
///
/// [`Config::ABSENT`]: macvlan_common::config::Config::ABSENT
#[inline(always)]
pub fn wake(frame: Frame, maps: &Maps) {
    if maps.config().misses_some() && frame.src != maps.config().master && !maps.may_be_child(frame.src) {
        macvlan_wake(frame.src, matches!(frame.sender, Sender::Vouched));
    }
}

#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn macvlan_wake(src: u64, vouched: bool) -> u32 {
    let Some(maps) = Maps::open() else { return 0 };
    let Some(child) = maps.entry(src) else { return 0 };
    let policy = maps.policy(child);
    if policy.is_vouched() && policy.is_guarded() && !vouched {
        return 0;
    }
    sent(child, 0);
    add_to_filter(src);
    1
}

/// Before a broadcast or multicast is judged that comes in, and was not turned around: under a child's MAC
/// it comes from elsewhere, or back from a switch. What has a VLAN tag is another network's.
#[inline(always)]
pub fn heard(ctx: &TcContext, frame: Frame, maps: &Maps) {
    if is_group(frame.dst) && maps.may_be_child(frame.src) {
        macvlan_elsewhere(skb_of(ctx), frame.src);
    }
}

#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn macvlan_elsewhere(skb: *mut __sk_buff, src: u64) -> u32 {
    let ctx = &context_of(skb);
    if skb::is_tagged(ctx) || VLANS.contains(&skb::protocol(ctx)) {
        return 0;
    }
    let Some(maps) = Maps::open() else { return 0 };
    let Some(child) = maps.entry(src) else { return 0 };
    if keeps_place(maps.policy(child), &maps.config()) {
        return 0;
    }
    // SAFETY: see [`Child`].
    let slot = unsafe { (*child.as_ptr()).slot };
    let Some(presence) = presence_mut(slot) else { return 0 };
    let now = now();
    // SAFETY: an array element never moves, and each of its words is read whole.
    if unsafe { *presence }.is_refuted(now) {
        // SAFETY: as above; one aligned word.
        unsafe { (*presence).away = now };
    }
    1
}

/// Nanoseconds of `CLOCK_MONOTONIC`.
#[inline(always)]
fn now() -> u64 {
    // SAFETY: the helper touches no memory.
    unsafe { bpf_ktime_get_ns() }
}
