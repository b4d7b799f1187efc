//! What a device is in its wireless network (nl80211).

use anyhow::Result;

use crate::kernel::genl::{Attributes, Family, number};

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_station_with_four_addresses_is_another_one() {
        let answer = |kind: u32, four: Option<u8>| {
            let mut answer = vec![(ATTR_IFTYPE, kind.to_ne_bytes().to_vec())];
            answer.extend(four.map(|four| (ATTR_4ADDR, vec![four])));
            of(&answer)
        };
        assert_eq!(answer(STATION, None), Wireless::Station);
        assert_eq!(answer(STATION, Some(0)), Wireless::Station);
        assert_eq!(answer(STATION, Some(1)), Wireless::FourAddressStation);
        assert_eq!(answer(ACCESS_POINT, None), Wireless::AccessPoint);
        assert_eq!(answer(6, None), Wireless::Other);
        assert_eq!(of(&Attributes::new()), Wireless::Other);
    }
}
