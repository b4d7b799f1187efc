//! Settings that outlive a child, so that it has them again when it comes back as another device: by its container,
//! which is a fact, and by its MAC, which in another namespace is only a claim.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::Result;
use macvlan_common::{
    child::{Mode, Policy},
    mac::Mac,
};

use crate::{
    model::child::Child,
    policy::{
        change::PolicyChange,
        confine::confine,
        groups::Groups,
        home::{Facts, Home},
        rate::RateLimits,
    },
};

/// A policy and its rates.
pub(crate) type Setting = (Policy, RateLimits);

/// What settings are kept by.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Keeper {
    /// A MAC.
    Mac(Mac),
    /// A container, with its engine.
    Container(String),
}

/// What is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeptSetting {
    /// Everything that was set.
    pub setting: PolicyChange,
    /// By a MAC: the container that had it, or nothing. By a container: its id.
    pub of: String,
}

/// All settings that are kept on one master.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Kept(pub BTreeMap<Keeper, KeptSetting>);

impl Kept {
    /// Whether there is nothing.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether something of it needs programs on the children's own devices.
    pub fn want_programs(&self) -> bool {
        self.0.values().any(|kept| kept.setting.wants_program())
    }

    /// What is kept by a container: by its name or, where it was renamed since, by its id.
    pub fn of_container(&self, facts: &Facts) -> Option<PolicyChange> {
        let by_name = facts.keeper().and_then(|name| self.0.get(&Keeper::Container(name)));
        let is_same = |(keeper, kept): &(&Keeper, &KeptSetting)| {
            matches!(keeper, Keeper::Container(_)) && kept.of == facts.id
        };
        let by_id = || self.0.iter().find(is_same).map(|(_, kept)| kept);
        by_name.or_else(by_id).map(|kept| kept.setting)
    }

    /// What is kept by a MAC that no container is known to have had.
    fn of_mac(&self, mac: Mac) -> Option<PolicyChange> {
        self.0.get(&Keeper::Mac(mac)).filter(|kept| kept.of.is_empty()).map(|kept| kept.setting)
    }

    /// The container that had a MAC, or nothing; `None` where nothing is kept by it.
    fn owner_of(&self, mac: Mac) -> Option<&str> {
        self.0.get(&Keeper::Mac(mac)).map(|kept| kept.of.as_str())
    }

    /// What a child may come to whose container is not known: it may be any that has none of the MACs `present`.
    pub fn candidates(&self, home: &Home, present: &BTreeSet<Mac>) -> Vec<PolicyChange> {
        let engine = match home {
            Home::Nobody => return Vec::new(),
            Home::Container(facts) if facts.name.is_some() => return Vec::new(),
            Home::Container(facts) => Some(facts.engine),
            Home::Unknown => None,
        };
        let is_here = |name: &str| present.iter().any(|mac| self.owner_of(*mac) == Some(name));
        let is_one = |name: &str| {
            let of_engine = engine.is_none_or(|engine| name.split(':').next() == Some(engine));
            of_engine && !is_here(name)
        };
        let all = self.0.iter().filter_map(|(keeper, kept)| match keeper {
            Keeper::Container(name) if is_one(name) => Some(kept.setting),
            _ => None,
        });
        all.collect()
    }

    /// Whether what is kept is of a child that is there.
    pub fn is_in_use(&self, keeper: &Keeper, present: &BTreeMap<Mac, Policy>) -> bool {
        match keeper {
            Keeper::Mac(mac) => present.contains_key(mac),
            Keeper::Container(name) => present.keys().any(|mac| self.owner_of(*mac) == Some(name)),
        }
    }

    /// What a child begins with that is new here.
    ///
    /// # Errors
    ///
    /// When there are too many groups.
    pub fn begin(&self, child: &Child, home: &Home, groups: &mut Groups) -> Result<Option<Setting>> {
        let of_container = match home {
            Home::Container(facts) => self.of_container(facts),
            Home::Nobody | Home::Unknown => None,
        };
        let certain = child.place.nsid.is_none();
        let (setting, is_fact) = match (of_container, self.of_mac(child.mac)) {
            (Some(setting), _) => (setting, true),
            (None, Some(setting)) => (setting, certain),
            (None, None) => return Ok(None),
        };
        let setting = PolicyChange { named: setting.named && certain, ..setting };
        let kept = (setting.apply(None, child.mode, groups)?, setting.apply_rates(RateLimits::default()));
        Ok(Some(if is_fact { kept } else { confine(fresh(child), kept) }))
    }

