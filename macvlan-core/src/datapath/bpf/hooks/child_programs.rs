//! The programs on children's own devices, which vouch for their frames. Each is a TCX link in the
//! child's namespace, pinned beside the master's.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
};

use anyhow::{Error, Result};
use macvlan_common::{
    child::{Mode, Policy},
    mac::Mac,
};
use nix::errno::Errno;

use crate::{
    datapath::bpf::hooks::{
        child_copies::{ChildProgram, Copies, Globals},
        child_pins::{deaf_name, is_alive, is_pin, pin_name},
        link::{detach_link, pinned_link_program},
    },
    kernel::{bpffs, netlink::Netlink},
    model::{
        child::Child,
        claims::{SOURCE, overheard},
        description::Degraded,
    },
};

/// What there is of vouching, after an attempt.
#[derive(Debug, Default)]
pub struct ChildPrograms {
    /// Children whose devices vouch for their frames.
    pub by: BTreeSet<Mac>,
    /// The names of their pins.
    pins: BTreeSet<String>,
    /// Of children that list MACs of others here, that they hear these, and why.
    hearing: Vec<Degraded>,
    /// Children whose devices cannot, what of theirs depends on it, and why.
    not: Vec<Missing>,
}

/// A child whose device has no program, though it is to have one.
#[derive(Debug)]
struct Missing {
    child: String,
    policy: Policy,
    why: String,
}

impl ChildPrograms {
    /// The children whose devices have no program, and why, in one line.
    pub fn reasons(&self) -> String {
        let reasons = self.not.iter().map(|missing| format!("{}: {}", missing.child, missing.why));
        reasons.collect::<Vec<_>>().join("; ")
    }
}

/// Whether a child's policy asks for a feature.
type Needs = fn(Policy) -> bool;

/// What a child's own device does for it, in the words of `degraded`; and what there is without. The master does it less well.
const FEATURES: [(&str, [&str; 2], Needs); 5] = [
    ("anti-spoof", AT_MASTER, Policy::is_guarded),
    // A broadcast gets to siblings before the master sees it.
    ("ra", AT_MASTER, |policy| policy.is_inspected() && !policy.ra()),
    ("dhcp-server", AT_MASTER, |policy| policy.is_inspected() && !policy.dhcp_server()),
    // What such a child sends counts with what the host sends, which bears the same MAC.
    ("passthru", AT_MASTER, |policy| matches!(policy.mode(), Mode::Passthru)),
    ("settings", ["of the device", "of its MAC"], |policy| !policy.wants_vouching()),
];

const AT_MASTER: [&str; 2] = ["device", "master"];

impl ChildPrograms {
    /// Whether this is about what children's own devices do.
    pub fn concerns(degraded: &Degraded) -> bool {
        degraded.feature == SOURCE || FEATURES.iter().any(|(feature, ..)| degraded.feature == *feature)
    }

    /// What is less for the devices that have no program: each feature once, with the first child and its
    /// reason.
    pub fn degraded(&self) -> Vec<Degraded> {
        let less = FEATURES.iter().filter_map(|(feature, [wanted, got], needs)| {
            let mut without = self.not.iter().filter(|missing| needs(missing.policy));
            let Missing { child, why, .. } = without.next()?;
            let others = match without.count() {
                0 => String::new(),
                1 => " and 1 other child".to_owned(),
                others => format!(" and {others} other children"),
            };
            Some(Degraded::new(feature, wanted, got, format!("{child}{others}: {why}")))
        });
        less.chain(self.hearing.iter().cloned()).collect()
    }
}

/// Which of these children's devices are to vouch for their frames, or have settings that stay theirs under another MAC, and
/// their policies. Of those with one MAC, the one that the driver gives frames to is the last.
fn wanted<'c>(children: &[&'c Child], members: &BTreeMap<Mac, Policy>) -> Vec<(&'c Child, Policy)> {
    let mut children = children.to_vec();
    children.sort_by_key(|child| (child.other_mac.is_none(), child.up));
    let wanted = children.into_iter().filter(|child| !child.usurps).filter_map(|child| {
        // In the master's own namespace root alone sets a MAC; and what is not settled yet is nobody's.
        let is_noted = |policy: &Policy| {
            child.is_in_foreign_hands() && policy.is_set() && !policy.is_hosts() && !policy.is_unsettled()
        };
        let policy = members.get(&child.mac).filter(|policy| policy.wants_vouching() || is_noted(policy))?;
        Some((child, *policy))
    });
    wanted.collect()
}

