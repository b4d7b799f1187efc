//! `bench-gate`: measures this version and an earlier one in turns, and compares their ratios.
//!
//! No figure is written down: another machine, or another day of the same, would be taken for a change of ours.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, bail, ensure};
use clap::Args;
use serde::Deserialize;

use crate::{
    artifacts,
    command::{cargo, read, run},
    machine,
};

/// Where the earlier version is checked out and built. What is built stays, for the next time.
const PLACE: &str = "target/bench-gate";

/// By how much of a ratio's earlier value it may be worse in the middle.
const MARGIN: f64 = 0.01;

/// In so many pairs a ratio that is no worse may be better than the earlier one by luck. With 11 pairs this
/// says in 6 of 1,000 comparisons of equals that one is worse, and twice in a row in 4 of 100,000.
const LUCKY_PAIRS: usize = 1;

/// What to do.
#[derive(Args)]
pub struct Options {
    /// The version to compare with, as `git` names it
    #[arg(long, default_value = "HEAD^")]
    base: String,
    /// How often both versions are measured; fewer tell luck from nothing
    #[arg(long, default_value_t = 11, value_parser = clap::value_parser!(u8).range(9..))]
    pairs: u8,
}

/// What a run gave: ratios by workload, path, contender and base.
type Ratios = BTreeMap<String, Ratio>;

/// A ratio.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Ratio {
    value: f64,
    /// More is better.
    higher: bool,
}

/// What the two versions gave, one right after the other.
struct Pair {
    base: Ratios,
    new: Ratios,
}

/// What is read of a report.
#[derive(Deserialize)]
struct Report {
    contenders: Vec<Contender>,
    figures: Vec<Figure>,
}

#[derive(Deserialize)]
struct Contender {
    name: String,
    ours: bool,
}

#[derive(Deserialize)]
struct Figure {
    workload: String,
    path: Option<String>,
    contender: String,
    better: String,
    ratios: BTreeMap<String, Spread>,
}

#[derive(Deserialize)]
struct Spread {
    median: f64,
}

/// Measures both versions in turns.
///
/// # Errors
/// A ratio is worse, in two sets of pairs, than luck explains; or nothing can be measured or built.
pub fn gate(root: &Path, options: &Options) -> Result<()> {
    machine::require_root()?;
    let checkout = Checkout::of(root, &options.base)?;
    let base = build(&checkout.place, Some(&root.join(PLACE).join("build")))?;
    let new = build(root, None)?;
    compare(options.pairs, |first_new| {
        // Whichever comes first leaves the machine warmer.
        let [one, other] = if first_new { [&new, &base] } else { [&base, &new] };
        let [one, other] = [measure(one)?, measure(other)?];
        Ok(if first_new { Pair { base: other, new: one } } else { Pair { base: one, new: other } })
    })
}

/// Compares, and once more where something seems worse: one set of pairs may be unlucky.
fn compare(pairs: u8, mut measure: impl FnMut(bool) -> Result<Pair>) -> Result<()> {
    let mut set = || (0..pairs).map(|number| measure(number % 2 == 1)).collect::<Result<Vec<_>>>();
    let first = worse(&set()?)?;
    if first.is_empty() {
        return Ok(());
    }
    eprintln!("once more: {}", first.values().cloned().collect::<Vec<_>>().join("; "));
    let again = worse(&set()?)?;
    let both: Vec<&str> =
        again.iter().filter(|(name, _)| first.contains_key(*name)).map(|(_, text)| text.as_str()).collect();
    ensure!(both.is_empty(), "{}", both.join("\n       "));
    Ok(())
}

/// An earlier version's files, until this is dropped.
struct Checkout<'root> {
    root: &'root Path,
    place: PathBuf,
}

impl<'root> Checkout<'root> {
    fn of(root: &'root Path, revision: &str) -> Result<Self> {
        let checkout = Self { root, place: root.join(PLACE).join("base") };
        // What a run that was killed has left.
        if checkout.place.exists() {
            checkout.remove()?;
        }
        let mut add = git(root);
        add.args(["worktree", "add", "--quiet", "--force", "--detach"]).arg(&checkout.place).arg(revision);
        run(&mut add).with_context(|| format!("cannot check out '{revision}'"))?;
        Ok(checkout)
    }

    fn remove(&self) -> Result<()> {
        run(git(self.root).args(["worktree", "remove", "--force"]).arg(&self.place))
    }
}

impl Drop for Checkout<'_> {
    fn drop(&mut self) {
        if let Err(error) = self.remove() {
            eprintln!("cannot remove the earlier version: {error:#}");
        }
    }
}

fn git(root: &Path) -> Command {
    let mut git = Command::new("git");
    git.arg("-C").arg(root);
    git
}

/// Builds the program of the version in `root`.
fn build(root: &Path, target: Option<&Path>) -> Result<PathBuf> {
    let mut build = cargo(root);
    build.current_dir(root).args(["build", "--release", "--package", "macvlan-ctl", "--bin", "macvlan-ctl"]);
    if let Some(target) = target {
        build.arg("--target-dir").arg(target);
    }
    let messages = read(build.arg("--message-format=json-render-diagnostics"))?;
    let built = artifacts::executables(&messages)?;
    let program = built.into_iter().find(|executable| executable.name == "macvlan-ctl");
    Ok(program.context("cargo built no macvlan-ctl")?.path)
}

fn measure(program: &Path) -> Result<Ratios> {
    let text = read(Command::new(program).args(["--json", "bench", "--quick"]))?;
    let report = serde_json::from_str(&text);
    Ok(ratios(&report.with_context(|| format!("cannot understand the report of '{}'", program.display()))?))
}

