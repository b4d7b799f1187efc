//! The children that a data path knows, and what they may do.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

use anyhow::{Result, bail};
use macvlan_common::{
    child::{Mode, Policy},
    l3::Address,
    mac::Mac,
};

use crate::{
    model::{child::Child, master::Master},
    policy::{change::PolicyChange, groups::Groups, rate::RateLimits},
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

    /// Everything that is set for a child, where it is known.
    pub fn setting_of(&self, mac: Mac) -> Option<PolicyChange> {
        let policy = self.policies.get(&mac)?;
        Some(PolicyChange::of(*policy, self.rates_of(mac), &self.groups))
    }
}

/// Which of these children a data path is to know, and their policies: what was set for one that is
/// `present` stays, unless `changes` say otherwise. A device of the host's own has no settings: the programs
/// know it only to leave it alone.
///
/// # Errors
///
/// When there are too many groups, or one is to be held to its addresses beside strangers.
pub fn members(
    master: &Master,
    children: &[&Child],
    present: Members,
    adopts: bool,
    changes: &BTreeMap<Mac, PolicyChange>,
) -> Result<Members> {
    let Members { policies: present, mut groups, rates: present_rates, elsewhere, .. } = present;
    let (mut members, mut rates, mut absent) = (BTreeMap::new(), BTreeMap::new(), BTreeSet::new());
    let is_wanted = |child: &&&Child| (adopts || child.is_ours()) && !child.unfinished;
    // One that is up has the address for itself (`macvlan_addr_busy`): it comes last, and wins.
    let mut children: Vec<&&Child> = children.iter().filter(is_wanted).collect();
    children.sort_by_key(|child| (child.up, !child.is_absent(master)));
    for child in children {
        let change = changes.get(&child.mac).copied().unwrap_or_default();
        if child.is_absent(master) && child.mode != Mode::Passthru {
            absent.insert(child.mac);
        } else {
            absent.remove(&child.mac);
        }
        let before = present.get(&child.mac).copied();
        if child.is_hosts() && !change.named && !before.is_some_and(Policy::is_named) {
            members.insert(child.mac, Policy::new(child.mode, true).with_hosts(true));
            rates.remove(&child.mac);
            continue;
        }
        let policy = change.apply(before, child.mode, &mut groups)?.with_hosts(false);
        if policy.is_guarded() && !adopts {
            bail!(
                "anti-spoof of child {} needs every child to be known: say --adopt=on, or adopt = true",
                child.title()
            );
        }
        let limits = change.apply_rates(present_rates.get(&child.mac).copied().unwrap_or_default());
        members.insert(child.mac, policy.with_limit(!limits.is_empty()));
        rates.insert(child.mac, limits);
    }
    rates.retain(|_, limits| !limits.is_empty());
    let groups = groups.used_by(members.values());
    Ok(Members { policies: members, groups, rates, own: AllowedAddresses::new(), absent, elsewhere })
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
