//! `fuzz`: searches for inputs that break what reads them.

use std::{
    ffi::OsString,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, bail, ensure};
use clap::Args;

use crate::command::{find, run};

/// The release of `cargo-fuzz` that is installed where there is none.
const RELEASE: &str = "0.13.2";

/// The package of the targets, outside the workspace.
const PACKAGE: &str = "fuzz";

/// Targets that are built in a moment, as they need nothing but `macvlan-common`; then those that
/// need the control program with all that it depends on.
const QUICK: [&str; 2] = ["packets", "decision"];
const CONTROL: [&str; 3] = ["records", "specs", "config"];

/// What to fuzz, and for how long.
#[derive(Args)]
pub struct Options {
    /// Seconds for each target
    #[arg(long, default_value_t = 60)]
    seconds: u32,
    /// Look for reads and writes out of bounds as well: slower to build and to run
    #[arg(long)]
    address: bool,
    /// The targets; all of them unless some are named
    targets: Vec<String>,
}

impl Options {
    /// A few seconds of what is built in a moment.
    #[must_use]
    pub fn quick() -> Self {
        Self { seconds: 5, address: false, targets: QUICK.map(str::to_owned).into() }
    }
}

/// Installs `cargo-fuzz` unless it is there, and runs each target for so long. What was found to be
/// of interest is kept below the target directory, and is where the next run begins.
///
/// # Errors
/// A target does not exist, cannot be built, or was broken: then its input is named above.
pub fn fuzz(root: &Path, options: &Options) -> Result<()> {
    let all = || QUICK.into_iter().chain(CONTROL);
    if let Some(unknown) = options.targets.iter().find(|target| all().all(|known| known != **target)) {
        bail!("there is no target '{unknown}': {}", all().collect::<Vec<_>>().join(", "));
    }
    ensure!(options.seconds > 0, "0 seconds would never end: give 1 or more");
    let home = root.join("target/fuzz");
    let path = search_path(&home)?;
    for target in
        all().filter(|target| options.targets.is_empty() || options.targets.iter().any(|t| t == target))
    {
        let corpus = home.join("corpus").join(target);
        fs::create_dir_all(&corpus).with_context(|| format!("cannot make '{}'", corpus.display()))?;
        let mut command = Command::new("cargo");
        command.current_dir(root.join(PACKAGE)).env("PATH", &path);
        command.env("CARGO_TARGET_DIR", &home);
        command.args(["fuzz", "run", "--fuzz-dir", "."]);
        if options.address {
            // The sanitizer is there, but the stable compiler wants to be told that this is meant.
            command.env("RUSTC_BOOTSTRAP", "1");
        } else {
            command.args(["--sanitizer", "none"]);
        }
        if CONTROL.contains(&target) {
            command.args(["--features", "control"]);
        }
        command.arg(target).arg(corpus).arg("--");
        // The configuration file is at most 1 MiB; in so long, nobody gets that far.
        command.arg(format!("-max_total_time={}", options.seconds));
        command.args(["-max_len=65536", "-timeout=10", "-print_final_stats=1", "-verbosity=0"]);
        run(&mut command).with_context(|| format!("'{target}' was broken, or not built"))?;
    }
    Ok(())
}

/// `PATH` with a `cargo-fuzz` in it: that of the machine, or one installed below `home`.
fn search_path(home: &Path) -> Result<OsString> {
    let inherited = std::env::var_os("PATH").unwrap_or_default();
    if find("cargo-fuzz").is_some() {
        return Ok(inherited);
    }
    let tools = home.join("tools");
    let installed = tools.join("bin");
    if !installed.join("cargo-fuzz").is_file() {
        let mut install = Command::new("cargo");
        install.args(["install", "cargo-fuzz", "--locked", "--version", RELEASE, "--root"]).arg(&tools);
        run(&mut install).with_context(|| format!("cannot install cargo-fuzz {RELEASE}"))?;
    }
    let directories: Vec<PathBuf> =
        std::iter::once(installed).chain(std::env::split_paths(&inherited)).collect();
    std::env::join_paths(directories).context("cannot put cargo-fuzz into PATH")
}

#[cfg(test)]
mod tests {
    use toml::{Table, Value};

    use super::*;
    use crate::workspace;

    #[test]
    fn every_target_of_the_package_is_run() {
        let manifest = workspace::read_text(&workspace::root().join(PACKAGE).join("Cargo.toml")).unwrap();
        let manifest: Table = manifest.parse().unwrap();
        let targets = manifest["bin"].as_array().unwrap();
        let named = |with_control: bool| -> Vec<&str> {
            let wanted = targets.iter().filter(|bin| bin.get("required-features").is_some() == with_control);
            wanted.filter_map(|bin| bin["name"].as_str()).collect()
        };
        assert_eq!((named(false), named(true)), (QUICK.to_vec(), CONTROL.to_vec()));
        assert!(targets.iter().all(|bin| bin.get("test") == Some(&Value::Boolean(false))));
    }

    #[test]
    fn an_unknown_target_is_refused_by_name() {
        let options = Options { targets: vec!["colour".into()], ..Options::quick() };
        let error = fuzz(&workspace::root(), &options).unwrap_err().to_string();
        assert_eq!(error, "there is no target 'colour': packets, decision, records, specs, config");
    }
}
