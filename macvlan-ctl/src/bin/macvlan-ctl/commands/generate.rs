//! `generate`: man pages and completions, from the definition of the command line.

use anyhow::{Result, bail};

use crate::args::Generate;

/// Writes what was asked for.
pub fn generate(_: &Generate) -> Result<()> {
    bail!("not built yet")
}
