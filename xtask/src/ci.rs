//! `ci`: all that must hold before a change is taken.

use std::{
    path::Path,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};

use crate::{
    build_ebpf,
    command::{cargo, run},
    fuzz, hygiene, machine, ordinary,
    setup_ebpf::{self, RustSrc},
    test, vm,
};

/// A step's name and what it does in the workspace.
type Step = (&'static str, fn(&Path) -> Result<()>);

/// The quick ones first.
const STEPS: [Step; 12] = [
    ("format", format),
    ("hygiene", hygiene::check),
    ("lint", lint),
    ("documentation", document),
    ("setup-ebpf", |root| setup_ebpf::setup(root, RustSrc::Auto)),
    ("lint of the BPF programs", build_ebpf::lint),
    ("BPF object", build_ebpf::check),
    ("BPF object, built elsewhere", build_ebpf::check_elsewhere),
    ("fuzz", quick_fuzz),
    ("test as an ordinary user", ordinary::test),
    ("test", |root| test::test(root, &test::Options::privileged())),
    ("test on other kernels", test_on_other_kernels),
];

/// Runs every step, or those with these names, until one fails, and says how long each took.
///
/// # Errors
/// That of the step that failed; a name that no step has.
pub fn run_steps(root: &Path, only: &[String]) -> Result<()> {
    machine::require_root()?;
    if let Some(stranger) = only.iter().find(|name| !STEPS.iter().any(|(step, _)| step == name)) {
        let names: Vec<_> = STEPS.iter().map(|(name, _)| format!("{name:?}")).collect();
        bail!("no step is called {stranger:?}; there are {}", names.join(", "));
    }
    let mut times = Vec::new();
    let mut outcome = Ok(());
    let is_wanted = |name: &str| only.is_empty() || only.iter().any(|wanted| wanted == name);
    for (name, step) in STEPS.into_iter().filter(|(name, _)| is_wanted(name)) {
        eprintln!("\n=== {name}");
        let start = Instant::now();
        outcome = step(root).context(name);
        times.push((name, start.elapsed()));
        if outcome.is_err() {
            break;
        }
    }
    eprintln!("\n{}", table(&times));
    outcome
}

fn format(root: &Path) -> Result<()> {
    run(cargo(root).args(["fmt", "--all", "--check"])).context("run `cargo fmt --all`")
}

fn lint(root: &Path) -> Result<()> {
    run(cargo(root).args(["clippy", "--workspace", "--all-targets", "--locked", "--", "-D", "warnings"]))?;
    let mut all_features = cargo(root);
    all_features.args(["clippy", "--package", "macvlan-common", "--all-features", "--all-targets"]);
    run(all_features.args(["--", "-D", "warnings"]))
}

fn test_on_other_kernels(root: &Path) -> Result<()> {
    vm::Options::quick().iter().try_for_each(|options| vm::test(root, options))
}

fn quick_fuzz(root: &Path) -> Result<()> {
    machine::install_fuzz_tools()?;
    fuzz::fuzz(root, &fuzz::Options::quick())
}

fn document(root: &Path) -> Result<()> {
    // The BPF programs are documented where they are linted.
    let mut doc = cargo(root);
    doc.args(["doc", "--workspace", "--exclude", "macvlan-ebpf", "--no-deps"]);
    run(doc.env("RUSTDOCFLAGS", "-D warnings"))
}

fn table(times: &[(&str, Duration)]) -> String {
    let total = times.iter().map(|(_, time)| *time).sum();
    let rows = times.iter().copied().chain([("total", total)]);
    rows.map(|(name, time)| format!("{:>7.1} s  {name}\n", time.as_secs_f64())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_aligned_and_added_up() {
        let times = [("format", Duration::from_millis(1500)), ("test", Duration::from_secs(100))];
        assert_eq!(table(&times), "    1.5 s  format\n  100.0 s  test\n  101.5 s  total\n");
    }
}
