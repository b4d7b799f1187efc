//! Wi-Fi: an access point takes no frames of MACs that are not its stations'.

use crate::{
    commands::doctor::finding::{Finding, Status},
    kernel::wireless::Wireless,
};

/// What that means; nothing for a device with a cable.
pub fn judge(role: Option<Wireless>) -> Option<Finding> {
    let reason = "an access point drops frames of MACs that did not associate with it (IEEE 802.11), and \
                  every child has its own MAC";
    let finding = |status, found: &str| Finding::new(status, "wifi", found, reason);
    match role? {
        Wireless::Station => Some(
            finding(Status::Problem, "a Wi-Fi station: children reach the network by the device's MAC alone").remedy(
                "macvlan-ctl attach NAME --single-mac (or run, with --single-mac=auto); or where the access point has WDS: iw dev NAME set \
                 4addr on",
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

    #[test]
    fn a_station_is_a_problem_unless_it_sends_four_addresses() {
        let status = |role| judge(Some(role)).unwrap().status;
        assert_eq!(status(Wireless::Station), Status::Problem);
        assert_eq!(status(Wireless::FourAddressStation), Status::Note);
        assert_eq!(status(Wireless::AccessPoint), Status::Ok);
        assert_eq!(status(Wireless::Other), Status::Warning);
        assert!(judge(Some(Wireless::Station)).unwrap().remedy.unwrap().contains("--single-mac"));
    }

    #[test]
    fn a_cable_is_not_spoken_of() {
        assert_eq!(judge(None), None);
    }
}
