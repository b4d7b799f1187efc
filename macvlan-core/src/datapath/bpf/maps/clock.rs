//! The clocks that times in maps are of.

use anyhow::{Context as _, Result};
use nix::time::{ClockId, clock_gettime};

/// Nanoseconds since the machine was started, as `bpf_ktime_get_ns` counts them.
///
/// # Errors
///
/// The clock cannot be read.
pub fn monotonic() -> Result<u64> {
    nanoseconds(ClockId::CLOCK_MONOTONIC)
}

/// The same, with the time that the machine slept.
///
/// # Errors
///
/// The clock cannot be read.
pub fn since_boot() -> Result<u64> {
    nanoseconds(ClockId::CLOCK_BOOTTIME)
}

fn nanoseconds(clock: ClockId) -> Result<u64> {
    let now = clock_gettime(clock).context("cannot read the clock")?;
    let seconds = u64::try_from(now.tv_sec()).unwrap_or_default();
    Ok(seconds * 1_000_000_000 + u64::try_from(now.tv_nsec()).unwrap_or_default())
}
