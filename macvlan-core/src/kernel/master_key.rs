//! What tells one lower device from every other of this machine.

use std::fmt;

use anyhow::Result;

use crate::kernel::netns::Netns;

/// Names a master's pin directory and lock: unique over all namespaces, as long as the master lives.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MasterKey(String);

impl fmt::Display for MasterKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl MasterKey {
    /// The key of the device with this index in the namespace of the calling thread.
    ///
    /// # Errors
    ///
    /// When the namespace cannot be told from others.
    pub fn of(index: u32) -> Result<Self> {
        Ok(Self(format!("{}{index}", Self::prefix()?)))
    }

    /// What the keys of this namespace's masters begin with.
    ///
    /// # Errors
    ///
    /// When the namespace cannot be told from others.
    pub fn prefix() -> Result<String> {
        match Netns::current_cookie() {
            Some(cookie) => Ok(format!("ns{cookie}-if")),
            None => Ok(format!("inode{}-if", Netns::current()?.id().inode())),
        }
    }
}
