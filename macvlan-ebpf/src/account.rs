//! Counters are charged in one place, from one verdict.

use core::hint::black_box;

use macvlan_common::{
    counters::{Count, DropReason, Path},
    plain::{Hairpinned, Siblings},
    verdict::{Total, Verdict},
};

use crate::maps::{Child, by_slot, totals};

/// Adds a frame of this size to every counter that the verdict names.
#[inline(always)]
pub fn charge(verdict: &Verdict<Child>, size: Count) {
    if let Some(child) = verdict.tx {
        // SAFETY: see [`Child`].
        add(unsafe { &mut (*child.as_ptr()).counters.tx }, verdict.path as usize, size);
    }
    if let Some(child) = verdict.rx {
        // SAFETY: see [`Child`].
        add(unsafe { &mut (*child.as_ptr()).counters.rx }, verdict.path as usize, size);
    }
    if let Some(reason) = verdict.action.drop_reason() {
        if let Some(child) = verdict.dropped {
            // SAFETY: see [`Child`].
            add(unsafe { &mut (*child.as_ptr()).counters.drops }, reason as usize, size);
        } else if let Some(totals) = totals() {
            // SAFETY: a per-CPU array element: it never moves, and only this CPU writes it.
            add(unsafe { &mut (*totals).drops }, reason as usize, size);
        }
    }
    if let Some(total) = verdict.total
        && let Some(totals) = totals()
    {
        // SAFETY: as above.
        let totals = unsafe { &mut *totals };
        match total {
            Total::UnknownUnicast => totals.unknown_unicast.add(size),
            Total::Flood(origin) => add(&mut totals.flood, origin as usize, size),
        }
    }
}

/// Adds a frame of this size to what the child at a slot received from the wire by the short way.
#[inline(always)]
pub fn charge_wire_rx(slot: u32, size: Count) {
    if let Some(counters) = by_slot(slot) {
        // SAFETY: a per-CPU array element: it never moves, and only this CPU writes it.
        unsafe { (*counters).wire_rx.add(size) };
    }
}

/// Adds a frame of this size to what a child exchanged with the host by the short way.
#[inline(always)]
pub fn charge_hairpinned(Hairpinned { slot, to_host }: Hairpinned, size: Count) {
    if let Some(counters) = by_slot(slot) {
        // SAFETY: as above.
        let counters = unsafe { &mut *counters };
        if to_host { counters.host_tx.add(size) } else { counters.host_rx.add(size) }
    }
}

/// Adds a frame of this size to what one child sent another by the short way.
#[inline(always)]
pub fn charge_siblings(Siblings { from, to }: Siblings, size: Count) {
    if let Some(counters) = by_slot(from) {
        // SAFETY: as above.
        unsafe { (*counters).sibling_tx.add(size) };
    }
    if let Some(counters) = by_slot(to) {
        // SAFETY: as above.
        unsafe { (*counters).sibling_rx.add(size) };
    }
}

/// Adds a frame of this size to what a child received.
#[inline(always)]
pub fn charge_rx(child: Child, path: Path, size: Count) {
    // SAFETY: see [`Child`].
    add(unsafe { &mut (*child.as_ptr()).counters.rx }, path as usize, size);
}

/// Adds a frame of this size to what was dropped of a child.
#[inline(always)]
pub fn charge_drop(child: Child, reason: DropReason, size: Count) {
    // SAFETY: see [`Child`].
    add(unsafe { &mut (*child.as_ptr()).counters.drops }, reason as usize, size);
}

/// The index always fits, but only the compiler knows: it would leave out the check by which the
/// verifier learns of it, wherever the index is no constant any more.
#[inline(always)]
fn add<const N: usize>(counts: &mut [Count; N], index: usize, size: Count) {
    if let Some(count) = counts.get_mut(black_box(index)) {
        count.add(size);
    }
}

/// Counts a copy of a broadcast that could not be made.
#[inline(always)]
pub fn charge_failed_copy(size: Count) {
    if let Some(totals) = totals() {
        // SAFETY: a per-CPU array element: it never moves, and only this CPU writes it.
        unsafe { (*totals).copy_failed.add(size) };
    }
}
