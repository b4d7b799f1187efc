//! The children that a data path knows, and what they may do.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::{IpAddr, Ipv6Addr},
};

use anyhow::{Result, bail};
use macvlan_common::{
    child::{Mode, Policy},
    l3::Address,
    mac::Mac,
};

use crate::{
    model::{
        child::Child,
        kept::{Kept, Settled, keep},
        master::Master,
    },
    policy::{
        change::PolicyChange,
        confine::{confine, least},
        groups::Groups,
        home::Homes,
        rate::RateLimits,
        rules::Policies,
    },
};

/// The children that a data path is to know.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Members {
    /// Their policies.
    pub policies: BTreeMap<Mac, Policy>,
    /// The groups that they are in.
    pub groups: Groups,
    /// The rates of those that are limited.
    pub rates: BTreeMap<Mac, RateLimits>,
    /// The addresses of those that are held to theirs.
    pub own: AllowedAddresses,
    /// Those whose devices are down, protodown or without carrier.
    pub absent: BTreeSet<Mac>,
    /// Those whose MACs were heard on the wire since they last sent. The programs alone say so.
    pub elsewhere: BTreeSet<Mac>,
    /// The settings that outlive children.
    pub kept: Kept,
}

/// What is asked for of the children of a master, and known of them.
#[derive(Debug, Clone, Copy)]
pub struct Asked<'a> {
    /// Children of others are to be known.
    pub adopts: bool,
    /// What is to be set anew.
    pub changes: &'a BTreeMap<Mac, PolicyChange>,
    /// MACs that are only claimed.
    pub claimed: &'a BTreeSet<Mac>,
    /// The rules, where they are known.
    pub rules: Option<&'a Policies>,
    /// Those are all that there are.
    pub are_all_rules: bool,
    /// Whose the children's namespaces are.
    pub homes: &'a Homes,
    /// MACs that a device has since a moment ago: what they had was another's.
    pub fresh: &'a BTreeSet<Mac>,
    /// MACs that a device has given up for another.
    pub former: &'a BTreeSet<Mac>,
}

impl Members {
    /// The rates of a child.
    pub fn rates_of(&self, mac: Mac) -> RateLimits {
        self.rates.get(&mac).copied().unwrap_or_default()
    }

    /// Whether a child is turned to, isolated by and hidden from the host, as far as its settings go.
    pub fn is_local(&self, mac: Mac) -> bool {
        let is_hosts = self.policies.get(&mac).is_some_and(|policy| policy.is_hosts());
        !is_hosts && !self.absent.contains(&mac) && !self.elsewhere.contains(&mac)
    }

    /// Whether a child of others' namespaces may have more or less than the default: mode aside.
    pub fn are_unusual(&self) -> bool {
        let usual = Policy::new(Mode::Bridge, true);
        let is_unusual = |policy: &Policy| {
            let bare = policy.with_mode(Mode::Bridge).with_named(false).with_vouched(false).with_port(0);
            bare != usual && !policy.is_hosts()
        };
        self.policies.values().any(is_unusual)
    }

    /// Everything that is set for a child, where that is settled.
    pub fn settled_of(&self, mac: Mac) -> Option<PolicyChange> {
        self.setting_of(mac).filter(|_| !self.policies.get(&mac).is_some_and(|policy| policy.is_unsettled()))
    }

    /// Everything that is set for a child, where it is known.
    pub fn setting_of(&self, mac: Mac) -> Option<PolicyChange> {
        let policy = self.policies.get(&mac)?;
        Some(PolicyChange::of(*policy, self.rates_of(mac), &self.groups))
    }
}

