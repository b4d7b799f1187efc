//! Which hooks to take: what the user asks for against what the device is.

use crate::model::{
    description::{Degraded, Demux},
    options::XdpChoice,
};

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
