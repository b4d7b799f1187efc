//! Counters are charged in one place, from one verdict.

use macvlan_common::{
    counters::Count,
    decide::{Action, Total, Verdict},
};

use crate::maps::{Child, totals};

/// Adds a frame of this size to every counter that the verdict names.
#[inline(always)]
pub fn charge(verdict: &Verdict<Child>, size: Count) {
    if let Some((child, path)) = verdict.tx {
        // SAFETY: see [`Child`].
        unsafe { (*child).counters.tx[path as usize].add(size) };
    }
    if let Some((child, path)) = verdict.rx {
        // SAFETY: see [`Child`].
        unsafe { (*child).counters.rx[path as usize].add(size) };
    }
    if let Action::Drop(reason) = verdict.action {
        if let Some(child) = verdict.dropped {
            // SAFETY: see [`Child`].
            unsafe { (*child).counters.drops[reason as usize].add(size) };
        } else if let Some(totals) = totals() {
            // SAFETY: a per-CPU array element: it never moves, and only this CPU writes it.
            unsafe { (*totals).drops[reason as usize].add(size) };
        }
    }
    if let Some(total) = verdict.total
        && let Some(totals) = totals()
    {
        // SAFETY: as above.
        let totals = unsafe { &mut *totals };
        match total {
            Total::UnknownUnicast => totals.unknown_unicast.add(size),
            Total::Flood(origin) => totals.flood[origin as usize].add(size),
        }
    }
}

/// Counts a copy of a broadcast that could not be made.
#[cold]
pub fn charge_failed_copy(size: Count) {
    if let Some(totals) = totals() {
        // SAFETY: a per-CPU array element: it never moves, and only this CPU writes it.
        unsafe { (*totals).copy_failed.add(size) };
    }
}
