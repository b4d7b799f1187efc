//! Crash points: where tests stop the program dead, to see that the next command repairs what is left.
//!
//! Compiled with the feature `crash-points` alone, which no release has. Such a program counts the
//! points that it passes and, at the one whose number is in `MACVLAN_CTL_CRASH_AT`, ends as by
//! `kill -9`: nothing is flushed, undone or dropped.

/// Where the number of the point is, the first one being 1.
#[cfg(feature = "crash-points")]
pub const VARIABLE: &str = "MACVLAN_CTL_CRASH_AT";

/// A point right after `step`. Without the feature it is nothing.
#[cfg(not(feature = "crash-points"))]
#[inline(always)]
pub fn point(_step: &str) {}

/// A point right after `step`.
#[cfg(feature = "crash-points")]
pub fn point(step: &str) {
    use std::{
        io::Write as _,
        process,
        sync::atomic::{AtomicU64, Ordering},
    };

    static PASSED: AtomicU64 = AtomicU64::new(0);

    let number = PASSED.fetch_add(1, Ordering::Relaxed) + 1;
    let wanted = std::env::var(VARIABLE).ok().and_then(|text| text.parse().ok());
    if wanted == Some(number) {
        // Nobody may read it: that is no reason to go on.
        let _ = writeln!(std::io::stderr(), "crash point {number}: after {step}");
        // SAFETY: takes and gives back integers.
        unsafe { libc::raise(libc::SIGKILL) };
        // The signal ends this thread as well, a moment later at most.
        process::abort();
    }
}
