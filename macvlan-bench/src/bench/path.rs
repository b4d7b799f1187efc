//! The ways that frames go.

use serde::{Serialize, Serializer};

/// From whom to whom.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Path {
    /// Host to child.
    HostChild,
    /// Child to host.
    ChildHost,
    /// Child to another child.
    ChildChild,
    /// From beyond the master to a child.
    WireChild,
    /// From a child to beyond the master.
    ChildWire,
}

/// All of them.
pub const PATHS: [Path; 5] =
    [Path::HostChild, Path::ChildHost, Path::ChildChild, Path::WireChild, Path::ChildWire];

impl Path {
    /// Its name in JSON.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::HostChild => "host-child",
            Self::ChildHost => "child-host",
            Self::ChildChild => "child-child",
            Self::WireChild => "wire-child",
            Self::ChildWire => "child-wire",
        }
    }

    /// Its name in sentences.
    pub const fn title(self) -> &'static str {
        match self {
            Self::HostChild => "host to child",
            Self::ChildHost => "child to host",
            Self::ChildChild => "child to child",
            Self::WireChild => "wire to child",
            Self::ChildWire => "child to wire",
        }
    }

    /// Whether the host is at one end.
    pub const fn is_with_host(self) -> bool {
        matches!(self, Self::HostChild | Self::ChildHost)
    }

    /// Whether it is another one's way back: what goes both ways is measured once.
    pub const fn is_way_back(self) -> bool {
        matches!(self, Self::ChildHost | Self::ChildWire)
    }
}

impl Serialize for Path {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}
