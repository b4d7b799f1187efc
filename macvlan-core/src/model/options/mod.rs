//! The options of a data path: what is asked for, what holds, and the one over the other.

mod choice;
#[cfg(test)]
mod tests;

use std::num::NonZeroU32;

use anyhow::{Result, anyhow};
use macvlan_common::limit::MOST_FRAMES;
use serde::{Deserialize, Serialize};

use crate::model::keyword::Keyword;
pub use crate::model::options::choice::{
    DropUnknown, IngressChoice, Isolation, MissingChoice, SingleMac, TcChoice, XdpChoice,
};

/// Children that fit unless told otherwise.
pub const DEFAULT_MAX_CHILDREN: u32 = 4096;

/// Most children that may be asked for.
pub const MOST_CHILDREN: u32 = 1_048_576;

/// What a command is told of the data path. `None` is left out: as it is or, at first, the default.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Options {
    /// Where to demultiplex.
    pub xdp: Option<XdpChoice>,
    /// How to attach to TC.
    pub tc: Option<TcChoice>,
    /// Whether to attach to TC ingress.
    pub ingress: Option<IngressChoice>,
    /// Whether children that others made belong to the data path.
    pub adopt: Option<bool>,
    /// Whether requests for a known address go to its owner alone, or to all as those for unknown ones do.
    pub directed_neigh: Option<bool>,
    /// How many broadcast and multicast frames a second may come from the wire, and as many from each
    /// child.
    pub storm_limit: Option<StormLimit>,
    /// How many children fit.
    pub max_children: Option<u32>,
    /// What becomes of unicast from the wire to nobody here.
    pub drop_unknown: Option<DropUnknown>,
    /// Whether the switch sends frames back out of the port they came in by.
    pub vepa_switch: Option<bool>,
    /// Whether children speak with the master's MAC on the wire.
    pub single_mac: Option<SingleMac>,
    /// How certain it is that a frame with the host's MAC is the host's.
    pub isolation: Option<Isolation>,
    /// What to do where BPF is unavailable. Left out, a shim that is there is kept.
    pub on_missing_bpf: Option<MissingChoice>,
}

impl Options {
    /// These options, and for those that are left out the `other` ones: the command line over the file.
    pub fn or(self, other: Self) -> Self {
        // Without `..`: a new option cannot be forgotten.
        let Self {
            xdp,
            tc,
            ingress,
            adopt,
            directed_neigh,
            storm_limit,
            max_children,
            drop_unknown,
            vepa_switch,
            single_mac,
            isolation,
            on_missing_bpf,
        } = self;
        Self {
            xdp: xdp.or(other.xdp),
            tc: tc.or(other.tc),
            ingress: ingress.or(other.ingress),
            adopt: adopt.or(other.adopt),
            directed_neigh: directed_neigh.or(other.directed_neigh),
            storm_limit: storm_limit.or(other.storm_limit),
            max_children: max_children.or(other.max_children),
            drop_unknown: drop_unknown.or(other.drop_unknown),
            vepa_switch: vepa_switch.or(other.vepa_switch),
            single_mac: single_mac.or(other.single_mac),
            isolation: isolation.or(other.isolation),
            on_missing_bpf: on_missing_bpf.or(other.on_missing_bpf),
        }
    }

    /// What holds once these options are set where `present` holds: what is left out stays.
    pub fn over(self, present: OptionValues) -> OptionValues {
        let Self {
            xdp,
            tc,
            ingress,
            adopt,
            directed_neigh,
            storm_limit,
            // The maps have it, and keep it.
            max_children: _,
            drop_unknown,
            vepa_switch,
            single_mac,
            isolation,
            // It says what to do where no data path is that could hold it.
            on_missing_bpf: _,
        } = self;
        OptionValues {
            xdp: xdp.unwrap_or(present.xdp),
            tc: tc.unwrap_or(present.tc),
            ingress: ingress.unwrap_or(present.ingress),
            adopt: adopt.unwrap_or(present.adopt),
            directed_neigh: directed_neigh.unwrap_or(present.directed_neigh),
            storm_limit: storm_limit.unwrap_or(present.storm_limit),
            drop_unknown: drop_unknown.unwrap_or(present.drop_unknown),
            vepa_switch: vepa_switch.unwrap_or(present.vepa_switch),
            single_mac: single_mac.unwrap_or(present.single_mac),
            isolation: isolation.unwrap_or(present.isolation),
        }
    }
}

