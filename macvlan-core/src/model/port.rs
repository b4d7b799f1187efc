//! What makes a child a port: see [`macvlan_common::port`].

use macvlan_common::port::{FIRST_WITHOUT_XDP, Half, NUMBERS, index_of, port_of};

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

/// The number of a new port, from a random one; of one that takes what XDP sends to it, or not.
pub fn port_number(random: u32, takes_redirected: bool) -> u32 {
    match takes_redirected {
        true => 1 + random % (FIRST_WITHOUT_XDP - 1),
        false => FIRST_WITHOUT_XDP + random % (NUMBERS - FIRST_WITHOUT_XDP),
    }
}

#[cfg(test)]
mod tests {
    use macvlan_common::port::takes_redirected;

    use super::*;
    use crate::kernel::ifname::IfName;

    #[test]
    fn both_devices_are_told_by_index_and_kind() {
        let link =
            |index, kind: &str| Link { index, kind: Some(kind.into()), name: "a".into(), ..Link::default() };
        let number = port_number(u32::MAX, true);
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
        for (random, fast) in
            [0, 1, u32::MAX, u32::MAX / 2].into_iter().flat_map(|random| [(random, true), (random, false)])
        {
            let number = port_number(random, fast);
            assert!(number > 0 && number < NUMBERS && takes_redirected(number) == fast);
            let PortNames { macvlan, host_end } = port_names(number);
            assert!(macvlan != host_end && macvlan.len().max(host_end.len()) <= IfName::MAX_LEN);
        }
    }
}
