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

/// An offload that is well either way: which is better depends on what a node carries.
const CHOICE: &str = "rx-gro-list";

/// What it does, as measured on Linux 6.18 with frames from the wire, of the same without.
const CHOICE_REASON: &str = "on, one UDP flow brings a child 1.6 times as much, 60 flows 0.9, and TCP 0.75 to 0.95: for \
                             nodes whose children receive few large UDP flows";

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
    OFFLOADS.iter().map(judge_one).chain([judge_choice(ifname, offloads)]).collect()
}

fn judge_choice(ifname: &str, offloads: &BTreeMap<String, bool>) -> Finding {
    let is_on = offloads.get(CHOICE).copied().unwrap_or(false);
    let (found, other) = if is_on { ("on", "off") } else { ("off", "on") };
    Finding::new(Status::Ok, CHOICE, found, CHOICE_REASON)
        .remedy(format!("ethtool -K {ifname} {CHOICE} {other}, if that fits better"))
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
    fn what_suits_some_nodes_alone_is_well_either_way() {
        for (is_on, other) in [(true, "off"), (false, "on")] {
            let found = judge("eth0", Some(&[(CHOICE.to_owned(), is_on)].into()));
            let choice = found.iter().find(|finding| finding.check == CHOICE).unwrap();
            assert_eq!(choice.status, Status::Ok);
            let remedy = choice.remedy.as_deref().unwrap();
            assert!(remedy.starts_with(&format!("ethtool -K eth0 rx-gro-list {other}")), "{remedy}");
        }
    }

    #[test]
    fn a_driver_that_does_not_tell_is_said_not_to() {
        assert_eq!(judge("eth0", None)[0].status, Status::Note);
    }
}