/// Our ratios in a report.
fn ratios(report: &Report) -> Ratios {
    let is_ours = |name: &str| report.contenders.iter().any(|one| one.ours && one.name == name);
    let ours = report.figures.iter().filter(|figure| is_ours(&figure.contender));
    let each = ours.flat_map(|figure| {
        let path = figure.path.as_deref().unwrap_or("any");
        figure.ratios.iter().map(move |(base, spread)| {
            let name = format!("{}, {path}: {} of {base}", figure.workload, figure.contender);
            (name, Ratio { value: spread.median, higher: figure.better == "higher" })
        })
    });
    each.collect()
}

/// What is worse in all pairs but the lucky ones, and by more than the margin in the middle, or is not measured
/// any more.
fn worse(pairs: &[Pair]) -> Result<BTreeMap<String, String>> {
    let Some(first) = pairs.first() else { bail!("nothing was measured") };
    ensure!(!first.base.is_empty(), "the earlier version measured nothing of ours beside another");
    let worse = first.base.keys().filter_map(|name| {
        let falls: Option<Vec<f64>> = pairs.iter().map(|pair| fall(pair, name)).collect();
        let Some(mut falls) = falls else {
            return Some((name.clone(), format!("{name}: not measured any more")));
        };
        falls.sort_by(f64::total_cmp);
        let (luckiest, middle) = (falls.get(LUCKY_PAIRS)?, falls.get(falls.len() / 2)?);
        let text = format!("{name}: worse by {:.1} % in the middle", middle * 100.0);
        (*luckiest > 0.0 && *middle > MARGIN).then(|| (name.clone(), text))
    });
    Ok(worse.collect())
}

/// By how much of its earlier value a ratio is worse.
fn fall(pair: &Pair, name: &str) -> Option<f64> {
    let (base, new) = (pair.base.get(name)?, pair.new.get(name)?);
    let change = (new.value - base.value) / base.value;
    Some(if new.higher { -change } else { change })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(value: f64, higher: bool) -> Ratios {
        [("a".to_owned(), Ratio { value, higher })].into()
    }

    fn pairs(new: &[f64], higher: bool) -> Vec<Pair> {
        new.iter().map(|value| Pair { base: one(1.0, higher), new: one(*value, higher) }).collect()
    }

    fn told(pairs: &[Pair]) -> Vec<String> {
        worse(pairs).unwrap().into_values().collect()
    }

    #[test]
    fn what_is_worse_in_all_pairs_but_one_is_worse() {
        assert_eq!(told(&pairs(&[0.9, 0.95, 0.8, 1.2, 0.9], true)), ["a: worse by 10.0 % in the middle"]);
        assert_eq!(told(&pairs(&[1.1, 1.05, 0.9, 1.2, 1.1], false)), ["a: worse by 10.0 % in the middle"]);
        assert!(told(&pairs(&[0.9, 1.05, 0.8, 1.2, 0.9], true)).is_empty(), "two pairs were better");
        assert!(told(&pairs(&[0.995, 0.992, 0.999], true)).is_empty(), "the margin");
        assert!(told(&pairs(&[2.0, 2.0, 2.0], true)).is_empty());
        assert!(told(&pairs(&[0.5, 0.5, 0.5], false)).is_empty());
    }

    #[test]
    fn what_is_not_measured_any_more_is_told_and_what_is_new_is_not() {
        let mut lost = pairs(&[1.0, 1.0, 1.0], true);
        lost[1].new.clear();
        assert_eq!(told(&lost), ["a: not measured any more"]);
        let mut more = pairs(&[1.0, 1.0, 1.0], true);
        more.iter_mut().for_each(|pair| pair.new.extend([("b".to_owned(), pair.new["a"])]));
        assert!(told(&more).is_empty());
        assert!(worse(&[]).is_err());
        assert!(worse(&[Pair { base: Ratios::new(), new: one(1.0, true) }]).is_err());
    }

    #[test]
    fn a_set_of_pairs_may_be_unlucky_and_two_are_not() {
        let run = |sets: [f64; 2]| {
            let mut orders = Vec::new();
            let told = compare(3, |first_new| {
                let value = sets[orders.len() / 3];
                orders.push(first_new);
                Ok(Pair { base: one(1.0, true), new: one(value, true) })
            });
            (told.map_err(|error| error.to_string()), orders)
        };
        let (told, orders) = run([0.9, 0.995]);
        assert_eq!((told, orders.len()), (Ok(()), 6));
        let (told, orders) = run([1.0, 0.0]);
        assert_eq!((told, orders), (Ok(()), vec![false, true, false]));
        assert_eq!(run([0.9, 0.8]).0.unwrap_err(), "a: worse by 20.0 % in the middle");
    }

    #[test]
    fn only_our_own_ratios_are_taken_from_a_report() {
        let text = r#"{"contenders": [{"name": "tc", "ours": true}, {"name": "bridge", "ours": false}],
            "figures": [
              {"workload": "flood", "path": null, "contender": "tc", "better": "higher", "unit": "1/s",
               "ratios": {"bridge": {"median": 2.5, "least": 2.0, "most": 3.0}}},
              {"workload": "flood", "path": null, "contender": "bridge", "better": "higher",
               "ratios": {"macvlan": {"median": 0.4, "least": 0.3, "most": 0.5}}}]}"#;
        let ratios = ratios(&serde_json::from_str(text).unwrap());
        assert_eq!(ratios.keys().collect::<Vec<_>>(), ["flood, any: tc of bridge"]);
        assert_eq!(ratios["flood, any: tc of bridge"], Ratio { value: 2.5, higher: true });
    }
}
