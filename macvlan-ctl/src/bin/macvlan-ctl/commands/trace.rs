//! `trace`.

use anyhow::{Result, bail};

use crate::args::{Cli, Trace};

/// Prints sampled verdicts until stopped.
pub async fn trace(_: &Cli, _: &Trace) -> Result<()> {
    bail!("not built yet")
}
