//! Crash points: where tests stop the program dead, to see that the next command repairs what is left,
//! or let a step fail, to see that the same command takes everything back.
//!
//! Compiled with the feature `crash-points` alone, which no release has. Such a program counts the
//! points that it passes. At the one whose number is in `MACVLAN_CTL_CRASH_AT` it ends as by `kill -9`:
//! nothing is flushed, undone or dropped. Of those where a step can fail, which are counted by themselves,
//! the one whose number is in `MACVLAN_CTL_FAIL_AT` gives an error.

/// Where the number of the point is at which the program stops dead, the first one being 1.
#[cfg(feature = "crash-points")]
pub const VARIABLE: &str = "MACVLAN_CTL_CRASH_AT";

/// Where the number of the point is at which a step fails, the first one being 1.
#[cfg(feature = "crash-points")]
pub const FAIL_VARIABLE: &str = "MACVLAN_CTL_FAIL_AT";

/// A point right after `step`, which may be said to have failed although it was done: whoever takes it must
/// not rely on nothing having changed then.
///
/// # Errors
///
/// The step is to fail, for a test.
pub fn point(step: &str) -> anyhow::Result<()> {
    stop(step);
    fail("after", step)
}

/// A point right after `step`, which cannot fail.
#[cfg(not(feature = "crash-points"))]
#[inline(always)]
pub fn stop(_step: &str) {}

/// A point right after `step`, which cannot fail.
#[cfg(feature = "crash-points")]
pub fn stop(step: &str) {
    use std::{
        io::Write as _,
        process,
        sync::atomic::{AtomicU64, Ordering},
    };

    static PASSED: AtomicU64 = AtomicU64::new(0);

    let number = PASSED.fetch_add(1, Ordering::Relaxed) + 1;
    if wanted(VARIABLE) == Some(number) {
        // Nobody may read it: that is no reason to go on.
        let _ = writeln!(std::io::stderr(), "crash point {number}: after {step}");
        // SAFETY: takes and gives back integers.
        unsafe { libc::raise(libc::SIGKILL) };
        // The signal ends this thread as well, a moment later at most.
        process::abort();
    }
}

/// A point right before `step`, which is not taken where it fails.
///
/// # Errors
///
/// The step is to fail, for a test.
pub fn before(step: &str) -> anyhow::Result<()> {
    fail("before", step)
}

#[cfg(not(feature = "crash-points"))]
#[inline(always)]
const fn fail(_when: &str, _step: &str) -> anyhow::Result<()> {
    Ok(())
}

#[cfg(feature = "crash-points")]
fn fail(when: &str, step: &str) -> anyhow::Result<()> {
    use std::{
        io::Write as _,
        sync::atomic::{AtomicU64, Ordering},
    };

    static PASSED: AtomicU64 = AtomicU64::new(0);

    let number = PASSED.fetch_add(1, Ordering::Relaxed) + 1;
    if wanted(FAIL_VARIABLE) != Some(number) {
        return Ok(());
    }
    // Not every error is told: some are answered by another way.
    let _ = writeln!(std::io::stderr(), "fail point {number}: {when} {step}");
    anyhow::bail!("fail point {number}: {when} {step}")
}

#[cfg(feature = "crash-points")]
fn wanted(variable: &str) -> Option<u64> {
    std::env::var(variable).ok().and_then(|text| text.parse().ok())
}
