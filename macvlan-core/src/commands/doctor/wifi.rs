//! Wi-Fi: an access point takes no frames of MACs that are not its stations'.

use anyhow::Result;

use crate::{
    commands::doctor::finding::{Finding, Status},
    kernel::genl::{Attributes, Family, number},
};

/// `NL80211_CMD_GET_INTERFACE`, `NL80211_ATTR_*` (`include/uapi/linux/nl80211.h`).
const CMD_GET_INTERFACE: u8 = 5;

const ATTR_IFINDEX: u16 = 3;

const ATTR_IFTYPE: u16 = 5;

const ATTR_4ADDR: u16 = 83;

/// `NL80211_IFTYPE_*`.
const STATION: u32 = 2;

const ACCESS_POINT: u32 = 3;

/// What a wireless device is used as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wireless {
    /// A client of an access point.
    Station,
    /// A client that sends four addresses (WDS), so that others' MACs pass too.
    FourAddressStation,
    /// An access point itself.
    AccessPoint,
    /// Something else.
    Other,
}

/// What a device is in its wireless network; `None` where it is no wireless device.
///
/// # Errors
///
/// Generic netlink is unavailable.
pub fn role(index: u32) -> Result<Option<Wireless>> {
    let Some(family) = Family::find("nl80211")? else { return Ok(None) };
    Ok(family.ask(CMD_GET_INTERFACE, ATTR_IFINDEX, &index.to_ne_bytes())?.map(|answer| of(&answer)))
}

fn of(answer: &Attributes) -> Wireless {
    match number::<u32>(answer, ATTR_IFTYPE) {
        Some(STATION) if number::<u8>(answer, ATTR_4ADDR) == Some(1) => Wireless::FourAddressStation,
        Some(STATION) => Wireless::Station,
        Some(ACCESS_POINT) => Wireless::AccessPoint,
        _ => Wireless::Other,
    }
}

/// What that means; nothing for a device with a cable.
pub fn judge(role: Option<Wireless>) -> Option<Finding> {
    let reason = "an access point drops frames of MACs that did not associate with it (IEEE 802.11), and \
                  every child has its own MAC";
    let finding = |status, found: &str| Finding::new(status, "wifi", found, reason);
    match role? {
        Wireless::Station => Some(
            finding(Status::Problem, "a Wi-Fi station: children reach the host, but not the network").remedy(
                "use a cable, or ipvlan or routing for the children; or where the access point has WDS: iw \
                 dev NAME set 4addr on",
            ),
        ),
        Wireless::FourAddressStation => {
            Some(finding(Status::Note, "a Wi-Fi station with four addresses (WDS): children's MACs pass"))
        }
        Wireless::AccessPoint => Some(finding(Status::Ok, "an access point itself")),
        Wireless::Other => Some(finding(Status::Warning, "a wireless device")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(kind: u32, four: Option<u8>) -> Attributes {
        let mut answer = vec![(ATTR_IFTYPE, kind.to_ne_bytes().to_vec())];
        answer.extend(four.map(|four| (ATTR_4ADDR, vec![four])));
        answer
    }

    #[test]
    fn a_station_is_a_problem_unless_it_sends_four_addresses() {
        let status = |answer| judge(Some(of(&answer))).unwrap().status;
        assert_eq!(status(answer(STATION, None)), Status::Problem);
        assert_eq!(status(answer(STATION, Some(0))), Status::Problem);
        assert_eq!(status(answer(STATION, Some(1))), Status::Note);
        assert_eq!(status(answer(ACCESS_POINT, None)), Status::Ok);
        assert_eq!(status(answer(6, None)), Status::Warning);
        assert_eq!(status(Attributes::new()), Status::Warning);
    }

    #[test]
    fn a_cable_is_not_spoken_of() {
        assert_eq!(judge(None), None);
    }
}
