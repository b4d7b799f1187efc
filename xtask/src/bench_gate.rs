//! `bench-gate`: measures, and compares ratios with those that were written down.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, bail, ensure};
use clap::Args;
use serde::{Deserialize, Serialize};

use crate::{
    artifacts,
    command::{cargo, read},
    machine,
};

/// Where ratios are written down.
const BASELINE: &str = "macvlan-bench/benches/baseline.json";

/// Runs that a baseline is made of.
const RUNS: usize = 5;

/// No ratio is known better than this.
const LEAST_NOISE: f64 = 0.03;

/// What to do.
#[derive(Args)]
pub struct Options {
    /// Write down what is measured now, of several runs: the first time, and when a change is wanted
    #[arg(long)]
    record: bool,
    /// The file to compare with, or to write
    #[arg(long, default_value = BASELINE)]
    baseline: PathBuf,
}

/// What is written down of a ratio.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
struct Known {
    /// The middle of several runs.
    ratio: f64,
    /// How far a run may be from it.
    noise: f64,
    /// More is better.
    higher: bool,
}

/// Ratios by workload, path, contender and base.
type Baseline = BTreeMap<String, Known>;

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

/// Compares, or writes down.
///
/// # Errors
/// A ratio fell in two runs by more than its noise, or nothing can be measured.
pub fn gate(root: &Path, options: &Options) -> Result<()> {
    machine::require_root()?;
    let file = root.join(&options.baseline);
    ensure!(
        options.record || file.exists(),
        "nothing to compare with: make '{}' with --record on the machine that is to compare",
        file.display()
    );
    let program = build(root)?;
    if options.record { record(&file, || measure(&program)) } else { compare(&file, || measure(&program)) }
}

/// Writes down what several runs give.
fn record(file: &Path, mut measure: impl FnMut() -> Result<Baseline>) -> Result<()> {
    let runs = (0..RUNS).map(|_| measure()).collect::<Result<Vec<_>>>()?;
    let known = baseline(&runs);
    ensure!(!known.is_empty(), "nothing of ours was measured beside another: there is nothing to record");
    let text = serde_json::to_string_pretty(&known)? + "\n";
    fs::write(file, text).with_context(|| format!("cannot write '{}'", file.display()))
}

/// Compares a run with what was written down, and another where that one is worse.
fn compare(file: &Path, mut measure: impl FnMut() -> Result<Baseline>) -> Result<()> {
    let text = fs::read_to_string(file)
        .with_context(|| format!("cannot read '{}': make it with --record", file.display()))?;
    let known: Baseline = serde_json::from_str(&text)
        .with_context(|| format!("cannot understand '{}': make it anew with --record", file.display()))?;
    ensure!(!known.is_empty(), "'{}' is empty: make it with --record", file.display());
    let mut runs = vec![measure()?];
    if !fallen(&known, &runs).is_empty() {
        eprintln!("once more: one run may be unlucky");
        runs.push(measure()?);
    }
    match fallen(&known, &runs).as_slice() {
        [] => Ok(()),
        fallen => bail!("{}", fallen.join("\n       ")),
    }
}

fn build(root: &Path) -> Result<PathBuf> {
    let mut build = cargo(root);
    build.args(["build", "--release", "--package", "macvlan-ctl"]);
    let messages = read(build.arg("--message-format=json-render-diagnostics"))?;
    let built = artifacts::executables(&messages)?;
    let program = built.into_iter().find(|executable| executable.name == "macvlan-ctl");
    Ok(program.context("cargo built no macvlan-ctl")?.path)
}

fn measure(program: &Path) -> Result<Baseline> {
    let text = read(Command::new(program).args(["--json", "bench", "--quick"]))?;
    Ok(ratios(&serde_json::from_str(&text).context("cannot understand the report")?))
}

/// Our ratios in a report.
fn ratios(report: &Report) -> Baseline {
    let is_ours = |name: &str| report.contenders.iter().any(|one| one.ours && one.name == name);
    let ours = report.figures.iter().filter(|figure| is_ours(&figure.contender));
    let each = ours.flat_map(|figure| {
        let path = figure.path.as_deref().unwrap_or("any");
        figure.ratios.iter().map(move |(base, spread)| {
            let name = format!("{}, {path}: {} of {base}", figure.workload, figure.contender);
            (name, Known { ratio: spread.median, noise: LEAST_NOISE, higher: figure.better == "higher" })
        })
    });
    each.collect()
}

