//! The kinds of children.

use serde::Serialize;

/// What a child is: one of the two devices that the macvlan driver makes, or a port.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// A network device.
    #[default]
    Macvlan,
    /// A network device whose frames a process reads and writes: for virtual machines.
    Macvtap,
    /// One end of a veth pair that belongs to a macvlan: for programs that read frames by AF_XDP.
    Port,
}

impl Kind {
    /// The word for it: that of `ip link`, where it has one.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Macvlan => "macvlan",
            Self::Macvtap => "macvtap",
            Self::Port => "port",
        }
    }
}
