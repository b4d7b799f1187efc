//! A child as people name it.

use std::{fmt, str::FromStr};

use anyhow::{Error, bail};

/// What names a child of a master that is there: its container, MAC, IP address or interface name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChildName(String);

impl ChildName {
    /// Longer than any name of an engine's, and than any container's id.
    const MAX_LEN: usize = 255;

    /// As it was given.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for ChildName {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        if text.is_empty() {
            bail!("a child must have a name: give its container, MAC, IP address or interface");
        }
        if text.len() > Self::MAX_LEN {
            bail!("the name of a child is too long: {} bytes, at most {}", text.len(), Self::MAX_LEN);
        }
        if text.contains(|c: char| c.is_whitespace() || c.is_control()) {
            bail!("{text:?} names no child: it must have no space or control character");
        }
        Ok(Self(text.to_owned()))
    }
}

impl fmt::Display for ChildName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
