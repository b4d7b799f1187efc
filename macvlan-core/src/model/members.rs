//! The children that a data path knows, and what they may do.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

use anyhow::{Result, bail};
use macvlan_common::{child::Policy, l3::Address, mac::Mac};

use crate::{
    model::child::Child,
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
}

impl Members {
    /// The rates of a child.
    pub fn rates_of(&self, mac: Mac) -> RateLimits {
        self.rates.get(&mac).copied().unwrap_or_default()
    }

    /// Everything that is set for a child, where it is known.
    pub fn setting_of(&self, mac: Mac) -> Option<PolicyChange> {
        let policy = self.policies.get(&mac)?;
        Some(PolicyChange::of(*policy, self.rates_of(mac), &self.groups))
    }
}

/// Which of these children a data path is to know, and their policies: what was set for one that is
/// `present` stays, unless `changes` say otherwise.
///
/// # Errors
///
/// When there are too many groups, or one is to be held to its addresses beside strangers.
pub fn members(
    children: &[&Child],
    present: Members,
    adopts: bool,
    changes: &BTreeMap<Mac, PolicyChange>,
) -> Result<Members> {
    let Members { policies: present, mut groups, rates: present_rates, .. } = present;
    let (mut members, mut rates) = (BTreeMap::new(), BTreeMap::new());
    let is_wanted = |child: &&&Child| (adopts || child.is_ours()) && !child.unfinished;
    // One that is up has the address for itself (`macvlan_addr_busy`): it comes last, and wins.
    let mut children: Vec<&&Child> = children.iter().filter(is_wanted).collect();
    children.sort_by_key(|child| child.up);
    for child in children {
        let change = changes.get(&child.mac).copied().unwrap_or_default();
        let policy = change.apply(present.get(&child.mac).copied(), child.mode, &mut groups)?;
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
    Ok(Members { policies: members, groups, rates, own: AllowedAddresses::new() })
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