    /// What a child has that is there already: what its MAC has, unless that was another's. Then it has its own, as
    /// far as both allow.
    ///
    /// # Errors
    ///
    /// When there are too many groups.
    pub fn go_on(&self, child: &Child, home: &Home, before: Setting, groups: &mut Groups) -> Result<Setting> {
        let owner = self.owner_of(child.mac);
        let is_anothers = match home {
            Home::Unknown => false,
            Home::Nobody => child.place.nsid.is_some() && owner.is_some_and(|owner| !owner.is_empty()),
            Home::Container(facts) => {
                let own = facts.keeper();
                let is_renamed = self.0.get(&Keeper::Container(owner.unwrap_or_default().to_owned()));
                let is_renamed = is_renamed.is_some_and(|kept| kept.of == facts.id);
                match owner {
                    None => self.of_container(facts).is_some(),
                    Some(owner) => own.as_deref() != Some(owner) && own.is_some() && !is_renamed,
                }
            }
        };
        if !is_anothers {
            return Ok(before);
        }
        let own = self.begin(child, home, groups)?.unwrap_or_else(|| fresh(child));
        let (policy, rates) = confine(own, before);
        Ok((policy.with_named(before.0.is_named()), rates))
    }
}

/// What a child may do of which nobody says anything.
fn fresh(child: &Child) -> Setting {
    (Policy::new(child.mode, true), RateLimits::default())
}

/// A child as it was settled, for [`Keeping`].
pub(crate) struct Settled<'a> {
    pub child: &'a Child,
    pub home: &'a Home,
    pub setting: Setting,
    /// Somebody sets something of it now.
    pub is_set: bool,
    /// What the rules alone come to, where they are known.
    pub by_rules: Option<PolicyChange>,
}

