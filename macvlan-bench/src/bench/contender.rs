//! Who takes part: every way to connect host, wire and children that is measured, as data.

use macvlan_core::model::options::{DropUnknown, IngressChoice, Options, SingleMac, XdpChoice};
use serde::Serialize;

use crate::bench::path::Path;

/// How namespaces are connected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wiring {
    /// Macvlan children on the master.
    Macvlan,
    /// Ports on the master.
    Port,
    /// Macvlan children, and another macvlan in the host's namespace that the host talks through.
    Shim,
    /// The master and a veth per child in a bridge, which has the host's address.
    Bridge {
        /// Frames that the bridge forwards pass the host's packet filter (`br_netfilter`).
        netfilter: bool,
    },
    /// A veth per child; the host routes.
    Routed,
    /// Ipvlan children on the master, layer 2.
    Ipvlan,
    /// A veth pair of its own between every two: no switch at all.
    Direct,
    /// A program on the master's native XDP hook that drops all.
    DropAll,
}

/// One that takes part.
#[derive(Debug, Clone, Copy)]
pub struct Contender {
    /// Its name in JSON and on the command line.
    pub name: &'static str,
    /// What it is, for tables and charts.
    pub title: &'static str,
    /// How its namespaces are connected.
    pub wiring: Wiring,
    /// Our data path on its master, and how it is attached.
    pub datapath: Option<fn() -> Options>,
    /// It differs from another one in what becomes of a flood alone.
    pub flood_only: bool,
    /// Also in a quick run.
    pub quick: bool,
}

/// All of them, ours first, limits last.
pub const CONTENDERS: [Contender; 16] = [
    Contender {
        name: "tc",
        title: "macvlan-ctl, TC",
        wiring: Wiring::Macvlan,
        datapath: Some(|| Options { xdp: Some(XdpChoice::Off), ..Options::default() }),
        flood_only: false,
        quick: true,
    },
    Contender {
        name: "lean",
        title: "macvlan-ctl, no program at ingress",
        wiring: Wiring::Macvlan,
        datapath: Some(|| Options {
            xdp: Some(XdpChoice::Off),
            ingress: Some(IngressChoice::Off),
            ..Options::default()
        }),
        flood_only: false,
        quick: true,
    },
    Contender {
        name: "xdp-native",
        title: "macvlan-ctl, native XDP",
        wiring: Wiring::Macvlan,
        datapath: Some(|| Options { xdp: Some(XdpChoice::Native), ..Options::default() }),
        flood_only: false,
        quick: true,
    },
    Contender {
        name: "xdp-generic",
        title: "macvlan-ctl, generic XDP",
        wiring: Wiring::Macvlan,
        datapath: Some(|| Options { xdp: Some(XdpChoice::Generic), ..Options::default() }),
        flood_only: false,
        quick: false,
    },
    Contender {
        name: "port",
        title: "macvlan-ctl, a stack on a port, TC",
        wiring: Wiring::Port,
        datapath: Some(|| Options { xdp: Some(XdpChoice::Off), ..Options::default() }),
        flood_only: false,
        quick: false,
    },
    Contender {
        name: "port-xdp",
        title: "macvlan-ctl, a stack on a port, native XDP",
        wiring: Wiring::Port,
        datapath: Some(|| Options { xdp: Some(XdpChoice::Native), ..Options::default() }),
        flood_only: false,
        quick: false,
    },
    Contender {
        name: "xdp-drop-unknown",
        title: "macvlan-ctl, native XDP, unknown dropped",
        wiring: Wiring::Macvlan,
        datapath: Some(|| Options {
            xdp: Some(XdpChoice::Native),
            drop_unknown: Some(DropUnknown::On),
            ..Options::default()
        }),
        flood_only: true,
        quick: true,
    },
    Contender {
        name: "single-mac",
        title: "macvlan-ctl, one MAC on the wire",
        wiring: Wiring::Macvlan,
        datapath: Some(|| Options { single_mac: Some(SingleMac::On), ..Options::default() }),
        flood_only: false,
        quick: false,
    },
    Contender {
        name: MACVLAN,
        title: "plain macvlan",
        wiring: Wiring::Macvlan,
        datapath: None,
        flood_only: false,
        quick: true,
    },
    Contender {
        name: SHIM,
        title: "macvlan + host shim",
        wiring: Wiring::Shim,
        datapath: None,
        flood_only: false,
        quick: true,
    },
    Contender {
        name: BRIDGE,
        title: "bridge + veth",
        wiring: Wiring::Bridge { netfilter: false },
        datapath: None,
        flood_only: false,
        quick: true,
    },
    Contender {
        name: "bridge-nf",
        title: "bridge + veth, netfilter",
        wiring: Wiring::Bridge { netfilter: true },
        datapath: None,
        flood_only: false,
        quick: false,
    },
    Contender {
        name: "routed",
        title: "veth, routed",
        wiring: Wiring::Routed,
        datapath: None,
        flood_only: false,
        quick: false,
    },
    Contender {
        name: "ipvlan",
        title: "ipvlan L2",
        wiring: Wiring::Ipvlan,
        datapath: None,
        flood_only: false,
        quick: false,
    },
    Contender {
        name: "veth",
        title: "limit: bare veth",
        wiring: Wiring::Direct,
        datapath: None,
        flood_only: false,
        quick: true,
    },
    Contender {
        name: XDP_DROP,
        title: "limit: bare XDP_DROP",
        wiring: Wiring::DropAll,
        datapath: None,
        flood_only: false,
        quick: true,
    },
];

