//! `apply` and `check`.

use std::{
    io::{self, Write as _},
    path::Path,
};

use anyhow::{Result, anyhow, bail};
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

/// Says whether that would change anything.
pub async fn check(cli: &Cli, path: &Path) -> Result<()> {
    let outcome = apply::apply(&Config::read(path)?, Access::Read).await?;
    print(cli, &outcome)?;
    match outcome.steps.len() {
        0 => Ok(()),
        count => bail!("{path:?} differs from this machine in {count} steps; see: macvlan-ctl apply"),
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
