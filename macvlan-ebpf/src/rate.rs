//! Rates of children: what is beyond them is dropped, what is sent to the wire gets a time to leave.

use core::intrinsics::{AtomicOrdering, atomic_xadd};

use aya_ebpf::{bindings::BPF_F_NO_PREALLOC, helpers::bpf_ktime_get_ns, macros::map, maps::HashMap};
use macvlan_common::{
    counters::{Count, Path},
    rate::{Bucket, Meters, begins},
};

use crate::maps::{Child, policy_at};

/// By slot; memory grows with the children that are limited.
#[map]
static MACVLAN_METER: HashMap<u32, Meters> = HashMap::with_max_entries(4096, BPF_F_NO_PREALLOC);

/// Beyond the rate.
pub const REFUSED: u64 = u64::MAX;

/// When a frame that this child sends is to leave, in nanoseconds of `CLOCK_MONOTONIC`; 0 where that is
/// not limited, [`REFUSED`] when it is not to.
#[inline(always)]
pub fn send(child: Child, path: Path, size: Count) -> u64 {
    // SAFETY: see [`Child`].
    let slot = unsafe { (*child.as_ptr()).slot };
    macvlan_spend(slot, true, path as u32, size.packets, size.bytes)
}

/// Whether a frame is more than this child is to receive.
#[inline(always)]
pub fn is_too_much(child: Child, path: Path, size: Count) -> bool {
    // SAFETY: see [`Child`].
    let slot = unsafe { (*child.as_ptr()).slot };
    macvlan_spend(slot, false, path as u32, size.packets, size.bytes) == REFUSED
}

/// Both buckets of a direction are asked before either is charged.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn macvlan_spend(slot: u32, sends: bool, path: u32, packets: u64, bytes: u64) -> u64 {
    let policy = policy_at(slot);
    if !policy.is_limited() || (policy.has_wire_scope() && path != Path::Wire as u32) {
        return 0;
    }
    let Some(meters) = MACVLAN_METER.get_ptr_mut(slot) else { return 0 };
    // SAFETY: entries are freed after an RCU grace period; the field is in the entry.
    let rx = unsafe { &raw mut (*meters).rx };
    // SAFETY: as above.
    let tx = unsafe { &raw mut (*meters).tx };
    let meter = if sends { tx } else { rx };
    // SAFETY: as above.
    let bits = unsafe { &raw mut (*meter).bits };
    // SAFETY: as above.
    let frames = unsafe { &raw mut (*meter).frames };
    // SAFETY: the helper touches no memory.
    let now = unsafe { bpf_ktime_get_ns() };
    if !has_room(bits, now) || !has_room(frames, now) {
        return REFUSED;
    }
    let (by_bits, by_frames) = (pay(bits, bytes << 3, now), pay(frames, packets, now));
    if by_bits > by_frames { by_bits } else { by_frames }
}

#[inline(always)]
fn has_room(bucket: *const Bucket, now: u64) -> bool {
    // SAFETY: part of a map entry that [`macvlan_spend`] holds.
    let read = unsafe { bucket.read_volatile() };
    read.has_room(read.paid, now)
}

/// Moves the clock on; gives when the frame would leave.
///
/// A bucket that ran full is set to now. Another CPU may have charged it between: its frame is free
/// then, as it would have been with the credit that is thrown away.
#[inline(always)]
fn pay(bucket: *mut Bucket, amount: u64, now: u64) -> u64 {
    // SAFETY: part of a map entry that [`macvlan_spend`] holds.
    let read = unsafe { bucket.read_volatile() };
    if read.rate == 0 {
        return 0;
    }
    // SAFETY: as above.
    let paid = unsafe { &raw mut (*bucket).paid };
    let begin = begins(read.paid, now);
    if begin != read.paid {
        // SAFETY: one aligned word.
        unsafe { paid.write_volatile(begin) };
    }
    // SAFETY: as above. Without a use of what it gives this is the add that every kernel knows.
    unsafe { atomic_xadd::<u64, u64, { AtomicOrdering::Relaxed }>(paid, read.time_of(amount)) };
    begin
}
