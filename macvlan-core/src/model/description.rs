//! What a data path is made of, and why it is not more.

use std::{fmt, num::NonZeroU32};

use macvlan_common::counters::{PATHS, Path};
use serde::{Deserialize, Serialize};

use crate::model::options::{DropUnknown, Isolation};

/// Who carries the frames.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Carrier {
    /// Our programs.
    Bpf,
    /// The macvlan driver alone.
    Kernel,
}

/// Where frames from the wire are demultiplexed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Demux {
    /// In the driver, before there is a packet buffer.
    XdpNative,
    /// In the stack's XDP emulation.
    XdpGeneric,
    /// In TC ingress.
    Tc,
    /// By the macvlan driver alone.
    Kernel,
}

impl Demux {
    /// Its name in JSON and tables.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::XdpNative => "xdp-native",
            Self::XdpGeneric => "xdp-generic",
            Self::Tc => "tc",
            Self::Kernel => "kernel",
        }
    }
}

/// How traffic between host and children is turned around.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Hairpin {
    /// By TCX links (kernel 6.6).
    Tcx,
    /// By filters of a clsact qdisc.
    Clsact,
    /// Past the master, through a macvlan of the host's own: see `shim`.
    Shim,
    /// Not at all.
    Off,
}

impl Hairpin {
    /// Its name in JSON and tables.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Tcx => "tcx",
            Self::Clsact => "clsact",
            Self::Shim => "shim",
            Self::Off => "off",
        }
    }
}

/// How the host's broadcasts get to the children.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum HostFlood {
    /// Through a device of its own, where nobody else sees them.
    Device,
    /// Up through the master, where packet sockets see them: a child is in another mode than bridge, or there
    /// is no device.
    Master,
    /// Not at all: no child hears the host.
    Off,
}

impl HostFlood {
    /// Its name in JSON.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Device => "device",
            Self::Master => "master",
            Self::Off => "off",
        }
    }
}

/// Something that is less than the best, and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Degraded {
    /// "datapath", "demux", "hairpin", "pins", "trace", "drop-unknown", "guard", "anti-spoof", "ra",
    /// "dhcp-server", "passthru", "flood", "isolation", "mac", "mode", "settings" and "source" of children's devices, "ingress" where a
    /// program is there that was not to be, or "ingress" and "egress", where others run before ours.
    pub feature: String,
    /// What would be best, or was asked for.
    pub wanted: String,
    /// What is there instead.
    pub got: String,
    /// Why, in words.
    pub reason: String,
}

impl fmt::Display for Degraded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} is {} instead of {}: {}", self.feature, self.got, self.wanted, self.reason)
    }
}

impl Degraded {
    /// A degradation of `feature`.
    pub fn new(feature: &str, wanted: &str, got: &str, reason: impl Into<String>) -> Self {
        Self { feature: feature.into(), wanted: wanted.into(), got: got.into(), reason: reason.into() }
    }

    /// Whether both are of the same thing, whatever the reasons.
    pub fn is_same(&self, other: &Self) -> bool {
        (&self.feature, &self.got) == (&other.feature, &other.got)
    }
}

/// What a data path is made of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Description {
    /// Who carries the frames.
    pub carrier: Carrier,
    /// Where frames from the wire are demultiplexed.
    pub demux: Demux,
    /// How host and children reach each other.
    pub hairpin: Hairpin,
    /// Whether frames from the wire, and between siblings, pass a program of ours in TC.
    pub ingress: bool,
    /// How the host's broadcasts get to the children.
    pub host_flood: HostFlood,
    /// What is less than the best.
    pub degraded: Vec<Degraded>,
    /// Whether children that others made belong to it.
    pub adopts: bool,
    /// Whether unicast from the wire to nobody here is to be dropped.
    pub drop_unknown: DropUnknown,
    /// Whether the switch sends frames back out of the port they came in by.
    pub vepa_switch: bool,
    /// Whether children speak with the master's MAC on the wire.
    pub single_mac: bool,
    /// How certain it is that a frame with the host's MAC is the host's.
    pub isolation: Isolation,
    /// Whether requests for a known address go to its owner alone.
    pub directs: bool,
    /// Broadcast and multicast frames a second from the wire, and from each child; `None` is no limit.
    pub storm_limit: Option<NonZeroU32>,
}

/// Whether what comes from the wire is counted, with a program at TC ingress or none.
pub fn counts_wire(ingress: bool, demux: Demux) -> bool {
    counted_paths(ingress, demux).contains(&Path::Wire)
}

/// The paths that programs count with a program at TC ingress or none, by where they demultiplex.
pub fn counted_paths(ingress: bool, demux: Demux) -> &'static [Path] {
    match (ingress, demux) {
        (true, _) => &PATHS,
        (false, Demux::XdpNative | Demux::XdpGeneric) => &[Path::Wire, Path::Host],
        (false, Demux::Tc | Demux::Kernel) => &[Path::Host],
    }
}

impl Description {
    /// The paths whose frames are counted.
    pub fn counted_paths(&self) -> &'static [Path] {
        counted_paths(self.ingress, self.demux)
    }

    /// Whether what bears the host's MAC is the host's for certain.
    pub fn is_strict(&self) -> bool {
        self.isolation == Isolation::Strict
    }
}
