//! Whether two tools that measure the same in turn agree, on a machine that does other work, too.

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

/// Judges the ratios of all rounds so far.
///
/// While there may be another round, their median must be near 1. After the last it is enough that the
/// quartile nearer to 1 is: what one of the two does between its calls comes and goes with the machine's
/// load, and moves a part of the rounds to one side. A difference in what the two count is in every round,
/// and moves both quartiles.
pub fn judge(ratios: &[f64]) -> Verdict {
    let mut sorted = ratios.to_vec();
    sorted.sort_by(f64::total_cmp);
    let is_near = |share| (quantile(&sorted, share) - 1.0).abs() <= TOLERANCE;
    match ratios.len() {
        few if few < ROUNDS => Verdict::Undecided,
        _ if is_near(0.5) => Verdict::Agree,
        some if some < MOST_ROUNDS => Verdict::Undecided,
        _ if is_near(0.25) || is_near(0.75) => Verdict::Agree,
        _ => Verdict::Differ,
    }
}

/// The value below which this share of sorted ones lies, between its neighbours where it falls between
/// two.
fn quantile(sorted: &[f64], share: f64) -> f64 {
    let place = share * (sorted.len() - 1) as f64;
    let [below, above] = [place.floor(), place.ceil()].map(|place| sorted[place as usize]);
    below + (above - below) * place.fract()
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
fn the_last_round_allows_for_the_noise_that_was_there() {
    // As a shared machine had it: the median at 1.108.
    assert_eq!(judge(&around(1.108, 0.1, 15)), Verdict::Agree);
    assert_eq!(judge(&around(0.892, 0.1, 15)), Verdict::Agree);
    // Rounds that are all over the place agree with nothing.
    let torn: Vec<f64> = (0..15).map(|round| if round < 7 { 0.5 } else { 1.5 }).collect();
    assert_eq!(judge(&torn), Verdict::Differ);
}

#[test]
fn a_figure_that_is_a_fifth_off_fails() {
    for middle in [0.8, 1.2] {
        // Over as wide a range as busy machines give: a third from the least to the most.
        for spread in [0.0, 0.1, 0.2, 0.33] {
            assert_eq!(judge(&around(middle, spread, 15)), Verdict::Differ, "{middle} in {spread}");
        }
    }
}

#[test]
fn quartiles_lie_between_their_neighbours() {
    let sorted = [1.0, 2.0, 3.0, 4.0];
    assert_eq!(
        [0.0, 0.25, 0.5, 0.75, 1.0].map(|share| quantile(&sorted, share)),
        [1.0, 1.75, 2.5, 3.25, 4.0]
    );
}
