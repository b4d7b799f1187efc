//! `apply` and `check`.

use std::path::Path;

use anyhow::{Result, bail};

use crate::args::Cli;

/// Brings the machine to the configuration.
pub async fn apply(_: &Cli, _: &Path, _: bool) -> Result<()> {
    bail!("not built yet")
}

/// Says whether that would change anything.
pub async fn check(_: &Cli, _: &Path) -> Result<()> {
    bail!("not built yet")
}
