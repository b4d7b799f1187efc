//! Rules: which children may do what, whoever made them.

use macvlan_common::{child::AntiSpoof, mac::Mac};

use crate::{
    kernel::{
        ifname::IfName,
        netns::{NetnsRef, place::Place},
    },
    policy::{change::PolicyChange, glob::Glob},
};

/// The rules of one master. The default has none.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Policies {
    rules: Vec<Rule>,
}

/// A rule: some children, and what is set for them.
#[derive(Debug, Clone, PartialEq)]
pub struct Rule {
    /// Which children.
    pub subject: Subject,
    /// What is set; the rest is left to later rules.
    pub setting: PolicyChange,
}

/// Which children a rule is about.
#[derive(Debug, Clone, PartialEq)]
pub enum Subject {
    /// The child that the file itself asks for.
    Own {
        /// Its name.
        name: IfName,
        /// Its namespace; the master's without one.
        netns: Option<NetnsRef>,
    },
    /// Every child that all of these are true of; those that are `None` are true of each.
    Like {
        /// It has this MAC.
        mac: Option<Mac>,
        /// Its name is like this.
        name: Option<Glob>,
        /// It lives in a namespace, other than the master's own, that has a name or path like this.
        netns: Option<Glob>,
    },
}

/// What rules tell children by.
#[derive(Debug, Clone, Copy)]
pub struct Identity<'a> {
    /// Name in its own namespace.
    pub name: &'a str,
    /// Its MAC.
    pub mac: Mac,
    /// Where it lives.
    pub place: &'a Place,
}

impl Policies {
    /// These rules, in this order.
    pub fn new(rules: Vec<Rule>) -> Self {
        Self { rules }
    }

    /// Whether a rule asks where a child lives.
    pub fn ask_where(&self) -> bool {
        self.rules.iter().any(|rule| match &rule.subject {
            Subject::Own { netns, .. } => netns.is_some(),
            Subject::Like { netns, .. } => netns.is_some(),
        })
    }

    /// Whether a rule holds children to their addresses.
    pub fn hold_to_addresses(&self) -> bool {
        let holds = |rule: &Rule| rule.setting.anti_spoof.is_some_and(|degree| degree != AntiSpoof::Off);
        self.rules.iter().any(holds)
    }

    /// What a child may do: of each setting, what the first rule says that is about it and says
    /// anything.
    pub fn of(&self, child: Identity<'_>) -> PolicyChange {
        let rules = self.rules.iter().filter(|rule| rule.subject.is(child));
        rules.fold(PolicyChange::default(), |picked, rule| {
            picked.or(PolicyChange { named: rule.subject.names(), ..rule.setting })
        })
    }
}

impl Subject {
    /// Whether it names a child, by more than where that lives.
    fn names(&self) -> bool {
        match self {
            Self::Own { .. } => true,
            Self::Like { mac, name, .. } => {
                mac.is_some() || name.as_ref().is_some_and(|name| name.as_str() != "*")
            }
        }
    }

    fn is(&self, child: Identity<'_>) -> bool {
        match self {
            Self::Own { name, netns } => {
                let netns_is = match netns {
                    None => *child.place == Place::default(),
                    Some(netns) => lives_in(child.place, netns),
                };
                child.name == name.as_str() && netns_is
            }
            Self::Like { mac, name, netns } => {
                mac.is_none_or(|mac| mac == child.mac)
                    && name.as_ref().is_none_or(|name| name.matches(child.name))
                    && netns.as_ref().is_none_or(|netns| lives_like(child.place, netns))
            }
        }
    }
}

/// Whether the child's namespace is `netns`, whatever it is called by.
fn lives_in(place: &Place, netns: &NetnsRef) -> bool {
    let Some(own) = place.netns() else { return false };
    own == *netns || own.id().is_some_and(|id| netns.id() == Some(id))
}

fn lives_like(place: &Place, pattern: &Glob) -> bool {
    let matches = place.label.as_ref().is_some_and(|label| pattern.matches(label));
    let named = || pattern.as_str().parse().is_ok_and(|netns| lives_in(place, &netns));
    matches || (pattern.is_plain() && named())
}
