//! The storm guard and the rates of children.

use macvlan_common::{config::Config, counters::Count, verdict::Verdict};

use crate::{maps::Child, rate, storm};

/// The verdict, or the drop that takes its place; and when the frame is to leave, as
/// [`rate::send`] says. The sender's rate is charged first, and stays charged wherever the frame ends.
#[inline(always)]
pub fn limited(verdict: Verdict<Child>, config: &Config, size: Count) -> (Verdict<Child>, u64) {
    if config.guards_storms() && verdict.may_be_storm() && storm::is_too_much(verdict.tx) {
        return (Verdict::storm(verdict.tx), 0);
    }
    if !config.limits() {
        return (verdict, 0);
    }
    let mut leaves = 0;
    if let Some(child) = verdict.tx {
        leaves = rate::send(child, verdict.path, size);
        if leaves == rate::REFUSED {
            return (Verdict::beyond_rate(child), 0);
        }
    }
    if let Some(child) = verdict.rx
        && rate::is_too_much(child, verdict.path, size)
    {
        return (Verdict::beyond_rate(child), 0);
    }
    (verdict, leaves)
}
