//! `doctor`.

use anyhow::{Result, bail};

use crate::args::Cli;

/// Prints every finding.
pub async fn doctor(_: &Cli, _: Option<&str>) -> Result<()> {
    bail!("not built yet")
}