/// The middle of several runs, and twice the distance of the farthest as noise.
fn baseline(runs: &[Baseline]) -> Baseline {
    let Some(first) = runs.first() else { return Baseline::new() };
    let each = first.iter().map(|(name, known)| {
        let mut values: Vec<f64> = runs.iter().filter_map(|run| Some(run.get(name)?.ratio)).collect();
        values.sort_by(f64::total_cmp);
        let middle = values[values.len() / 2];
        let farthest = values.iter().map(|value| (value - middle).abs()).fold(0.0, f64::max);
        (name.clone(), Known { ratio: middle, noise: (2.0 * farthest).max(LEAST_NOISE), ..*known })
    });
    each.collect()
}

/// What is worse in every run than noise explains, or is not measured any more.
fn fallen(known: &Baseline, runs: &[Baseline]) -> Vec<String> {
    let fallen = known.iter().filter_map(|(name, known)| {
        let now: Option<Vec<f64>> = runs.iter().map(|run| Some(run.get(name)?.ratio)).collect();
        let Some(now) = now else { return Some(format!("{name}: not measured any more")) };
        let worse = |ratio: &f64| if known.higher { known.ratio - ratio } else { ratio - known.ratio };
        let best = now.iter().copied().min_by(|one, other| worse(one).total_cmp(&worse(other)))?;
        (worse(&best) > known.noise)
            .then(|| format!("{name}: {best:.3}, was {:.3} with a noise of {:.3}", known.ratio, known.noise))
    });
    fallen.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(ratio: f64, higher: bool) -> Baseline {
        [("a".to_owned(), Known { ratio, noise: 0.05, higher })].into()
    }

    #[test]
    fn a_ratio_may_fall_by_its_noise_and_rise_as_it_likes() {
        assert!(fallen(&one(1.0, true), &[one(0.96, true)]).is_empty());
        assert!(fallen(&one(1.0, true), &[one(2.0, true)]).is_empty());
        assert_eq!(fallen(&one(1.0, true), &[one(0.9, true)]), ["a: 0.900, was 1.000 with a noise of 0.050"]);
        assert_eq!(fallen(&one(1.0, false), &[one(1.1, false)]).len(), 1, "less is better");
        assert!(fallen(&one(1.0, false), &[one(0.5, false)]).is_empty());
    }

    #[test]
    fn the_better_of_two_runs_counts_and_none_is_a_fall() {
        assert!(fallen(&one(1.0, true), &[one(0.5, true), one(0.99, true)]).is_empty());
        assert_eq!(fallen(&one(1.0, true), &[Baseline::new()]), ["a: not measured any more"]);
    }

    #[test]
    fn noise_is_what_runs_differ_by() {
        let known = baseline(&[one(1.0, true), one(1.1, true), one(0.98, true)])["a"];
        assert_eq!(known.ratio, 1.0);
        assert!((known.noise - 0.2).abs() < 1e-9, "{}", known.noise);
        assert_eq!(baseline(&[one(1.0, true)])["a"].noise, LEAST_NOISE);
    }

    /// A file of this test's own, gone afterwards.
    struct Scratch(PathBuf);

    impl Drop for Scratch {
        fn drop(&mut self) {
            let _ = fs::remove_file(&self.0);
        }
    }

    #[test]
    fn what_was_recorded_is_compared_with_and_a_fall_beyond_its_noise_fails() {
        let file = Scratch(std::env::temp_dir().join(format!("bench-gate-{}.json", std::process::id())));
        let first = compare(&file.0, || panic!("nothing is measured in vain")).unwrap_err();
        assert!(first.to_string().ends_with("make it with --record"), "{first}");

        // Five runs that differ by a tenth: twice that is noise.
        let mut runs = [1.0, 1.1, 0.98, 1.02, 0.9].into_iter();
        record(&file.0, || Ok(one(runs.next().unwrap(), true))).unwrap();
        assert_eq!(runs.next(), None);

        compare(&file.0, || Ok(one(0.81, true))).unwrap();
        let mut count = 0;
        let fall = compare(&file.0, || {
            count += 1;
            Ok(one(0.79, true))
        });
        assert_eq!(fall.unwrap_err().to_string(), "a: 0.790, was 1.000 with a noise of 0.200");
        assert_eq!(count, 2, "one run may be unlucky");
        let mut lucky = [0.5, 0.95].into_iter();
        compare(&file.0, || Ok(one(lucky.next().unwrap(), true))).unwrap();
    }

    #[test]
    fn nothing_is_recorded_of_runs_that_measured_nothing() {
        let file = std::env::temp_dir().join("bench-gate-not-written.json");
        assert!(record(&file, || Ok(Baseline::new())).is_err());
        assert!(!file.exists());
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
        assert_eq!(ratios["flood, any: tc of bridge"].ratio, 2.5);
    }
}
