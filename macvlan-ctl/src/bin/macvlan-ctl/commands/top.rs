//! `top`.

use anyhow::{Result, bail};

use crate::args::Cli;

/// Shows the screen until `q`.
pub async fn top(_: &Cli, _: Option<&str>, _: u32) -> Result<()> {
    bail!("not built yet")
}
