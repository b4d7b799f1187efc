//! `hygiene`: rules for the project's files that no other tool checks.

use std::path::Path;

use anyhow::{Result, bail};

mod circles;
mod figures;
mod imports;
mod layers;
mod machine_names;
mod modules;
mod named_tests;
mod packages;
mod required;
mod resolve;
mod structure;
mod syntax;
#[cfg(test)]
mod tests;

/// Checks every rule, and shows how each package is built up.
///
/// # Errors
/// All that was found, or a file cannot be read or parsed.
pub fn check(root: &Path) -> Result<()> {
    let structure = structure::check(root)?;
    println!("{}", figures::table(&structure.figures));
    let mut faults = required::faults(root)?;
    faults.extend(machine_names::faults(root)?);
    faults.extend(named_tests::faults(root)?);
    faults.extend(structure.faults);
    match faults.as_slice() {
        [] => Ok(()),
        faults => bail!("{}", faults.join("\n       ")),
    }
}
