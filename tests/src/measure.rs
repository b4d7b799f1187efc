//! Figures that are compared within one run.

use std::fmt;

/// What a ratio must reach: what is aimed at (`MACVLAN_TESTS_AIMS=1`), or what a busy shared machine
/// can hold.
pub fn bound(aimed_at: f64, held: f64) -> f64 {
    let aims = std::env::var_os("MACVLAN_TESTS_AIMS").is_some();
    if aims { aimed_at } else { held }
}

/// A median, and the least and most that it came from.
#[derive(Debug, Clone, Copy)]
pub struct Spread {
    /// The one in the middle.
    pub median: f64,
    /// The smallest.
    pub least: f64,
    /// The largest.
    pub most: f64,
}

impl Spread {
    /// Of these values, of which there is at least one.
    ///
    /// # Panics
    ///
    /// When there is none: a mistake in a test.
    pub fn of(mut values: Vec<f64>) -> Self {
        values.sort_by(f64::total_cmp);
        Self { median: values[values.len() / 2], least: values[0], most: values[values.len() - 1] }
    }

    /// Of the ratios of what was measured in the same round.
    ///
    /// # Panics
    ///
    /// As [`of`](Self::of).
    pub fn of_ratios(values: &[f64], bases: &[f64]) -> Self {
        Self::of(values.iter().zip(bases).map(|(value, base)| value / base).collect())
    }
}

impl fmt::Display for Spread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.3} ({:.3} to {:.3})", self.median, self.least, self.most)
    }
}
