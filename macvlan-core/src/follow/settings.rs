//! What to follow, and how.

use anyhow::Result;

use crate::config::master::MasterConfig;

/// What to follow, and how.
#[derive(Debug, Clone, Default)]
pub struct Settings {
    /// The masters.
    pub masters: Vec<WantedMaster>,
    /// Take the data path off when stopped.
    pub detach_on_exit: bool,
}

/// One master to follow.
#[derive(Debug, Clone)]
pub struct WantedMaster {
    /// Its name, how to attach to it, and what children may do unless told otherwise.
    pub config: MasterConfig,
    /// The configuration file asks for it: children are brought to what that says, as `apply` does.
    pub configured: bool,
}

/// Where settings are read anew.
pub type Reload<'a> = &'a dyn Fn() -> Result<Settings>;
