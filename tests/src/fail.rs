//! Failing with a sentence, and waiting without sleeping blindly.

use std::{
    fmt::Display,
    thread,
    time::{Duration, Instant},
};

/// How long anything may take before a test gives up on it; generous, as machines are slow at times.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// How long anything may take where this runs: [`PATIENCE`], or the seconds in
/// `MACVLAN_TESTS_PATIENCE`, as an emulated machine needs it.
pub fn patience() -> Duration {
    let seconds = std::env::var("MACVLAN_TESTS_PATIENCE").ok().and_then(|text| text.parse().ok());
    seconds.map_or(PATIENCE, Duration::from_secs)
}

/// Ends the test when something it needs did not work.
pub trait OrFail<T> {
    /// The value, or a panic "cannot `what`: ...".
    fn or_fail(self, what: impl Display) -> T;
}

impl<T, E: Display> OrFail<T> for Result<T, E> {
    #[track_caller]
    fn or_fail(self, what: impl Display) -> T {
        match self {
            Ok(value) => value,
            Err(error) => panic!("cannot {what}: {error:#}"),
        }
    }
}

impl<T> OrFail<T> for Option<T> {
    #[track_caller]
    fn or_fail(self, what: impl Display) -> T {
        match self {
            Some(value) => value,
            None => panic!("cannot {what}: there is none"),
        }
    }
}

/// Asks until `ready` gives a value.
///
/// # Panics
///
/// When [`patience`] runs out first.
#[track_caller]
pub fn wait_for<T>(what: impl Display, mut ready: impl FnMut() -> Option<T>) -> T {
    let (start, patience) = (Instant::now(), patience());
    loop {
        if let Some(value) = ready() {
            return value;
        }
        assert!(start.elapsed() < patience, "waited {patience:?} in vain for {what}");
        thread::sleep(Duration::from_millis(2));
    }
}
