//! Whether two tools that measure the same in turn agree, on a machine that does other work, too.

use macvlan_tests::measure::Spread;

/// How far from 1 the ratio of the two may be.
pub const TOLERANCE: f64 = 0.10;

/// Rounds that are always made, and the most that a busy machine gets to come to a middle.
const ROUNDS: usize = 5;
const MOST_ROUNDS: usize = 15;

/// What the rounds so far say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// The two agree.
    Agree,
    /// Another round is to tell.
    Undecided,
    /// They do not, and there are no more rounds.
    Differ,
}

/// Judges the ratios of all rounds so far: their median must be near 1.
pub fn judge(ratios: &[f64]) -> Verdict {
    let is_near =
        Spread::of(ratios.iter().copied()).is_some_and(|spread| (spread.median - 1.0).abs() <= TOLERANCE);
    match ratios.len() {
        few if few < ROUNDS => Verdict::Undecided,
        _ if is_near => Verdict::Agree,
        some if some < MOST_ROUNDS => Verdict::Undecided,
        _ => Verdict::Differ,
    }
}

/// Ratios of `count` rounds, spread evenly over `spread` around a middle.
#[cfg(test)]
fn around(middle: f64, spread: f64, count: usize) -> Vec<f64> {
    let step = spread / (count - 1) as f64;
    (0..count).map(|round| middle - spread / 2.0 + step * round as f64).collect()
}

#[test]
fn few_rounds_say_nothing() {
    assert_eq!(judge(&[]), Verdict::Undecided);
    assert_eq!(judge(&[1.0; 4]), Verdict::Undecided);
    assert_eq!(judge(&[1.0; 5]), Verdict::Agree);
}

#[test]
fn a_median_within_the_tolerance_is_enough_and_one_outside_asks_for_more() {
    for middle in [0.905, 1.0, 1.095] {
        assert_eq!(judge(&around(middle, 0.3, 5)), Verdict::Agree, "{middle}");
    }
    for middle in [0.89, 1.11] {
        assert_eq!(judge(&around(middle, 0.0, 14)), Verdict::Undecided, "{middle}");
        assert_eq!(judge(&around(middle, 0.0, 15)), Verdict::Differ, "{middle}");
    }
}

#[test]
fn rounds_that_are_all_over_the_place_agree_with_nothing() {
    let torn: Vec<f64> = (0..15).map(|round| if round < 7 { 0.5 } else { 1.5 }).collect();
    assert_eq!(judge(&torn), Verdict::Differ);
}
