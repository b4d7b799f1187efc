//! Options whose value is one of a few words.

use serde::{Deserialize, Serialize};

use crate::model::keyword::Keyword;

/// `--xdp`: where to demultiplex frames from the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum XdpChoice {
    /// Native XDP where the driver has it and does not copy for it, else TC ingress.
    #[default]
    Auto,
    /// XDP in the driver.
    Native,
    /// XDP in the stack.
    Generic,
    /// TC ingress.
    Off,
}

impl Keyword for XdpChoice {
    const ALL: &'static [Self] = &[Self::Auto, Self::Native, Self::Generic, Self::Off];

    fn as_str(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Native => "native",
            Self::Generic => "generic",
            Self::Off => "off",
        }
    }

    fn about(self) -> &'static str {
        match self {
            Self::Auto => "Native XDP where the driver has it and does not copy for it, else TC ingress",
            Self::Native => "XDP in the driver",
            Self::Generic => "XDP in the stack",
            Self::Off => "TC ingress",
        }
    }
}

/// `--tc`: how to attach to TC.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TcChoice {
    /// TCX links where the kernel has them, else a clsact qdisc.
    #[default]
    Auto,
    /// TCX links, or no hairpin.
    Tcx,
    /// Filters of a clsact qdisc, which older tools show.
    Clsact,
}

impl Keyword for TcChoice {
    const ALL: &'static [Self] = &[Self::Auto, Self::Tcx, Self::Clsact];

    fn as_str(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Tcx => "tcx",
            Self::Clsact => "clsact",
        }
    }

    fn about(self) -> &'static str {
        match self {
            Self::Auto => "TCX links where the kernel has them, else a clsact qdisc",
            Self::Tcx => "TCX links, or no hairpin",
            Self::Clsact => "Filters of a clsact qdisc, which older tools show",
        }
    }
}

/// `--ingress`: whether a program of ours is at TC ingress, where every frame from the wire passes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum IngressChoice {
    /// One is.
    #[default]
    On,
    /// None is, while nothing needs one.
    Off,
    /// The same, and nobody minds where something needs one.
    Auto,
}

impl Keyword for IngressChoice {
    const ALL: &'static [Self] = &[Self::On, Self::Off, Self::Auto];

    fn as_str(self) -> &'static str {
        match self {
            Self::On => "on",
            Self::Off => "off",
            Self::Auto => "auto",
        }
    }

    fn about(self) -> &'static str {
        match self {
            Self::On => "Frames from the wire and between siblings are counted, directed and guarded",
            Self::Off => {
                "They pass no program in TC; where a mode or guard needs one, there is, and status says why"
            }
            Self::Auto => "As off, but where one is needed that is no matter",
        }
    }
}

/// `--drop-unknown`: what becomes of unicast from the wire to nobody here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DropUnknown {
    /// It goes up the stack, which drops it late.
    #[default]
    Off,
    /// It is dropped at the earliest hook; refused while something on the master needs it.
    On,
    /// It is dropped, whoever needs it.
    Force,
}

impl Keyword for DropUnknown {
    const ALL: &'static [Self] = &[Self::Off, Self::On, Self::Force];

    fn as_str(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::On => "on",
            Self::Force => "force",
        }
    }

    fn about(self) -> &'static str {
        match self {
            Self::Off => "It goes up the stack, which drops it late",
            Self::On => "It is dropped at the earliest hook; refused while something on the master needs it",
            Self::Force => "It is dropped, whoever needs it",
        }
    }
}

/// `--single-mac`: whether children speak with the master's MAC on the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SingleMac {
    /// With their own.
    #[default]
    Off,
    /// With the master's.
    On,
    /// With the master's where the wire certainly carries no other.
    Auto,
}

impl Keyword for SingleMac {
    const ALL: &'static [Self] = &[Self::Off, Self::On, Self::Auto];

    fn as_str(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::On => "on",
            Self::Auto => "auto",
        }
    }

    fn about(self) -> &'static str {
        match self {
            Self::Off => "Each child has its own MAC on the wire",
            Self::On => "All have the device's there; what comes back is given to them by IP address",
            Self::Auto => "On where the device is a Wi-Fi station, else off",
        }
    }
}

/// `--isolation`: how certain it is that what bears the host's MAC is the host's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Isolation {
    /// As certain as the programs on children's devices make it.
    #[default]
    Off,
    /// Certain, whatever sockets children use: the macvlan driver tells.
    Strict,
}

impl Keyword for Isolation {
    const ALL: &'static [Self] = &[Self::Off, Self::Strict];

    fn as_str(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::Strict => "strict",
        }
    }

    fn about(self) -> &'static str {
        match self {
            Self::Off => "A child that goes past TC can send under the host's MAC",
            Self::Strict => {
                "No child can: programs on the macvlan driver tell; every frame of a macvlan costs more"
            }
        }
    }
}

/// `--on-missing-bpf`: what to do where BPF is unavailable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MissingChoice {
    /// Leave plain kernel macvlan: host and children cannot talk.
    Plain,
    /// A macvlan of the host's own, with a route to each address of a child in mode bridge.
    Shim,
    /// Fail.
    Fail,
}

impl Keyword for MissingChoice {
    const ALL: &'static [Self] = &[Self::Plain, Self::Shim, Self::Fail];

    fn as_str(self) -> &'static str {
        match self {
            Self::Plain => "plain",
            Self::Shim => "shim",
            Self::Fail => "fail",
        }
    }

    fn about(self) -> &'static str {
        match self {
            Self::Plain => "Leave plain kernel macvlan: host and children cannot talk",
            Self::Shim => {
                "A macvlan of the host's own, with a route to each address of a child in mode bridge"
            }
            Self::Fail => "Fail",
        }
    }
}