/// Which of these children a data path is to know, and their policies: what was set for one that is
/// `present` stays, unless changes say otherwise. A device of the host's own has no settings: the programs
/// know it only to leave it alone. They leave a child alone likewise whose MAC is among those that are only
/// claimed, unless somebody named it; it keeps its settings. One that is new in another namespace may no more than
/// those that are there already, or that come with it and of which something is said: a container could make itself another
/// device. What was kept comes back, and where
/// the container must be known for that, or for a rule, and is not, the child may the least of what it could come to.
///
/// # Errors
///
/// When there are too many groups, or one is to be held to its addresses beside strangers.
pub fn members(master: &Master, children: &[&Child], present: Members, asked: Asked<'_>) -> Result<Members> {
    let Asked { adopts, changes, claimed, rules, are_all_rules, homes, fresh, former } = asked;
    let Members { policies: present, mut groups, rates: present_rates, elsewhere, kept, .. } = present;
    let (mut members, mut rates, mut absent) = (BTreeMap::new(), BTreeMap::new(), BTreeSet::new());
    let is_wanted = |child: &&&Child| (adopts || child.is_ours()) && !child.unfinished && !child.usurps;
    // One that is up has the address for itself (`macvlan_addr_busy`): it comes last, and wins.
    let mut children: Vec<&&Child> = children.iter().filter(is_wanted).collect();
    children.sort_by_key(|child| (child.up, !child.is_absent(master)));
    let here: BTreeSet<Mac> = children.iter().map(|child| child.mac).collect();
    // What is the host's own until it moves to another namespace has no settings: it is new there.
    let blank = Policy::new(Mode::Bridge, true).with_hosts(true);
    let is_blank = |policy: &Policy| policy.with_mode(Mode::Bridge).with_vouched(false) == blank;
    let is_settled = |policy: &&Policy| !policy.is_unsettled() && !is_blank(policy);
    let setting = |mac: &Mac| {
        let policy = present.get(mac).filter(is_settled).filter(|_| !fresh.contains(mac))?;
        Some((*policy, present_rates.get(mac).copied().unwrap_or_default()))
    };
    let held = |child: &Child| {
        let policy = present.get(&child.mac).filter(|policy| policy.is_unsettled())?;
        Some((*policy, present_rates.get(&child.mac).copied().unwrap_or_default()))
    };
    let of_place: Vec<_> = children
        .iter()
        .filter_map(|child| Some((child.place.nsid?, setting(&child.mac)?)))
        .filter(|(_, (policy, _))| !policy.is_hosts())
        .collect();
    // Of those that are new together, what is said of one holds for others there of which nothing is said.
    let said_of_place: Vec<(i32, PolicyChange)> = children
        .iter()
        .filter(|child| setting(&child.mac).is_none())
        .filter_map(|child| Some((child.place.nsid?, *changes.get(&child.mac)?)))
        .filter(|(_, said)| !said.is_empty())
        .collect();
    let mut settled: BTreeMap<Mac, Settled<'_>> = BTreeMap::new();
    for child in &children {
        let change = changes.get(&child.mac).copied().unwrap_or_default();
        if child.is_absent(master) && child.mode != Mode::Passthru {
            absent.insert(child.mac);
        } else {
            absent.remove(&child.mac);
        }
        settled.remove(&child.mac);
        let was_named = present.get(&child.mac).is_some_and(|policy| policy.is_named());
        if child.is_hosts() && !change.named && !was_named {
            members.insert(child.mac, Policy::new(child.mode, true).with_hosts(true));
            rates.remove(&child.mac);
            continue;
        }
        let home = homes.of(&child.place);
        let before = setting(&child.mac);
        let base = match before {
            Some(before) => Some(kept.go_on(child, home, before, &mut groups)?),
            None => kept.begin(child, home, &mut groups)?,
        };
        let mode = mode_of(child, present.get(&child.mac).filter(|_| !fresh.contains(&child.mac)), change);
        let policy = change.apply(base.map(|(policy, _)| policy), mode, &mut groups)?;
        let mut confined = (policy, change.apply_rates(base.map(|(_, rates)| rates).unwrap_or_default()));
        let (mut possible, mut is_unruled) = (Vec::new(), false);
        if before.is_none() && child.place.nsid.is_some() {
            if !policy.is_named() {
                let there = of_place.iter().filter(|(nsid, _)| child.place.nsid == Some(*nsid));
                confined = there.fold(confined, |confined, (_, setting)| confine(confined, *setting));
                let is_there =
                    |(nsid, _): &&(i32, PolicyChange)| child.place.nsid == Some(*nsid) && change.is_empty();
                for (_, said) in said_of_place.iter().filter(is_there) {
                    confined = least(confined, *said, &mut groups)?;
                }
            }
            possible = rules.map(|rules| rules.possible(child.identity(homes))).unwrap_or_default();
            is_unruled = !possible.is_empty();
            possible.extend(kept.candidates(home, &here));
            // Only who knows the rules that it waits for can settle it, or who knows all that rules ask for.
            let waits = |(policy, _): &(Policy, RateLimits)| {
                policy.is_unruled() && !are_all_rules && !home.is_whole()
            };
            if let Some(held) = held(child).filter(|held| possible.is_empty() && waits(held)) {
                members.insert(child.mac, held.0.with_mode(mode));
                rates.insert(child.mac, held.1);
                continue;
            }
            for setting in &possible {
                confined = least(confined, *setting, &mut groups)?;
            }
        }
        let (policy, limits) = confined;
        let policy = policy
            .with_hosts(claimed.contains(&child.mac) && !policy.is_named())
            .with_unsettled(!possible.is_empty())
            .with_unruled(is_unruled);
        if policy.is_guarded() && !adopts {
            bail!(
                "anti-spoof of child {} needs every child to be known: say --adopt=on, or adopt = true",
                child.title()
            );
        }
        if possible.is_empty() && !policy.is_hosts() {
            let by_rules = rules.map(|rules| rules.of(child.identity(homes)));
            let is_set = changes.contains_key(&child.mac);
            settled.insert(child.mac, Settled { child, home, setting: (policy, limits), is_set, by_rules });
        }
        members.insert(child.mac, policy.with_limit(!limits.is_empty()));
        rates.insert(child.mac, limits);
    }
    for child in children {
        if let Some(policy) = members.get_mut(&child.mac) {
            *policy = policy.with_port(if policy.is_hosts() { 0 } else { child.port_number() });
        }
    }
    rates.retain(|_, limits| !limits.is_empty());
    let settled: Vec<Settled<'_>> = settled.into_values().collect();
    let kept = keep(kept, &settled, &here, former, &mut groups)?;
    let groups = groups.used_by(members.values());
    Ok(Members { policies: members, groups, rates, own: AllowedAddresses::new(), absent, elsewhere, kept })
}

/// The mode of a child. Its device's may have been changed from inside: one that is known in another namespace has the
/// mode that it had, until somebody asks for the new one.
fn mode_of(child: &Child, known: Option<&Policy>, change: PolicyChange) -> Mode {
    match known.filter(|policy| !policy.is_hosts()) {
        Some(policy) if child.is_in_foreign_hands() && !change.takes_mode => policy.mode(),
        _ => child.mode,
    }
}

/// The addresses of each child that is held to its own.
pub type AllowedAddresses = BTreeMap<Mac, BTreeSet<Address>>;

/// An address as the programs know it.
pub fn key_of(address: IpAddr) -> Address {
    match address {
        IpAddr::V4(address) => Address::v4(address.octets()),
        IpAddr::V6(address) => Address::v6(address.octets()),
    }
}

/// An address that the programs know.
pub fn ip_of(address: Address) -> IpAddr {
    let mut bytes = [0; 16];
    for (place, word) in bytes.chunks_exact_mut(4).zip(address.0) {
        place.copy_from_slice(&word.to_ne_bytes());
    }
    Ipv6Addr::from(bytes).to_canonical()
}
