//! `apply` and `check`.

use std::{
    fmt,
    io::{self, Write as _},
    path::{Path, PathBuf},
};

use anyhow::{Result, anyhow};
use macvlan_core::{
    commands::apply::{self, Applied},
    config::Config,
    discovery::access::Access,
};

use crate::{args::Cli, outcome::warn_all, output::print_json};

/// Brings the machine to the configuration.
pub async fn apply(cli: &Cli, path: &Path, access: Access) -> Result<()> {
    let outcome = apply::apply(&Config::read(path)?, access).await?;
    print(cli, &outcome)?;
    if outcome.failures.is_empty() {
        return Ok(());
    }
    let failures: Vec<String> = outcome.failures.iter().map(|error| format!("{error:#}")).collect();
    Err(anyhow!("{}", failures.join("; ")))
}

/// The machine is not as the file says: the one failure of `check` that is an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Differs {
    path: PathBuf,
    steps: usize,
}

impl fmt::Display for Differs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { path, steps } = self;
        let plural = if *steps == 1 { "" } else { "s" };
        write!(f, "{path:?} differs from this machine in {steps} step{plural}; see: macvlan-ctl apply")
    }
}

impl std::error::Error for Differs {}

/// Says whether that would change anything; [`Differs`] where it would.
pub async fn check(cli: &Cli, path: &Path) -> Result<()> {
    let outcome = apply::apply(&Config::read(path)?, Access::Read).await?;
    print(cli, &outcome)?;
    match outcome.steps.len() {
        0 => Ok(()),
        steps => Err(Differs { path: path.to_owned(), steps }.into()),
    }
}

fn print(cli: &Cli, outcome: &Applied) -> Result<()> {
    warn_all(cli, &outcome.warnings);
    if cli.json {
        return print_json(&outcome.steps);
    }
    let mut out = io::stdout().lock();
    for step in &outcome.steps {
        writeln!(out, "{}: {}", step.ifname, step.step)?;
    }
    if outcome.steps.is_empty() && outcome.failures.is_empty() {
        writeln!(out, "up to date")?;
    }
    Ok(())
}