/// What is to be kept once the children are settled so: of each what is not the default, by its MAC, and what is
/// not by the rules, by its container. What is kept of those that are gone stays, but not by a MAC that a known
/// container had, or that a child gave up (`former`).
///
/// # Errors
///
/// When there are too many groups.
pub(crate) fn keep(
    kept: Kept,
    settled: &[Settled<'_>],
    present: &BTreeSet<Mac>,
    former: &BTreeSet<Mac>,
    groups: &mut Groups,
) -> Result<Kept> {
    let Kept(mut all) = kept;
    all.retain(|keeper, kept| match keeper {
        Keeper::Mac(mac) => present.contains(mac) || kept.of.is_empty() && !former.contains(mac),
        Keeper::Container(_) => true,
    });
    let mut containers: BTreeMap<String, (&Facts, Setting, bool)> = BTreeMap::new();
    for Settled { child, home, setting, is_set, by_rules } in settled {
        let is_unlike = |(policy, rates): Setting, other: PolicyChange, groups: &Groups| {
            let other = PolicyChange { named: false, ..other };
            PolicyChange { named: false, ..PolicyChange::of(policy, rates, groups) } != other
        };
        let (default, _) = fresh(child);
        let default = PolicyChange::of(default, RateLimits::default(), groups);
        let facts = match home {
            Home::Container(facts) => Some(facts),
            Home::Nobody | Home::Unknown => None,
        };
        let keeper = facts.and_then(Facts::keeper);
        let by_mac = Keeper::Mac(child.mac);
        if is_unlike(*setting, default, groups) {
            let was = all.get(&by_mac).map(|kept| kept.of.clone());
            let of = match home {
                // As long as nobody tells otherwise.
                Home::Unknown => was.unwrap_or_default(),
                Home::Nobody => String::new(),
                // One without a name never comes back.
                Home::Container(facts) => keeper.clone().unwrap_or_else(|| facts.engine.to_owned()),
            };
            let setting = PolicyChange::of(setting.0, setting.1, groups);
            all.insert(by_mac, KeptSetting { setting, of });
        } else {
            all.remove(&by_mac);
        }
        let Some((keeper, facts)) = keeper.zip(facts) else { continue };
        let is_kept = is_set | all.contains_key(&Keeper::Container(keeper.clone()));
        let ruled = by_rules.unwrap_or_default();
        let (policy, rates) =
            (ruled.apply(None, child.mode, groups)?, ruled.apply_rates(RateLimits::default()));
        let ruled = PolicyChange::of(policy, rates, groups);
        let is_set = (is_kept || by_rules.is_some()) && is_unlike(*setting, ruled, groups);
        containers
            .entry(keeper)
            .and_modify(|(_, together, any)| {
                *together = confine(*together, *setting);
                *any |= is_set;
            })
            .or_insert((facts, *setting, is_set));
    }
    for (name, (facts, (policy, rates), is_set)) in containers {
        all.retain(|keeper, kept| !matches!(keeper, Keeper::Container(_)) || kept.of != facts.id);
        let by_name = Keeper::Container(name);
        if is_set {
            let setting = PolicyChange::of(policy.with_mode(Mode::Bridge), rates, groups);
            all.insert(by_name, KeptSetting { setting, of: facts.id.clone() });
        } else {
            all.remove(&by_name);
        }
    }
    Ok(Kept(all))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::netns::place::Place;

    fn container(name: &str) -> Home {
        let id = format!("{name:0<64}");
        Home::Container(Facts { engine: "docker", id, name: Some(name.into()), origin: None })
    }

    fn mac(last: u8) -> Mac {
        Mac::new([2, 0, 0, 0, 0, last])
    }

    fn child(last: u8, nsid: Option<i32>) -> Child {
        Child { place: Place { nsid, label: None }, ..Child::example("eth0", mac(last)) }
    }

    /// What is kept once these children have these settings.
    fn kept(before: Kept, settled: &[(u8, Option<i32>, Home, Policy)]) -> Kept {
        let children: Vec<Child> = settled.iter().map(|(last, nsid, ..)| child(*last, *nsid)).collect();
        let all: Vec<Settled<'_>> = settled
            .iter()
            .zip(&children)
            .map(|((.., home, policy), child)| Settled {
                child,
                home,
                setting: (*policy, RateLimits::default()),
                is_set: true,
                by_rules: Some(PolicyChange::default()),
            })
            .collect();
        let present = settled.iter().map(|(last, ..)| mac(*last)).collect();
        keep(before, &all, &present, &BTreeSet::new(), &mut Groups::default()).unwrap()
    }

    fn free() -> Policy {
        Policy::new(Mode::Bridge, true)
    }

    fn begin(kept: &Kept, child: &Child, home: &Home) -> Option<Policy> {
        kept.begin(child, home, &mut Groups::default()).unwrap().map(|(policy, _)| policy)
    }

    fn go_on(kept: &Kept, child: &Child, home: &Home, before: Policy) -> Policy {
        let before = (before, RateLimits::default());
        kept.go_on(child, home, before, &mut Groups::default()).unwrap().0
    }

    #[test]
    fn what_is_the_default_is_not_kept_and_what_is_no_more_is_forgotten() {
        assert_eq!(kept(Kept::default(), &[(1, Some(1), container("web"), free())]), Kept::default());
        let strict = free().with_ra(false);
        let some = kept(Kept::default(), &[(1, Some(1), container("web"), strict)]);
        assert_eq!(some.0.len(), 2, "by its MAC and by its container: {some:?}");
        // Gone, it is kept by its container alone, whose MAC it will not be.
        let gone = kept(some.clone(), &[]);
        assert_eq!(gone.0.keys().collect::<Vec<_>>(), [&Keeper::Container("docker:web".into())]);
        assert_eq!(kept(some, &[(1, Some(1), container("web"), free())]), Kept::default());
    }

    #[test]
    fn a_container_has_its_own_back_and_may_be_the_candidate_until_it_is_known() {
        let strict = free().with_host_access(false);
        let gone = kept(kept(Kept::default(), &[(1, Some(1), container("web"), strict)]), &[]);
        let new = child(2, Some(2));
        assert_eq!(begin(&gone, &new, &container("web")), Some(strict));
        assert_eq!(begin(&gone, &new, &container("db")), None);
        let candidates = |home: &Home| gone.candidates(home, &[mac(2)].into()).len();
        assert_eq!([Home::Unknown, Home::Nobody, container("db")].map(|home| candidates(&home)), [1, 0, 0]);
        let here = kept(gone, &[(3, Some(3), container("web"), strict)]);
        assert!(here.candidates(&Home::Unknown, &[mac(2), mac(3)].into()).is_empty(), "it is there already");
    }

    #[test]
    fn with_anothers_mac_comes_nothing_looser() {
        let loose = free().with_host_control(true);
        let strict = free().with_sibling_access(false);
        let both = [(1, Some(1), container("loose"), loose), (2, Some(2), container("strict"), strict)];
        let kept = kept(Kept::default(), &both);
        let device = child(1, Some(9));
        for (home, expected) in [
            (container("loose"), loose),
            (container("strict"), strict),
            (container("other"), free()),
            (Home::Nobody, free()),
            (Home::Unknown, loose),
        ] {
            assert_eq!(go_on(&kept, &device, &home, loose), expected, "{home:?}");
        }
        assert_eq!(go_on(&kept, &child(2, Some(9)), &container("loose"), strict), strict);
    }

    #[test]
    fn a_mac_is_a_fact_in_the_masters_own_namespace_alone() {
        let mixed = free().with_ra(false).with_host_control(true);
        let gone = kept(kept(Kept::default(), &[(1, Some(1), Home::Nobody, mixed)]), &[]);
        assert_eq!(begin(&gone, &child(1, Some(2)), &Home::Nobody), Some(free().with_ra(false)));
        assert_eq!(begin(&gone, &child(1, None), &Home::Nobody), Some(mixed));
        assert_eq!(begin(&gone, &child(2, None), &Home::Nobody), None);
    }

    #[test]
    fn a_container_of_several_children_keeps_the_strictest() {
        let (one, two) = (free().with_ra(false), free().with_host_access(false));
        let all = kept(
            Kept::default(),
            &[(1, Some(1), container("web"), one), (2, Some(1), container("web"), two)],
        );
        assert_eq!(begin(&kept(all, &[]), &child(3, Some(3)), &container("web")), Some(two.with_ra(false)));
    }
}
