//! Offloads that lead frames past the data path, or change them before it.

use std::collections::BTreeMap;

use crate::commands::doctor::finding::{Finding, Status};

/// An offload, how bad it is when on, and why.
const OFFLOADS: [(&str, &str, Status, &str); 3] = [
    (
        "l2-fwd-offload",
        "l2-fwd-offload",
        Status::Warning,
        "the NIC hands frames to children past the master's hooks: they are not counted, and private \
         children are not kept apart",
    ),
    (
        "rx-lro",
        "lro",
        Status::Warning,
        "frames that the NIC merged cannot be forwarded; native XDP needs it off, and so do children that \
         route",
    ),
    (
        "rx-gro-hw",
        "gro-hw",
        Status::Note,
        "the NIC merges frames: some drivers refuse native XDP meanwhile, and counters count what was \
         merged",
    ),
];

/// What the offloads of the device `ifname` mean; `None` where the driver does not tell of them.
pub fn judge(ifname: &str, offloads: Option<&BTreeMap<String, bool>>) -> Vec<Finding> {
    let Some(offloads) = offloads else {
        let reason = "some offloads lead frames past the data path";
        return vec![Finding::new(Status::Note, "offloads", "the driver does not tell", reason)];
    };
    let judge_one = |(feature, option, lack, reason): &(&str, &str, Status, &str)| {
        if offloads.get(*feature).copied().unwrap_or(false) {
            let remedy = format!("ethtool -K {ifname} {option} off");
            Finding::new(*lack, *feature, "on", *reason).remedy(remedy)
        } else {
            Finding::new(Status::Ok, *feature, "off", *reason)
        }
    };
    OFFLOADS.iter().map(judge_one).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_offload_that_is_on_has_a_remedy_and_one_that_is_off_is_well() {
        for (feature, option, lack, _) in OFFLOADS {
            let found = judge("eth0", Some(&[(feature.to_owned(), true)].into()));
            let remarks: Vec<_> = found.iter().filter(|finding| finding.status != Status::Ok).collect();
            assert_eq!(remarks.len(), 1);
            assert_eq!((remarks[0].check.as_str(), remarks[0].status), (feature, lack));
            assert_eq!(remarks[0].remedy, Some(format!("ethtool -K eth0 {option} off")));
        }
    }

    #[test]
    fn a_driver_that_does_not_tell_is_said_not_to() {
        assert_eq!(judge("eth0", None)[0].status, Status::Note);
    }
}
