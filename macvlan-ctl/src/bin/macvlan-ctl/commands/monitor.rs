//! `monitor`.

use anyhow::{Result, bail};

use crate::args::Cli;

/// Prints changes until stopped.
pub async fn monitor(_: &Cli, _: &[String]) -> Result<()> {
    bail!("not built yet")
}
