//! What came of a command, for people or as JSON.

use std::io::{self, Write as _};

use anyhow::Result;
use macvlan_core::plan::describe::step::Outcome;

use crate::{
    args::{Cli, Extent},
    output::print_json,
};

/// Most lines of what is forgotten that people get without asking for more.
const MOST_FORGOTTEN: usize = 10;

/// Prints the steps of a command, then what is less than was asked for, and what is forgotten. What was done
/// is told only if somebody wants to know, what would be done always.
pub fn print_outcome(cli: &Cli, extent: &Extent, outcome: &Outcome) -> Result<()> {
    if cli.json {
        print_json(outcome)?;
    } else if extent.dry_run || cli.verbose {
        let mut out = io::stdout().lock();
        for step in &outcome.steps {
            writeln!(out, "{step}")?;
        }
    }
    warn_all(cli, &outcome.warnings);
    if !cli.quiet && !cli.json {
        let verb = if extent.dry_run { "would be forgotten" } else { "forgotten" };
        note_forgotten(cli, verb, &outcome.forgotten);
    }
    Ok(())
}

/// Prints warnings, unless nobody wants to know.
pub fn warn_all(cli: &Cli, warnings: &[String]) {
    if !cli.quiet {
        warnings.iter().for_each(|warning| eprintln!("macvlan-ctl: warning: {warning}"));
    }
}

/// Prints settings that are `forgotten`, in these words.
pub fn note_forgotten(cli: &Cli, verb: &str, forgotten: &[String]) {
    let shown = if cli.verbose { forgotten.len() } else { forgotten.len().min(MOST_FORGOTTEN) };
    for line in &forgotten[..shown] {
        eprintln!("macvlan-ctl: note: {verb}: {line}");
    }
    match forgotten.len() - shown {
        0 => {}
        left => eprintln!("macvlan-ctl: note: {verb}: settings of {left} more children; -v or -j lists them"),
    }
}
