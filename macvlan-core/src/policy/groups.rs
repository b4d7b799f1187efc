//! The groups of a master.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, Result};
use macvlan_common::{
    child::Policy,
    group::{GroupName, MOST_GROUPS},
};

/// The groups of a master: their names, and the numbers that policies hold.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Groups(BTreeMap<GroupName, u16>);

impl Groups {
    /// The name of this number; `None` for 0, and for one that has none.
    pub fn name_of(&self, number: u16) -> Option<GroupName> {
        self.0.iter().find(|(_, other)| **other == number).map(|(name, _)| *name)
    }

    /// The number of this name: a free one when it is new.
    ///
    /// # Errors
    ///
    /// When there are too many groups.
    pub fn number_of(&mut self, name: GroupName) -> Result<u16> {
        if let Some(number) = self.0.get(&name) {
            return Ok(*number);
        }
        let used: BTreeSet<u16> = self.0.values().copied().collect();
        let free = (1..=u16::MAX).find(|number| !used.contains(number));
        let free = free.filter(|_| self.0.len() < MOST_GROUPS as usize);
        let free = free.with_context(|| format!("a master has at most {MOST_GROUPS} groups"))?;
        self.0.insert(name, free);
        Ok(free)
    }

    /// Only those that one of these policies is in.
    pub fn used_by<'a>(mut self, policies: impl Iterator<Item = &'a Policy>) -> Self {
        let used: BTreeSet<u16> = policies.map(|policy| policy.group()).collect();
        self.0.retain(|_, number| used.contains(number));
        self
    }

    /// Numbers and names.
    pub fn iter(&self) -> impl Iterator<Item = (u16, GroupName)> {
        self.0.iter().map(|(name, number)| (*number, *name))
    }
}

impl FromIterator<(u16, GroupName)> for Groups {
    fn from_iter<T: IntoIterator<Item = (u16, GroupName)>>(items: T) -> Self {
        Self(items.into_iter().map(|(number, name)| (name, number)).collect())
    }
}
