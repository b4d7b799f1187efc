//! The flood device of a master: see [`macvlan_common::flood`].

use macvlan_common::{
    flood::{FIRST_INDEX, INDEXES, is_index},
    mac::Mac,
};

use crate::{
    kernel::{
        ifname::IfName,
        netlink::{flood::FLOOD_ALIAS, link::Link},
    },
    model::master::Master,
};

/// A flood device that is there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FloodDevice {
    /// Its index.
    pub index: u32,
    /// Its MAC.
    pub mac: Mac,
    /// Administratively up: made to its end, and not taken down since.
    pub up: bool,
}

impl FloodDevice {
    /// The flood device behind a link of the master's own namespace; `None` when it is none of ours.
    pub fn from_link(link: &Link) -> Option<Self> {
        (is_one(link) && link.lower_nsid.is_none()).then_some(())?;
        Some(Self { index: link.index, mac: link.mac?, up: link.up && !link.protodown })
    }

    /// Whether a link of another namespace than the master's was made as a flood device. A container may make
    /// its own device look so: it is deleted then, not spared.
    pub fn was_made_as(link: &Link) -> bool {
        is_one(link) && link.alias.as_deref() == Some(FLOOD_ALIAS)
    }
}

fn is_one(link: &Link) -> bool {
    link.kind.as_deref() == Some("macvlan") && is_index(link.index)
}

/// The name of a master's flood device: no longer than a name may be.
pub fn flood_name(master: &Master) -> String {
    let name = format!("mvflood{}", master.index);
    if name.len() <= IfName::MAX_LEN { name } else { format!("mvfl.{:x}", master.index) }
}

/// The index of a new flood device, from a random number.
pub fn flood_index(random: u32) -> u32 {
    FIRST_INDEX + random % INDEXES
}

/// The MAC of a new flood device, from random numbers: locally administered, and no group's.
pub fn flood_mac(random: u64) -> Mac {
    let [first, rest @ ..] = Mac::from_key(random).octets();
    let [b, c, d, e, f] = rest;
    Mac::new([first & !1 | 2, b, c, d, e, f])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_is_told_by_its_index_and_elsewhere_by_its_alias_too() {
        let mac = flood_mac(u64::MAX);
        let made = Link {
            index: flood_index(u32::MAX),
            mac: Some(mac),
            up: true,
            kind: Some("macvlan".into()),
            lower: Some(2),
            ..Link::default()
        };
        let told = FloodDevice { index: made.index, mac, up: true };
        assert_eq!(FloodDevice::from_link(&made), Some(told));
        let elsewhere = Link { lower_nsid: Some(0), ..made.clone() };
        assert_eq!(FloodDevice::from_link(&elsewhere), None);
        assert!(!FloodDevice::was_made_as(&elsewhere), "whoever may choose an index there");
        assert!(FloodDevice::was_made_as(&Link { alias: Some(FLOOD_ALIAS.into()), ..elsewhere }));
        assert_eq!(FloodDevice::from_link(&Link { index: 7, ..made.clone() }), None);
        assert_eq!(FloodDevice::from_link(&Link { kind: Some("macvtap".into()), ..made }), None);
    }

    #[test]
    fn what_is_drawn_at_random_is_an_index_and_a_mac() {
        for random in [0, 1, u64::MAX, 0x0123_4567_89ab_cdef] {
            assert!(is_index(flood_index(random as u32)));
            let mac = flood_mac(random);
            assert!(mac.is_assignable() && mac.octets()[0] & 2 != 0, "{mac}");
        }
    }
}
