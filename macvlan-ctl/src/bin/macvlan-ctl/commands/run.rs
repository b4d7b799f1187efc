//! `run`.

use anyhow::{Result, bail};

use crate::args::{Cli, Run};

/// Attaches and follows until stopped.
pub async fn run(_: &Cli, _: &Run) -> Result<()> {
    bail!("not built yet")
}
