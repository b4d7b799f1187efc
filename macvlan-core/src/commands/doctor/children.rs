//! What is in place on a master, and its children.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs, io,
};

use macvlan_common::{child::Mode, mac::Mac};

use crate::{
    commands::doctor::finding::{Finding, Status},
    datapath::bpf::hooks::order,
    kernel::netns::known::known,
    model::{
        child::Child,
        description::{Carrier, Degraded, Description},
    },
};

/// What is known of the data path of a master.
#[derive(Debug, Clone)]
pub enum DataPath {
    /// It is in place, and knows these children.
    Attached(Description, BTreeSet<Mac>),
    /// Remains of one are of no use, because of this.
    Broken(String),
    /// It has maps of another layout, which another version made.
    Foreign(String),
    /// There is none, because of this.
    Absent(String),
    /// An ordinary user cannot see it.
    Hidden,
}

/// What it means, for a master with these children.
pub fn judge_datapath(ifname: &str, datapath: &DataPath, children: &[Child]) -> Vec<Finding> {
    let reason = "host and children talk through it, and it counts";
    let check = "data-path";
    let attach = format!("macvlan-ctl attach {ifname}");
    match datapath {
        DataPath::Hidden => vec![Finding::new(Status::Note, check, "only root can tell", reason)],
        DataPath::Broken(why) => {
            vec![Finding::new(Status::Problem, check, format!("broken: {why}"), reason).remedy(attach)]
        }
        DataPath::Foreign(why) => {
            let remedy = format!("macvlan-ctl detach {ifname}");
            vec![Finding::new(Status::Problem, check, why, reason).remedy(remedy)]
        }
        DataPath::Absent(why) => vec![Finding::new(Status::Note, check, why, reason).remedy(attach)],
        DataPath::Attached(description, members) => {
            let mut findings = vec![judge_attached(description, reason)];
            findings.extend(description.degraded.iter().map(judge_degraded));
            findings.extend(judge_members(description, members, children, attach));
            findings
        }
    }
}

/// What it means that masters, by their index here, went to another namespace with the programs on.
pub fn judge_departed(departed: &[u32]) -> Option<Finding> {
    if departed.is_empty() {
        return None;
    }
    let indexes = departed.iter().map(u32::to_string).collect::<Vec<_>>().join(", ");
    let found = format!("device {indexes} of this namespace went to another one with our programs on");
    let reason = "TCX and XDP programs go with their device, and work on there";
    let remedy = "there: macvlan-ctl attach DEVICE takes them over, macvlan-ctl detach DEVICE takes them off";
    Some(Finding::new(Status::Warning, "departed", found, reason).remedy(remedy))
}

fn judge_attached(description: &Description, reason: &str) -> Finding {
    let carrier = if description.carrier == Carrier::Bpf { "bpf" } else { "kernel" };
    let (demux, hairpin) = (description.demux.as_str(), description.hairpin.as_str());
    Finding::new(Status::Ok, "data-path", format!("{carrier}, demux {demux}, hairpin {hairpin}"), reason)
}

fn judge_degraded(degraded: &Degraded) -> Finding {
    let Degraded { feature, wanted, got, reason } = degraded;
    // One demultiplexer or hook for another is a choice; the rest is missed by somebody.
    let is_lost = ["pins", "datapath", "shim", order::INGRESS, order::EGRESS].contains(&feature.as_str())
        || got == "off";
    let status = if is_lost { Status::Warning } else { Status::Note };
    Finding::new(status, format!("data-path-{feature}"), format!("{got} instead of {wanted}"), reason)
}

/// Children that came after the last attach.
fn judge_members(
    description: &Description,
    members: &BTreeSet<Mac>,
    children: &[Child],
    attach: String,
) -> Option<Finding> {
    let is_meant = |child: &&Child| description.adopts || child.is_ours();
    let strangers: Vec<&str> = children
        .iter()
        .filter(is_meant)
        .filter(|child| !members.contains(&child.mac))
        .map(|child| child.name.as_str())
        .collect();
    if strangers.is_empty() {
        return None;
    }
    let reason = "the data path turns frames around for children alone that it knows";
    let found = format!("unknown to the data path: {}", strangers.join(", "));
    Some(Finding::new(Status::Warning, "children", found, reason).remedy(attach))
}

/// Children that share a MAC with each other or with their master.
pub fn judge_macs(master: Mac, children: &[Child]) -> Finding {
    let reason = "of several with the same MAC on a master, one can be up (macvlan_addr_busy in the kernel), \
                  and the data path knows one";
    let mut by_mac: BTreeMap<Mac, Vec<&str>> = BTreeMap::new();
    for child in children.iter().filter(|child| child.mode != Mode::Passthru) {
        by_mac.entry(child.mac).or_default().push(&child.name);
    }
    let mut clashes = Vec::new();
    for (mac, names) in by_mac {
        if mac == master {
            clashes.push(format!("{} of the master: {}", mac, names.join(", ")));
        } else if names.len() > 1 {
            clashes.push(format!("{mac}: {}", names.join(", ")));
        }
    }
    if clashes.is_empty() {
        return Finding::new(Status::Ok, "mac-clash", "none", reason);
    }
    Finding::new(Status::Warning, "mac-clash", clashes.join("; "), reason).remedy(
        "macvlan-ctl child set DEVICE CHILD,mac=... or, in its namespace: ip link set CHILD address ...",
    )
}

/// Network namespaces of this machine that were looked for children in.
#[derive(Debug, Clone, Default)]
pub struct Namespaces {
    /// How many could be entered.
    pub entered: usize,
    /// Names or paths of those that could not.
    pub refused: Vec<String>,
    /// Processes whose namespace cannot even be looked at.
    pub hidden: usize,
}

