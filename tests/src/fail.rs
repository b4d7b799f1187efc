//! Failing with a sentence, and waiting without sleeping blindly.

use std::{
    fmt::Display,
    thread,
    time::{Duration, Instant},
};

/// How long anything may take before a test gives up on it; generous, as machines are slow at times.
pub const PATIENCE: Duration = Duration::from_secs(60);

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
            Err(error) => panic!("cannot {what}: {error}"),
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
/// When [`PATIENCE`] runs out first.
#[track_caller]
pub fn wait_for<T>(what: impl Display, mut ready: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(value) = ready() {
            return value;
        }
        assert!(start.elapsed() < PATIENCE, "waited {PATIENCE:?} in vain for {what}");
        thread::sleep(Duration::from_millis(2));
    }
}
