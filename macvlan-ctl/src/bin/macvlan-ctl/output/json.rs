//! JSON, for scripts.

use std::io::{self, Write as _};

use anyhow::{Context as _, Result};
use serde::Serialize;

/// One line of JSON.
pub fn print_json<T: Serialize + ?Sized>(value: &T) -> Result<()> {
    let text = serde_json::to_string(value).context("cannot write JSON")?;
    writeln!(io::stdout(), "{text}")?;
    Ok(())
}
