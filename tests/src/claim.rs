//! What the documents say of a ratio, held against rounds of a noisy machine.
//!
//! How fast two contenders are in one round is in doubt on a machine that does other work; which side of a value the median of
//! their ratios is on is not, once there are rounds enough. Half of all rounds are below the median, whatever the noise:
//! so the number of them below any value is that of heads among tosses of a coin, and gives bounds of the median that hold
//! with a known certainty (the sign test). A claim is refuted where even the better bound is worse than it by
//! `TOLERANCE`. The quieter the machine, the nearer are the bounds, and the less a claim may be off.

use std::fs;

use macvlan_bench::bench::rounds::Spread;

use crate::{cli::workspace, fail::OrFail as _};

/// By which share another machine of the kind, or another day of the same, may be worse than what is said.
const TOLERANCE: f64 = 0.05;

/// How likely a set of rounds refutes a claim that just holds.
const ERROR: f64 = 0.01;

/// What makes one contender slower and not the other for a whole set is unlucky; three sets in a row are not.
const SETS: usize = 3;

/// What is said of the ratio of two contenders.
#[derive(Debug, Clone)]
pub struct Claim {
    what: String,
    /// Numbers of the contender, and of the one that it is compared with.
    of: (usize, usize),
    said: f64,
    /// More is better.
    higher: bool,
}

impl Claim {
    /// The ratio of one contender to another is so much or more.
    pub fn at_least(said: f64, of: (usize, usize), what: &str) -> Self {
        Self { what: what.to_owned(), of, said, higher: true }
    }

    /// The ratio of one contender to another is so much or less.
    pub fn at_most(said: f64, of: (usize, usize), what: &str) -> Self {
        Self { what: what.to_owned(), of, said, higher: false }
    }

    /// Why these figures refute it, if they do.
    #[track_caller]
    fn refuted(&self, figures: &[Vec<f64>]) -> Option<String> {
        let ratios = figures[self.of.0].iter().zip(&figures[self.of.1]).map(|(one, other)| one / other);
        let mut ratios: Vec<f64> = ratios.filter(|ratio| ratio.is_finite()).collect();
        ratios.sort_by(f64::total_cmp);
        let spread = Spread::of(ratios.iter().copied()).or_fail("compare figures");
        let (least, most) =
            median_bounds(&ratios).or_fail(format!("hold a claim by {} rounds", ratios.len()));
        let is_refuted = match self.higher {
            true => most < self.said * (1.0 - TOLERANCE),
            false => least > self.said * (1.0 + TOLERANCE),
        };
        let wanted = if self.higher { "at least" } else { "at most" };
        is_refuted.then(|| {
            format!(
                "{}: {spread}, its median between {least:.3} and {most:.3}, where {wanted} {} is said",
                self.what, self.said
            )
        })
    }
}

/// Measures a set of rounds (as by [`rounds`](crate::measure::rounds)) and gives the figures of all contenders.
///
/// # Panics
///
/// A claim is refuted by each of several sets of rounds.
#[track_caller]
pub fn hold<const N: usize>(claims: &[Claim], mut measure: impl FnMut() -> [Vec<f64>; N]) -> [Vec<f64>; N] {
    let mut doubted: Vec<&Claim> = claims.iter().collect();
    let mut set = 1;
    loop {
        let figures = measure();
        let told: Vec<(&Claim, String)> =
            doubted.iter().filter_map(|claim| Some((*claim, claim.refuted(&figures)?))).collect();
        let text = told.iter().map(|(_, text)| text.as_str()).collect::<Vec<_>>().join("\n");
        if told.is_empty() {
            return figures;
        }
        assert!(set < SETS, "{text}");
        println!("once more: {text}");
        doubted = told.into_iter().map(|(claim, _)| claim).collect();
        set += 1;
    }
}

/// Between which of these sorted values the median of all there could be lies: one of the two bounds is wrong in [`ERROR`] of
/// all cases. `None` where there are too few values to say.
fn median_bounds(sorted: &[f64]) -> Option<(f64, f64)> {
    let rank = rank(sorted.len())?;
    Some((sorted[rank], sorted[sorted.len() - 1 - rank]))
}

/// How many of so many values, at the least, lie on each side of the median.
fn rank(count: usize) -> Option<usize> {
    // Of fair tosses, the share of outcomes with fewer than so many heads.
    let (mut fewer, mut exactly) = (0.0, 0.5_f64.powi(i32::try_from(count).ok()?));
    let mut heads = 0;
    while heads < count {
        fewer += exactly;
        if fewer > ERROR {
            break;
        }
        exactly *= (count - heads) as f64 / (heads + 1) as f64;
        heads += 1;
    }
    heads.checked_sub(1)
}

