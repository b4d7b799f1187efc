//! `test`: everything that can be shown on this machine, traffic and measurements included.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    process::Command,
    thread,
};

use anyhow::{Context as _, Result, ensure};
use clap::Args;

use crate::{
    artifacts,
    command::{cargo, read, run, run_watched},
    dist, dpdk, go, kustomize,
    lanes::{self, Outcome},
    machine::{self, State},
    unpacked, validator,
};

/// The package of the tests that need root.
const PACKAGE: &str = "macvlan-tests";

/// Its measurements: alone on the machine, after everything else.
const MEASUREMENTS: [&str; 2] = ["guard_speed", "speed"];

/// Tests that may fail beside others and pass alone: more are no chance.
const MOST_AGAIN: usize = 5;

/// Tests that need devices, radios or a qdisc which not every kernel has: `vm-test` runs them on kernels that do.
const ON_OTHER_KERNELS: [&str; 5] = ["guard_pace", "masters", "strict", "topology_vlan", "wifi"];

/// What to test, and how.
#[derive(Args, Default)]
pub struct Options {
    /// Test a release build
    #[arg(long)]
    release: bool,
    /// Leave the measurements out
    #[arg(long)]
    no_speed: bool,
    /// Leave out those that need no privileges
    #[arg(long)]
    no_rootless: bool,
    /// Passed on to the test programs: a name to filter by, or their options
    #[arg(last = true)]
    filter: Vec<String>,
}

impl Options {
    /// All that [`ordinary`](crate::ordinary) has not run.
    pub fn privileged() -> Self {
        Self { no_rootless: true, ..Self::default() }
    }

    fn pass_on<'command>(&self, cargo: &'command mut Command) -> &'command mut Command {
        if self.filter.is_empty() { cargo } else { cargo.arg("--").args(&self.filter) }
    }
}

/// Installs what the tests need, runs them, and checks that they leave the machine as it was.
///
/// # Errors
/// The user is not root, a tool cannot be installed, a test fails, or something is left behind.
pub fn test(root: &Path, options: &Options) -> Result<()> {
    machine::require_root()?;
    machine::install_tools()?;
    let before = State::now()?;
    let outcome = run_all(root, options);
    let unchanged = before.require_same();
    if let (Err(_), Err(changed)) = (&outcome, &unchanged) {
        eprintln!("{changed:#}");
    }
    outcome.and(unchanged)
}

fn run_all(root: &Path, options: &Options) -> Result<()> {
    if !options.no_rootless {
        let mut rootless = cargo_test(root, options.release);
        rootless.args(["--workspace", "--exclude", PACKAGE, "--exclude", "macvlan-ebpf"]);
        run(options.pass_on(&mut rootless)).context("the tests that need no privileges failed")?;
    }

    let (tests, measured) = test_targets(&root.join("tests/tests"))?;
    let privileged = || {
        let mut privileged = on_real_devices(root, options.release)?;
        privileged.env("MACVLAN_TESTS_GO", go::unpacked(root)?);
        privileged.arg("--lib").args(tests.iter().flat_map(|test| ["--test", test]));
        anyhow::Ok(privileged)
    };
    let outcome = side_by_side(privileged()?, &options.filter)?;
    if let Err(error) = lanes::require_success(&outcome) {
        let few = outcome.is_told() && (1..=MOST_AGAIN).contains(&outcome.tests.len());
        ensure!(few, "the tests on real devices failed: {error:#}");
        again_alone(privileged()?, &outcome.tests).context("the tests on real devices failed")?;
    }

    if measured && !options.no_speed {
        let mut speed = on_real_devices(root, options.release)?;
        // The program as users have it. What the tests themselves do is done by the kernel.
        speed.env("MACVLAN_CTL_BIN", dist::binaries(root)?.control);
        speed.args(MEASUREMENTS.iter().flat_map(|test| ["--test", test]));
        speed.args(["--", "--test-threads=1", "--nocapture"]);
        run(speed.args(&options.filter)).context("the measurements failed")?;
    }
    Ok(())
}

/// Runs the test programs that `cargo` builds, several at a time, with this environment.
fn side_by_side(mut cargo: Command, filter: &[String]) -> Result<Outcome> {
    let messages = read(cargo.args(["--no-run", "--message-format=json-render-diagnostics"]))?;
    let mut programs = artifacts::executables(&messages)?;
    programs.retain(|program| program.is_test);
    let threads = threads()?.to_string();
    lanes::run(programs, |program| {
        let mut command = Command::new(&program.path);
        let set = cargo.get_envs().filter_map(|(key, value)| Some((key, value?)));
        command.envs(set).env("RUST_TEST_THREADS", &threads).current_dir(&program.package).args(filter);
        command
    })
}

