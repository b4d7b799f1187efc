//! What makes a child a port: see [`macvlan_common::port`].

use macvlan_common::port::{Half, index_of, port_of};

use crate::kernel::netlink::link::Link;

/// The devices of a port in its master's namespace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Port {
    /// Its number.
    pub number: u32,
    /// The name of its macvlan.
    pub macvlan: String,
}

impl Port {
    /// The port whose macvlan is behind a link of the master's own namespace; `None` where it is none of ours.
    pub fn of_macvlan(link: &Link) -> Option<Self> {
        let (number, half) = port_of(link.index)?;
        let is_one =
            half == Half::Macvlan && link.kind.as_deref() == Some("macvlan") && link.lower_nsid.is_none();
        is_one.then(|| Self { number, macvlan: link.name.clone() })
    }

    /// Index of one of its devices.
    pub const fn index_of(&self, half: Half) -> u32 {
        index_of(self.number, half)
    }

    /// Whether a link of the master's own namespace is the host end of a port.
    pub fn is_host_end(link: &Link) -> bool {
        port_of(link.index).is_some_and(|(_, half)| half == Half::HostEnd)
            && link.kind.as_deref() == Some("veth")
    }
}

/// The names of a new port's devices in its master's namespace.
pub struct PortNames {
    /// That of its macvlan.
    pub macvlan: String,
    /// That of its host end.
    pub host_end: String,
}

/// The names of the devices of the port with this number.
pub fn port_names(number: u32) -> PortNames {
    PortNames { macvlan: format!("mvp{number:06x}m"), host_end: format!("mvp{number:06x}h") }
}

/// The number of a new port, from a random one.
pub fn port_number(random: u32) -> u32 {
    1 + random % (macvlan_common::port::NUMBERS - 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::ifname::IfName;

    #[test]
    fn both_devices_are_told_by_index_and_kind() {
        let link =
            |index, kind: &str| Link { index, kind: Some(kind.into()), name: "a".into(), ..Link::default() };
        let number = port_number(u32::MAX);
        let (macvlan, end) = (index_of(number, Half::Macvlan), index_of(number, Half::HostEnd));
        let port = Port::of_macvlan(&link(macvlan, "macvlan")).unwrap();
        assert_eq!((port.number, port.index_of(Half::HostEnd)), (number, end));
        assert_eq!(Port::of_macvlan(&link(macvlan, "veth")), None);
        assert_eq!(Port::of_macvlan(&Link { lower_nsid: Some(1), ..link(macvlan, "macvlan") }), None);
        assert_eq!(
            (Port::of_macvlan(&link(end, "macvlan")), Port::of_macvlan(&link(7, "macvlan"))),
            (None, None)
        );
        assert!(Port::is_host_end(&link(end, "veth")) && !Port::is_host_end(&link(macvlan, "veth")));
        assert!(!Port::is_host_end(&link(end, "dummy")) && !Port::is_host_end(&link(8, "veth")));
    }

    #[test]
    fn every_number_that_is_drawn_has_names_and_indexes() {
        for random in [0, 1, u32::MAX, u32::MAX / 2] {
            let number = port_number(random);
            assert!(number > 0 && number < macvlan_common::port::NUMBERS);
            let PortNames { macvlan, host_end } = port_names(number);
            assert!(macvlan != host_end && macvlan.len().max(host_end.len()) <= IfName::MAX_LEN);
        }
    }
}
