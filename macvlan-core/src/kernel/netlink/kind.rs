//! The device kinds of the macvlan driver.

use serde::Serialize;

/// The two device kinds that the macvlan driver makes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// A network device.
    #[default]
    Macvlan,
    /// A network device whose frames a process reads and writes: for virtual machines.
    Macvtap,
}

impl Kind {
    /// The word that `ip link` uses.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Macvlan => "macvlan",
            Self::Macvtap => "macvtap",
        }
    }
}