/// Names that ratios are made against.
pub const MACVLAN: &str = "macvlan";

/// As above.
pub const SHIM: &str = "shim";

/// As above.
pub const BRIDGE: &str = "bridge";

/// Of those who process frames themselves.
pub const UDP: &str = "udp-socket";

/// As above.
pub const XDP_DROP: &str = "xdp-drop";

/// Whom the others are compared with, where they take part.
pub const BASES: [&str; 7] = [MACVLAN, SHIM, BRIDGE, XDP_DROP, UDP, "ip", "ip-group"];

impl Contender {
    /// The one of this name.
    pub fn named(name: &str) -> Option<&'static Self> {
        CONTENDERS.iter().find(|contender| contender.name == name)
    }

    /// Whether frames can go this way at all.
    pub const fn carries(&self, path: Path) -> bool {
        match self.wiring {
            // Host and children are kept apart by the kernel, unless our programs join them.
            Wiring::Macvlan => self.datapath.is_some() || !path.is_with_host(),
            Wiring::Ipvlan => !path.is_with_host(),
            // Between the others it is plain macvlan.
            Wiring::Shim => path.is_with_host(),
            Wiring::Port | Wiring::Bridge { .. } | Wiring::Routed | Wiring::Direct => true,
            Wiring::DropAll => false,
        }
    }

    /// Whether it is told what becomes of frames for nobody. Not on a wire that nobody shares.
    pub const fn is_flooded(&self) -> bool {
        !matches!(self.wiring, Wiring::Shim | Wiring::Direct)
    }

    /// A limit that nobody can pass, not somebody to compete with.
    pub const fn is_limit(&self) -> bool {
        matches!(self.wiring, Wiring::Direct | Wiring::DropAll)
    }

    /// Whether it is ours.
    pub const fn is_ours(&self) -> bool {
        self.datapath.is_some()
    }
}

/// One that takes part, as the report names it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Described {
    /// See [`Contender::name`].
    pub name: &'static str,
    /// See [`Contender::title`].
    pub title: &'static str,
    /// See [`Contender::is_ours`].
    pub ours: bool,
    /// See [`Contender::is_limit`].
    pub limit: bool,
    /// Why it could not take part; `null` when it did.
    pub missing: Option<String>,
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn names_are_unique_and_every_base_takes_part() {
        let names: BTreeSet<&str> = CONTENDERS.iter().map(|contender| contender.name).collect();
        assert_eq!(names.len(), CONTENDERS.len());
        assert!(BASES[..4].iter().all(|base| Contender::named(base).is_some_and(|base| base.quick)));
    }

    #[test]
    fn only_what_joins_host_and_children_is_measured_between_them() {
        let carry = |path| -> Vec<&str> {
            CONTENDERS.iter().filter(|contender| contender.carries(path)).map(|c| c.name).collect()
        };
        assert!(!carry(Path::HostChild).contains(&MACVLAN));
        assert!(carry(Path::HostChild).contains(&SHIM) && !carry(Path::WireChild).contains(&SHIM));
        assert!(carry(Path::WireChild).contains(&MACVLAN));
    }
}