impl Namespaces {
    /// Tries every namespace that a path is known of.
    pub fn look() -> Self {
        let mut namespaces = Self { hidden: hidden_processes(), ..Self::default() };
        for known in known() {
            let entered = known.open().and_then(|netns| netns.run(|| Ok(())));
            match entered {
                Ok(()) => namespaces.entered += 1,
                Err(_) => namespaces.refused.push(known.label),
            }
        }
        namespaces.refused.sort();
        namespaces
    }
}

fn hidden_processes() -> usize {
    let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
    let is_hidden = |entry: &fs::DirEntry| {
        let is_process = entry.file_name().to_str().is_some_and(|name| name.parse::<u32>().is_ok());
        let looked = fs::metadata(entry.path().join("ns/net"));
        is_process && looked.is_err_and(|error| error.kind() == io::ErrorKind::PermissionDenied)
    };
    processes.filter(is_hidden).count()
}

/// The most names that a finding lists.
const MOST_NAMES: usize = 5;

/// What that means.
pub fn judge_namespaces(namespaces: &Namespaces) -> Finding {
    let reason = "children in a namespace that cannot be entered are found only once the kernel numbers it, \
                  and cannot be changed";
    let Namespaces { entered, refused, hidden } = namespaces;
    if refused.is_empty() && *hidden == 0 {
        return Finding::new(Status::Ok, "namespaces", format!("all {entered} can be entered"), reason);
    }
    let mut found = format!("{entered} can be entered");
    if !refused.is_empty() {
        let more = if refused.len() > MOST_NAMES { ", ..." } else { "" };
        let names = refused.iter().take(MOST_NAMES).map(String::as_str).collect::<Vec<_>>().join(", ");
        found += &format!(", {} cannot: {names}{more}", refused.len());
    }
    if *hidden > 0 {
        found += &format!("; those of {hidden} processes are not shown");
    }
    Finding::new(Status::Note, "namespaces", found, reason).remedy("run as root, outside of containers")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{
        description::{Demux, Hairpin, HostFlood},
        options::{DropUnknown, Isolation},
    };

    const MASTER: Mac = Mac::new([2, 0, 0, 0, 0, 1]);

    fn child(name: &str, last: u8) -> Child {
        Child::example(name, Mac::new([2, 0, 0, 0, 0, last]))
    }

    fn description(adopts: bool, degraded: Vec<Degraded>) -> Description {
        Description {
            carrier: Carrier::Bpf,
            demux: Demux::Tc,
            hairpin: Hairpin::Tcx,
            ingress: true,
            host_flood: HostFlood::Off,
            degraded,
            adopts,
            drop_unknown: DropUnknown::Off,
            vepa_switch: false,
            isolation: Isolation::Off,
            single_mac: false,
            directs: true,
            storm_limit: None,
        }
    }

    #[test]
    fn equal_macs_are_named_with_their_children() {
        assert_eq!(judge_macs(MASTER, &[child("a", 2), child("b", 3)]).status, Status::Ok);
        let found = judge_macs(MASTER, &[child("a", 2), child("b", 2), child("c", 1)]);
        assert_eq!(found.status, Status::Warning);
        assert_eq!(found.found, "02:00:00:00:00:01 of the master: c; 02:00:00:00:00:02: a, b");
        let passthru = Child { mode: Mode::Passthru, ..child("p", 1) };
        assert_eq!(judge_macs(MASTER, &[passthru]).status, Status::Ok);
    }

    #[test]
    fn children_that_the_data_path_does_not_know_are_named_unless_it_is_to_leave_them() {
        let children = [child("a", 2), child("b", 3)];
        let statuses = |adopts| {
            let path = DataPath::Attached(description(adopts, Vec::new()), [children[0].mac].into());
            judge_datapath("eth0", &path, &children)
        };
        let found = statuses(true);
        assert_eq!((found[0].status, found[1].status), (Status::Ok, Status::Warning));
        assert_eq!(found[1].found, "unknown to the data path: b");
        assert_eq!(statuses(false).len(), 1);
    }

    #[test]
    fn what_is_lost_is_a_warning_and_what_is_replaced_a_note() {
        for (feature, got, status) in [
            ("demux", "tc", Status::Note),
            ("hairpin", "clsact", Status::Note),
            ("hairpin", "off", Status::Warning),
            ("pins", "mount namespace", Status::Warning),
            ("egress", "behind program 7 (x)", Status::Warning),
        ] {
            let degraded = vec![Degraded::new(feature, "best", got, "so")];
            let path = DataPath::Attached(description(true, degraded), BTreeSet::new());
            let found = judge_datapath("eth0", &path, &[]);
            assert_eq!((found[1].status, found[1].reason.as_str()), (status, "so"));
        }
    }

    #[test]
    fn a_data_path_is_absent_broken_or_hidden() {
        let status = |path| judge_datapath("eth0", &path, &[])[0].status;
        assert_eq!(status(DataPath::Absent("x".into())), Status::Note);
        assert_eq!(status(DataPath::Broken("x".into())), Status::Problem);
        assert_eq!(status(DataPath::Foreign("x".into())), Status::Problem);
        assert_eq!(status(DataPath::Hidden), Status::Note);
    }

    #[test]
    fn many_namespaces_are_counted_and_few_listed() {
        let refused: Vec<String> = (0..9).map(|number| format!("ns{number}")).collect();
        let found = judge_namespaces(&Namespaces { entered: 2, refused, hidden: 1 });
        assert_eq!(found.status, Status::Note);
        assert!(found.found.contains("9 cannot: ns0, ns1, ns2, ns3, ns4, ..."), "{}", found.found);
        assert_eq!(judge_namespaces(&Namespaces { entered: 3, ..Namespaces::default() }).status, Status::Ok);
    }
}
