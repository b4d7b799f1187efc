//! What came of a command, for people or as JSON.

use std::io::{self, Write as _};

use anyhow::Result;
use macvlan_core::plan::describe::step::Outcome;

use crate::{
    args::{Cli, Extent},
    output::print_json,
};

/// Prints the steps of a command, then what is less than was asked for.
pub fn print_outcome(cli: &Cli, extent: &Extent, outcome: &Outcome) -> Result<()> {
    print_steps(cli, extent, &outcome.steps)?;
    warn_all(cli, &outcome.warnings);
    Ok(())
}

/// What would be done; what was done only if somebody wants to know.
pub fn print_steps(cli: &Cli, extent: &Extent, steps: &[String]) -> Result<()> {
    if extent.dry_run && cli.json {
        return print_json(steps);
    }
    if extent.dry_run || cli.verbose {
        let mut out = io::stdout().lock();
        for step in steps {
            writeln!(out, "{step}")?;
        }
    }
    Ok(())
}

/// Prints warnings, unless nobody wants to know.
pub fn warn_all(cli: &Cli, warnings: &[String]) {
    if !cli.quiet {
        warnings.iter().for_each(|warning| eprintln!("macvlan-ctl: warning: {warning}"));
    }
}
