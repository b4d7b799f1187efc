//! Which hooks to take: what the user asks for against what the device is.

use clap::ValueEnum;
use serde::{Deserialize, Serialize};

use super::{Degraded, Demux};

/// `--xdp`: where to demultiplex frames from the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum, Serialize, Deserialize)]
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

impl XdpChoice {
    /// Its name on the command line.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Native => "native",
            Self::Generic => "generic",
            Self::Off => "off",
        }
    }
}

/// `--tc`: how to attach to TC.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum, Serialize, Deserialize)]
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

/// `--drop-unknown`: what becomes of unicast from the wire to nobody here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum, Serialize, Deserialize)]
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

impl DropUnknown {
    /// The word of the command line.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::On => "on",
            Self::Force => "force",
        }
    }
}

/// `--on-missing-bpf`: what to do where BPF cannot be had.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum MissingChoice {
    /// Leave plain kernel macvlan: host and children cannot talk.
    Plain,
    /// A macvlan of the host's own, with a route to each address of a child in mode bridge.
    Shim,
    /// Fail.
    Fail,
}

/// What to do about XDP on one device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum XdpPlan {
    /// Leave XDP alone.
    Skip(Option<Degraded>),
    /// Try this mode; if the kernel refuses, TC ingress demultiplexes.
    Try(Demux),
}

/// Drivers that must copy every packet which the stack made into an XDP buffer before a program
/// may see it: bulk TCP pays more than the demultiplexer saves (`veth_convert_skb_to_xdp_buff`
/// in `drivers/net/veth.c`).
const COPYING_DRIVERS: [&str; 1] = ["veth"];

/// Decides about XDP for a device that `kind` made (`None`: hardware).
pub fn plan_xdp(choice: XdpChoice, kind: Option<&str>) -> XdpPlan {
    match choice {
        XdpChoice::Off => XdpPlan::Skip(None),
        XdpChoice::Generic => XdpPlan::Try(Demux::XdpGeneric),
        XdpChoice::Native => XdpPlan::Try(Demux::XdpNative),
        XdpChoice::Auto => match kind.filter(|kind| COPYING_DRIVERS.contains(kind)) {
            Some(kind) => XdpPlan::Skip(Some(Degraded::new(
                "demux",
                Demux::XdpNative.as_str(),
                Demux::Tc.as_str(),
                format!(
                    "{kind} copies every packet that a stack made into an XDP buffer; TC ingress is faster"
                ),
            ))),
            None => XdpPlan::Try(Demux::XdpNative),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn auto_takes_native_xdp_but_where_the_driver_copies() {
        assert_eq!(plan_xdp(XdpChoice::Auto, None), XdpPlan::Try(Demux::XdpNative));
        assert_eq!(plan_xdp(XdpChoice::Auto, Some("bond")), XdpPlan::Try(Demux::XdpNative));
        assert!(matches!(plan_xdp(XdpChoice::Auto, Some("veth")), XdpPlan::Skip(Some(_))));
    }

    #[test]
    fn a_forced_mode_is_tried_whatever_the_driver() {
        assert_eq!(plan_xdp(XdpChoice::Native, Some("veth")), XdpPlan::Try(Demux::XdpNative));
        assert_eq!(plan_xdp(XdpChoice::Generic, None), XdpPlan::Try(Demux::XdpGeneric));
        assert_eq!(plan_xdp(XdpChoice::Off, None), XdpPlan::Skip(None));
    }
}
