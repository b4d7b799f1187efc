//! Rules: which children may do what, whoever made them.

use macvlan_common::mac::Mac;

use crate::{
    kernel::{
        ifname::IfName,
        netns::{NetnsRef, place::Place},
    },
    policy::{
        change::PolicyChange,
        glob::Glob,
        home::{Facts, Home},
    },
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
        /// It is in a container like this.
        container: ContainerLike,
    },
}

/// Which containers a rule is about: those that all of this is true of.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ContainerLike {
    /// Its name, with or without the engine, or its id.
    pub name: Option<Glob>,
    /// Its image, as it was asked for.
    pub image: Option<Glob>,
    /// Each of these is like one of its labels, as `key=value`.
    pub labels: Vec<Glob>,
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
    /// Whose its namespace is.
    pub home: &'a Home,
}

/// Whether a rule is about a child.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Answer {
    No,
    /// Its container is not known, or not all of it.
    Maybe,
    Yes,
}

impl Policies {
    /// These rules, in this order.
    pub fn new(rules: Vec<Rule>) -> Self {
        Self { rules }
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.rules.is_empty()
    }

    /// Whether a rule asks where a child lives.
    pub fn ask_where(&self) -> bool {
        self.rules.iter().any(|rule| match &rule.subject {
            Subject::Own { netns, .. } => netns.is_some(),
            Subject::Like { netns, .. } => netns.is_some(),
        })
    }

    /// Whether a rule needs programs on the children's own devices.
    pub fn want_programs(&self) -> bool {
        self.rules.iter().any(|rule| rule.setting.wants_program())
    }

    /// Whether a rule asks for containers.
    pub fn ask_containers(&self) -> bool {
        let asks =
            |rule: &Rule| matches!(&rule.subject, Subject::Like { container, .. } if !container.is_empty());
        self.rules.iter().any(asks)
    }

    /// What a child may do: of each setting, what the first rule says that is about it and says
    /// anything. What a rule may yet say, once its container is known, no later rule does.
    pub fn of(&self, child: Identity<'_>) -> PolicyChange {
        let (mut picked, mut open) = (PolicyChange::default(), PolicyChange::default());
        for rule in &self.rules {
            let setting = PolicyChange { named: rule.subject.names(), ..rule.setting };
            match rule.subject.is(child) {
                Answer::No => {}
                Answer::Yes => picked = picked.or(setting.without(&open)),
                Answer::Maybe => open = open.or(PolicyChange { named: false, ..setting.without(&picked) }),
            }
        }
        picked
    }

    /// What the rules could come to for a child whose container is not known, one by one; nothing where they ask
    /// for no more than is known.
    pub fn possible(&self, child: Identity<'_>) -> Vec<PolicyChange> {
        let (mut picked, mut possible) = (PolicyChange::default(), Vec::new());
        for rule in &self.rules {
            match rule.subject.is(child) {
                Answer::No => {}
                Answer::Yes => picked = picked.or(rule.setting),
                Answer::Maybe => possible.push(rule.setting.without(&picked)),
            }
        }
        possible.retain(|setting| !setting.is_empty());
        if !possible.is_empty() {
            possible.push(picked);
        }
        possible
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

    fn is(&self, child: Identity<'_>) -> Answer {
        match self {
            Self::Own { name, netns } => {
                let netns_is = match netns {
                    None => *child.place == Place::default(),
                    Some(netns) => lives_in(child.place, netns),
                };
                if child.name == name.as_str() && netns_is { Answer::Yes } else { Answer::No }
            }
            Self::Like { mac, name, netns, container } => {
                let is_like = mac.is_none_or(|mac| mac == child.mac)
                    && name.as_ref().is_none_or(|name| name.matches(child.name))
                    && netns.as_ref().is_none_or(|netns| lives_like(child.place, netns));
                if is_like { container.is(child.home) } else { Answer::No }
            }
        }
    }
}

impl ContainerLike {
    /// Whether every child is meant, in a container or not.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    fn is(&self, home: &Home) -> Answer {
        match home {
            _ if self.is_empty() => Answer::Yes,
            Home::Nobody => Answer::No,
            Home::Unknown => Answer::Maybe,
            Home::Container(facts) => {
                let answers = [self.name_is(facts), self.image_is(facts), self.labels_are(facts)];
                let all = [Answer::No, Answer::Maybe].into_iter().find(|answer| answers.contains(answer));
                all.unwrap_or(Answer::Yes)
            }
        }
    }

    fn name_is(&self, facts: &Facts) -> Answer {
        let Some(glob) = &self.name else { return Answer::Yes };
        let matches = facts.names().any(|name| glob.matches(&name));
        answer(matches, facts.name.is_some())
    }

    fn image_is(&self, facts: &Facts) -> Answer {
        let Some(glob) = &self.image else { return Answer::Yes };
        let matches = facts.origin.as_ref().is_some_and(|origin| glob.matches(&origin.image));
        answer(matches, facts.origin.is_some())
    }

    fn labels_are(&self, facts: &Facts) -> Answer {
        let Some(origin) = &facts.origin else { return answer(self.labels.is_empty(), false) };
        let is_there = |glob: &Glob| origin.labels.iter().any(|label| glob.matches(label));
        answer(self.labels.iter().all(is_there), true)
    }
}

/// What does not match may do so yet, where not all is known.
fn answer(matches: bool, is_known: bool) -> Answer {
    match (matches, is_known) {
        (true, _) => Answer::Yes,
        (false, true) => Answer::No,
        (false, false) => Answer::Maybe,
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
