//! The ways, as data.

use std::time::Duration;

use anyhow::Result;
use macvlan_core::kernel::netlink::kind::Kind;

use crate::bench::{
    contender::UDP,
    user_space::{packet, program::Program, station::Station, tap, udp, xsk},
};

/// A way to read a child's frames.
#[derive(Debug, Clone, Copy)]
pub struct Way {
    /// Its name in JSON.
    pub name: &'static str,
    /// Its name in tables.
    pub title: &'static str,
    /// What the child is.
    pub kind: Kind,
    /// How long nothing must come before the program sleeps.
    pub patience: Duration,
    /// Ours: a port, with native XDP on the master.
    pub is_ours: bool,
    open: fn(&Station) -> Result<Box<dyn Program>>,
}

/// As soon as there is nothing.
const AT_ONCE: Duration = Duration::ZERO;

/// When nothing is under way any more: longer than it takes to wake a program that sleeps.
const AFTER_A_WHILE: Duration = Duration::from_micros(20);

/// It spins.
const NEVER: Duration = Duration::MAX;

/// All of them.
pub const WAYS: [Way; 9] = [
    Way {
        name: "xsk-port",
        title: "AF_XDP on a port",
        kind: Kind::Port,
        patience: AT_ONCE,
        is_ours: true,
        open: xsk::open,
    },
    Way {
        name: "xsk-port-patient",
        title: "AF_XDP on a port, patient",
        kind: Kind::Port,
        patience: AFTER_A_WHILE,
        is_ours: true,
        open: xsk::open,
    },
    Way {
        name: "xsk-port-spin",
        title: "AF_XDP on a port, spinning",
        kind: Kind::Port,
        patience: NEVER,
        is_ours: true,
        open: xsk::open,
    },
    Way {
        name: UDP,
        title: "UDP socket on a macvlan",
        kind: Kind::Macvlan,
        patience: AT_ONCE,
        is_ours: false,
        open: udp::open,
    },
    Way {
        name: "udp-socket-spin",
        title: "UDP socket on a macvlan, spinning",
        kind: Kind::Macvlan,
        patience: NEVER,
        is_ours: false,
        open: udp::open,
    },
    Way {
        name: "af-packet",
        title: "AF_PACKET v3 on a macvlan",
        kind: Kind::Macvlan,
        patience: AT_ONCE,
        is_ours: false,
        open: packet::open,
    },
    Way {
        name: "macvtap",
        title: "macvtap, read and write",
        kind: Kind::Macvtap,
        patience: AT_ONCE,
        is_ours: false,
        open: tap::open,
    },
    Way {
        name: "xsk-macvlan",
        title: "AF_XDP on a macvlan",
        kind: Kind::Macvlan,
        patience: AT_ONCE,
        is_ours: false,
        open: xsk::open,
    },
    Way {
        name: "xsk-macvlan-spin",
        title: "AF_XDP on a macvlan, spinning",
        kind: Kind::Macvlan,
        patience: NEVER,
        is_ours: false,
        open: xsk::open,
    },
];

impl Way {
    /// Begins the program at this station.
    ///
    /// # Errors
    ///
    /// The kernel lacks what it needs.
    pub fn open(&self, station: &Station) -> Result<Box<dyn Program>> {
        (self.open)(station)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn names_are_unique_and_the_base_takes_part() {
        let names: BTreeSet<&str> = WAYS.iter().map(|way| way.name).collect();
        assert!(names.len() == WAYS.len() && names.contains(UDP));
    }
}