/// What holds for a data path, as its record has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct OptionValues {
    /// `--xdp`, as asked for.
    pub xdp: XdpChoice,
    /// `--tc`, as asked for.
    pub tc: TcChoice,
    /// `--ingress`, as asked for.
    pub ingress: IngressChoice,
    /// `--adopt`: whether children that others made belong to it.
    #[serde(rename = "adopts")]
    pub adopt: bool,
    /// `--drop-unknown`.
    pub drop_unknown: DropUnknown,
    /// `--vepa-switch`.
    pub vepa_switch: bool,
    /// `--directed-neigh`: whether requests for a known address go to its owner alone.
    #[serde(rename = "directs")]
    pub directed_neigh: bool,
    /// `--storm-limit`.
    pub storm_limit: StormLimit,
    /// `--single-mac`.
    pub single_mac: SingleMac,
    /// `--isolation`.
    pub isolation: Isolation,
}

impl Default for OptionValues {
    fn default() -> Self {
        Self {
            xdp: XdpChoice::Auto,
            tc: TcChoice::Auto,
            ingress: IngressChoice::On,
            adopt: true,
            drop_unknown: DropUnknown::Off,
            vepa_switch: false,
            directed_neigh: true,
            storm_limit: StormLimit::Off,
            single_mac: SingleMac::Off,
            isolation: Isolation::Off,
        }
    }
}

impl OptionValues {
    /// Those that are not the default, as the command line has them: "storm-limit 1000".
    pub fn unusual(&self) -> Vec<String> {
        let usual = Self::default();
        let Self {
            xdp,
            tc,
            ingress,
            adopt,
            drop_unknown,
            vepa_switch,
            directed_neigh,
            storm_limit,
            single_mac,
            isolation,
        } = *self;
        let on_off = |on| if on { "on" } else { "off" };
        [
            (xdp != usual.xdp).then(|| format!("xdp {}", xdp.as_str())),
            (tc != usual.tc).then(|| format!("tc {}", tc.as_str())),
            (ingress != usual.ingress).then(|| format!("ingress {}", ingress.as_str())),
            (adopt != usual.adopt).then(|| format!("adopt {}", on_off(adopt))),
            (directed_neigh != usual.directed_neigh)
                .then(|| format!("directed-neigh {}", on_off(directed_neigh))),
            storm_limit.per_second().map(|limit| format!("storm-limit {limit}")),
            (drop_unknown != usual.drop_unknown).then(|| format!("drop-unknown {}", drop_unknown.as_str())),
            (vepa_switch != usual.vepa_switch).then(|| format!("vepa-switch {}", on_off(vepa_switch))),
            (single_mac != usual.single_mac).then(|| format!("single-mac {}", single_mac.as_str())),
            (isolation != usual.isolation).then(|| format!("isolation {}", isolation.as_str())),
        ]
        .into_iter()
        .flatten()
        .collect()
    }
}

/// `--storm-limit`: broadcast and multicast frames a second from the wire, and from each child. In JSON a
/// number, or null for none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(from = "Option<NonZeroU32>", into = "Option<NonZeroU32>")]
pub enum StormLimit {
    /// No limit.
    #[default]
    Off,
    /// So many.
    PerSecond(NonZeroU32),
}

impl StormLimit {
    /// A limit of so many.
    ///
    /// # Errors
    ///
    /// The limit lets nothing through, or is more than can be counted.
    pub fn of(per_second: u32) -> Result<Self> {
        let limit = NonZeroU32::new(per_second).filter(|limit| limit.get() <= MOST_FRAMES);
        limit.map(Self::PerSecond).ok_or_else(|| wrong_storm_limit(per_second))
    }

    /// Frames a second; `None` is no limit.
    pub const fn per_second(self) -> Option<NonZeroU32> {
        match self {
            Self::Off => None,
            Self::PerSecond(limit) => Some(limit),
        }
    }
}

impl From<Option<NonZeroU32>> for StormLimit {
    fn from(limit: Option<NonZeroU32>) -> Self {
        limit.map_or(Self::Off, Self::PerSecond)
    }
}

impl From<StormLimit> for Option<NonZeroU32> {
    fn from(limit: StormLimit) -> Self {
        limit.per_second()
    }
}

/// The limit of storms that `text` asks for: frames per second, or "off".
///
/// # Errors
///
/// The text is neither, or the limit lets nothing through, or is more than can be counted.
pub fn parse_storm_limit(text: &str) -> Result<StormLimit> {
    match text {
        "off" => Ok(StormLimit::Off),
        number => StormLimit::of(number.parse().map_err(|_| wrong_storm_limit(number))?),
    }
}

fn wrong_storm_limit(given: impl std::fmt::Display) -> anyhow::Error {
    anyhow!("a storm limit is 1 to {MOST_FRAMES} frames per second or \"off\", not {given}")
}
