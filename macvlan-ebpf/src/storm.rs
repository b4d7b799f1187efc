//! The storm guard: broadcast and multicast beyond a rate is dropped before the kernel makes copies
//! of it.

use aya_ebpf::{helpers::bpf_ktime_get_ns, macros::map, maps::Array};
use macvlan_common::limit::Pace;

use crate::maps::Child;

/// The rate; each bucket has it to itself.
#[map]
static MACVLAN_PACE: Array<Pace> = Array::with_max_entries(1, 0);

/// The bucket of the wire, then those of the children by their slots.
#[map]
static MACVLAN_STORM: Array<u64> = Array::with_max_entries(4096 + 1, 0);

/// Whether a broadcast or multicast of this child or, without one, from the wire is too much.
#[inline(always)]
pub fn is_too_much(child: Option<Child>) -> bool {
    let bucket = match child {
        // SAFETY: see [`Child`].
        Some(child) => unsafe { (*child.as_ptr()).slot }.wrapping_add(1),
        None => 0,
    };
    macvlan_storm(bucket) != 0
}

#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn macvlan_storm(bucket: u32) -> u32 {
    let (Some(pace), Some(bucket)) = (MACVLAN_PACE.get(0), MACVLAN_STORM.get_ptr_mut(bucket)) else {
        return 0;
    };
    if pace.interval == 0 {
        return 0;
    }
    // SAFETY: an array element never moves, and is one aligned word.
    let full = unsafe { bucket.read_volatile() };
    // SAFETY: the helper touches no memory.
    let now = unsafe { bpf_ktime_get_ns() };
    let Some(next) = pace.admit(full, now) else { return 1 };
    // SAFETY: as above.
    unsafe { bucket.write_volatile(next) };
    0
}