/// What a document of the workspace says in a row of a table: the numbers of a column, up to the brackets with their spread.
///
/// # Panics
///
/// There is no such row, or no number in it.
#[track_caller]
pub fn said(document: &str, row: &str, column: usize) -> (f64, f64) {
    let text = fs::read_to_string(workspace().join(document)).or_fail(format!("read {document}"));
    let begins = |line: &&str| line.strip_prefix("| ").is_some_and(|rest| rest.starts_with(row));
    let line = text.lines().find(begins).or_fail(format!("find {row:?} in {document}"));
    let cell =
        line.split('|').nth(column + 1).or_fail(format!("find column {column} of {row:?} in {document}"));
    let cell = cell.split('(').next().unwrap_or_default();
    let numbers: Vec<f64> = cell.split_whitespace().filter_map(|word| word.parse().ok()).collect();
    let spread =
        Spread::of(numbers).or_fail(format!("find a number in column {column} of {row:?} in {document}"));
    (spread.least, spread.most)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Rng;

    #[test]
    fn bounds_of_the_median_are_those_of_the_sign_test() {
        // From tables of the sign test, one-sided, at 1 %: the largest number of signs that is significant.
        for (count, significant) in [(7, 0), (8, 0), (11, 1), (20, 4), (41, 12)] {
            assert_eq!(rank(count), Some(significant), "{count}");
        }
        assert_eq!((rank(6), rank(0)), (None, None));
        let values: Vec<f64> = (0..11).map(f64::from).collect();
        assert_eq!(median_bounds(&values), Some((1.0, 9.0)));
    }

    /// A machine of two busy processors: each figure is off by some tenths, now and then by far more, and always to the worse.
    fn noisy(rng: &mut Rng, truth: f64) -> f64 {
        let mut unit = || rng.below(1_000_000) as f64 / 1e6;
        let usual = (0..6).map(|_| unit()).sum::<f64>() / 6.0;
        let stray = if unit() < 0.1 { 1.0 + 2.0 * unit() } else { 1.0 };
        truth / (0.75 + 0.5 * usual) / stray
    }

    /// How many of a thousand machines refute, set after set, that a contender has `said` of another when it has `truth` of it.
    fn refuted(truth: f64, said: f64, count: usize) -> usize {
        let mut rng = Rng::new(7);
        let claim = Claim::at_least(said, (0, 1), "");
        let mut set = || {
            let [one, other] =
                [truth, 1.0].map(|truth| (0..count).map(|_| noisy(&mut rng, truth)).collect::<Vec<_>>());
            claim.refuted(&[one, other]).is_some()
        };
        (0..1000).filter(|_| (0..SETS).all(|_| set())).count()
    }

    #[test]
    fn what_is_true_is_never_refuted_and_what_is_untrue_by_much_always() {
        for count in [11, 21, 41] {
            assert_eq!(refuted(0.95, 0.95, count), 0);
            assert_eq!(refuted(0.91, 0.95, count), 0, "a bit worse is another day");
        }
        assert!(refuted(0.75, 0.95, 41) > 990);
        assert!(refuted(0.65, 0.95, 21) > 900);
    }

    #[test]
    fn on_a_quiet_machine_little_is_enough() {
        let claim = |figures: [f64; 2]| {
            let figures = figures.map(|figure| vec![figure; 11]);
            (
                Claim::at_least(0.95, (0, 1), "").refuted(&figures).is_some(),
                Claim::at_most(1.0, (0, 1), "").refuted(&figures).is_some(),
            )
        };
        assert_eq!(claim([0.95, 1.0]), (false, false));
        assert_eq!(claim([0.90, 1.0]), (true, false));
        assert_eq!(claim([1.06, 1.0]), (false, true));
    }

    #[test]
    fn a_claim_that_one_set_refutes_is_measured_again_and_fails_when_all_do() {
        let mut calls = 0;
        let claim = [Claim::at_least(1.0, (0, 1), "ours of theirs")];
        let figures = |ours| [vec![ours; 8], vec![1.0; 8]];
        let held = hold(&claim, || {
            calls += 1;
            figures(if calls == 1 { 0.5 } else { 1.0 })
        });
        assert_eq!((calls, held), (2, figures(1.0)));
        let failed = std::panic::catch_unwind(|| hold(&claim, || figures(0.5)));
        let text = *failed.unwrap_err().downcast::<String>().unwrap();
        assert!(
            text.starts_with("ours of theirs: 0.500") && text.ends_with("where at least 1 is said"),
            "{text}"
        );
    }

    #[test]
    fn what_is_said_is_read_from_the_documents() {
        assert_eq!(
            said("README.md", "Host to child, one TCP stream, against a macvlan shim", 1),
            (1.00, 1.00)
        );
        let (least, most) = said("README.md", "Adopting 1,000 children", 1);
        assert!(least <= most && most < 1.0);
        assert!(said("docs/performance.md", "unknown unicast absorbed, TC", 4).0 < 0.5);
    }
}