/// Runs tests again that failed beside others, one at a time: on a busy machine, one may not get the time that it allows.
/// What fails alone fails.
fn again_alone(mut tests: Command, failed: &BTreeSet<String>) -> Result<()> {
    let names = failed.iter().map(String::as_str).collect::<Vec<_>>().join(", ");
    println!("\nfailed beside others, now alone: {names}");
    let mut passed = 0;
    run_watched(tests.args(["--", "--exact", "--test-threads=1"]).args(failed), |line| {
        passed += passed_tests(line).unwrap_or(0);
    })?;
    ensure!(passed >= failed.len(), "of {names}, {passed} ran again");
    println!("passed alone: {names}");
    Ok(())
}

/// How many tests have passed, by the last line of a test program's output.
fn passed_tests(line: &str) -> Option<usize> {
    line.strip_prefix("test result: ok. ")?.split(' ').next()?.parse().ok()
}

/// How many tests of a program run at a time, beside those of another program.
fn threads() -> Result<usize> {
    let processors = thread::available_parallelism().context("cannot tell the number of processors")?;
    Ok(processors.get() + 1)
}

fn cargo_test(root: &Path, release: bool) -> Command {
    let mut cargo = cargo(root);
    // All that fails is to be told of, not the first alone.
    cargo.args(["test", "--no-fail-fast"]).args(release.then_some("--release"));
    cargo
}

/// `cargo test` of the package that needs root, with the control program it is to test.
///
/// # Errors
/// That does not compile.
pub fn on_real_devices(root: &Path, release: bool) -> Result<Command> {
    let program = build_program(root, release)?;
    let mut cargo = cargo_test(root, release);
    // A test that finds a privilege or a tool missing fails instead of passing over it.
    cargo.env("MACVLAN_TESTS_STRICT", "1").env("MACVLAN_CTL_BIN", program);
    let path = validator::search_path(root, &unpacked::search_path(root)?)?;
    let path = dpdk::search_path(root, &path)?;
    cargo.env("PATH", kustomize::search_path(root, &path)?);
    cargo.args(["--package", PACKAGE]);
    Ok(cargo)
}

/// How cargo builds the control program, and the plugin beside it, as the tests start them: with what tests
/// of killed runs need, and no release has; and with the tests, or each would be built with parts of its own.
pub const PROGRAM: [&str; 9] = [
    "build",
    "--package",
    "macvlan-ctl",
    "--features",
    "macvlan-ctl/crash-points",
    "--package",
    "macvlan-cni",
    "--package",
    PACKAGE,
];

/// The control program as the tests start it, built.
///
/// # Errors
/// It does not compile.
pub fn build_program(root: &Path, release: bool) -> Result<PathBuf> {
    let mut build = cargo(root);
    build.args(PROGRAM);
    build.arg("--message-format=json-render-diagnostics");
    let messages = read(build.args(release.then_some("--release")))?;
    let built = artifacts::executables(&messages)?;
    let program = built.into_iter().find(|executable| executable.name == "macvlan-ctl");
    Ok(program.context("cargo built no macvlan-ctl")?.path)
}

/// The test programs whose files are in `directory`, and whether the measurements are among them.
fn test_targets(directory: &Path) -> Result<(Vec<String>, bool)> {
    let unreadable = || format!("cannot list '{}'", directory.display());
    let mut tests = Vec::new();
    for entry in fs::read_dir(directory).with_context(unreadable)? {
        let path = entry.with_context(unreadable)?.path();
        let is_target =
            path.extension().is_some_and(|extension| extension == "rs") || path.join("main.rs").is_file();
        if let Some(name) = path.file_stem().filter(|_| is_target) {
            tests.push(name.to_string_lossy().into_owned());
        }
    }
    tests.sort();
    let all = tests.len();
    tests.retain(|test| !MEASUREMENTS.contains(&test.as_str()));
    let measured = tests.len() < all;
    tests.retain(|test| !ON_OTHER_KERNELS.contains(&test.as_str()));
    Ok((tests, measured))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_passed_is_read_of_the_output() {
        assert_eq!(passed_tests("test result: ok. 12 passed; 0 failed; 0 ignored;"), Some(12));
        assert_eq!(passed_tests("test result: FAILED. 12 passed; 1 failed;"), None);
        assert_eq!(passed_tests("test a ... ok"), None);
    }

    #[test]
    fn measurements_are_set_apart_from_tests() {
        let directory = tempfile::tempdir().unwrap();
        for file in [
            "traffic.rs",
            "speed.rs",
            "guard_speed.rs",
            "masters.rs",
            "guard_pace.rs",
            "strict.rs",
            "topology_vlan.rs",
            "wifi/main.rs",
            "programs/main.rs",
            "fixtures/data.json",
            "note.txt",
        ] {
            let path = directory.path().join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, "").unwrap();
        }
        let expected = ["programs", "traffic"].map(String::from).to_vec();
        assert_eq!(test_targets(directory.path()).unwrap(), (expected, true));
    }
}