/// Puts programs on the devices of those children that want one, and notes devices of others. What is there and fits stays,
/// unless the programs are to be `renew`ed.
///
/// # Errors
///
/// When the pins cannot be read. A device that cannot be reached is told of.
pub async fn put(
    netlink: &Netlink,
    directory: &Path,
    master: Mac,
    children: &[&Child],
    members: &BTreeMap<Mac, Policy>,
    renew: bool,
) -> Result<ChildPrograms> {
    let mut vouching = ChildPrograms::default();
    let mut all: Vec<(&Child, ChildProgram, Policy, String, Globals)> = Vec::new();
    for (child, policy) in wanted(children, members) {
        let what = if policy.wants_vouching() { ChildProgram::Vouch } else { ChildProgram::Note };
        all.push((child, what, policy, pin_name(child, policy), Globals::of(child.mac, policy)));
    }
    for child in children.iter().filter(|child| !overheard(child, master, children).is_empty()) {
        let (name, globals) = (deaf_name(child), Globals::deaf(child.device_mac()));
        all.push((child, ChildProgram::Deafen, Policy::default(), name, globals));
    }
    let mut copies = Copies::new(directory);
    for (child, what, policy, name, globals) in &all {
        let is_renewed = renew && *what != ChildProgram::Note;
        let put = match !is_renewed && is_alive(directory, name, child.key().1) {
            true => Ok(()),
            false => copies.put_one(netlink, child, name, *what, globals).await,
        };
        match (put, what) {
            (Ok(()), what) => {
                if *what == ChildProgram::Vouch {
                    vouching.by.insert(child.mac);
                }
                vouching.pins.insert(name.clone());
            }
            // Who has given up the right to enter namespaces follows the device.
            (Err(error), ChildProgram::Note) if may_not_enter(&error) => {}
            (Err(error), ChildProgram::Vouch | ChildProgram::Note) => {
                vouching.by.remove(&child.mac);
                let why = format!("{error:#}");
                vouching.not.push(Missing { child: child.title(), policy: *policy, why });
            }
            (Err(error), ChildProgram::Deafen) => {
                let reason = format!("no program keeps it from {}: {error:#}", child.title());
                vouching.hearing.push(Degraded::new(SOURCE, "its own", "all that is listed", reason));
            }
        }
    }
    Ok(vouching)
}

fn may_not_enter(error: &Error) -> bool {
    error.root_cause().downcast_ref() == Some(&Errno::EPERM)
}

/// Takes all programs off but those that `put` has put or found. One that could not be renewed goes too: left, it
/// would be taken for what fits.
///
/// # Errors
///
/// When the pins cannot be read or removed.
pub fn take_off_others(directory: &Path, put: &ChildPrograms) -> Result<()> {
    for name in pins(directory)?.into_iter().filter(|name| !put.pins.contains(name)) {
        detach_link(&directory.join(name))?;
    }
    Ok(())
}

/// Takes all of them off.
///
/// # Errors
///
/// The first failure, after all others were tried.
pub fn remove(directory: &Path) -> Result<()> {
    let removed = pins(directory)?.into_iter().map(|name| detach_link(&directory.join(name)));
    removed.fold(Ok(()), Result::and)
}

/// Ids of the programs.
pub fn program_ids(directory: &Path) -> Vec<u32> {
    let pins = pins(directory).unwrap_or_default();
    pins.iter().filter_map(|name| pinned_link_program(&directory.join(name)).ok()).collect()
}

fn pins(directory: &Path) -> Result<Vec<String>> {
    let names = bpffs::names_in(directory)?.into_iter();
    Ok(names.filter(|name| is_pin(name)).collect())
}

#[cfg(test)]
mod tests {
    use macvlan_common::child::AntiSpoof;

    use super::*;

    #[test]
    fn those_held_to_their_macs_and_passthru_children_are_wanted() {
        let mac = |last| Mac::new([2, 0, 0, 0, 0, last]);
        let policy = |mode| Policy::new(mode, true);
        let held = policy(Mode::Bridge).with_anti_spoof(AntiSpoof::Mac);
        let members = BTreeMap::from([
            (mac(1), held),
            (mac(2), policy(Mode::Bridge)),
            (mac(3), policy(Mode::Passthru)),
        ]);
        let all = [1, 2, 3, 4].map(|last| Child::example("web", mac(last)));
        let twin = Child { up: false, ..Child::example("twin", mac(1)) };
        let away = Child { other_mac: Some(mac(9)), ..Child::example("away", mac(1)) };
        let children: Vec<&Child> = all.iter().chain([&twin, &away]).collect();
        let wanted: Vec<_> = wanted(&children, &members)
            .into_iter()
            .map(|(child, policy)| (child.mac, child.name.as_str(), policy.is_guarded()))
            .collect();
        let expected =
            [(mac(1), "away", true), (mac(1), "twin", true), (mac(1), "web", true), (mac(3), "web", false)];
        assert_eq!(wanted, expected);
    }

    #[test]
    fn each_feature_without_a_program_is_told_of_once() {
        let policy = |mode| Policy::new(mode, true);
        let missing = |child: &str, policy| Missing { child: child.into(), policy, why: "gone".into() };
        let mut programs = ChildPrograms::default();
        assert_eq!(programs.degraded(), []);
        programs.not = vec![
            missing("web", policy(Mode::Bridge).with_ra(false)),
            missing("db", policy(Mode::Bridge).with_ra(false).with_dhcp_server(false)),
            missing("tap", policy(Mode::Passthru).with_ra(false)),
        ];
        let told = programs.degraded();
        assert!(told.iter().all(ChildPrograms::concerns));
        let reasons: Vec<_> = told.iter().map(|part| (part.feature.as_ref(), part.reason.as_str())).collect();
        assert_eq!(
            reasons,
            [("ra", "web and 1 other child: gone"), ("dhcp-server", "db: gone"), ("passthru", "tap: gone")]
        );
    }
}
