//! A group exists while a child is in it, or where it is declared: a name that was mistyped would
//! otherwise cut a child off from everybody.

use std::{collections::BTreeSet, fmt};

use anyhow::{Result, bail};
use macvlan_common::group::GroupName;

use crate::{datapath::Datapath as _, discovery::locked_master::LockedMaster, model::spec::ChildSpec};

/// Checks that every group these specifications name is one of the master's, or new by one of them.
///
/// # Errors
///
/// The first that is not, with the remedy.
pub fn check<Name: fmt::Display>(locked: &LockedMaster, specs: &[ChildSpec<Name>]) -> Result<()> {
    let known = match &locked.attached {
        Ok(bpf) => bpf.members().groups.iter().map(|(_, name)| name).collect(),
        Err(_) => BTreeSet::new(),
    };
    check_against(known, &locked.master.name, specs)
}

fn check_against<Name: fmt::Display>(
    mut known: BTreeSet<GroupName>,
    master: &str,
    specs: &[ChildSpec<Name>],
) -> Result<()> {
    let named = |spec: &ChildSpec<Name>| spec.settings.policy.group.flatten();
    known.extend(specs.iter().filter(|spec| spec.settings.new_group).filter_map(named));
    for spec in specs {
        let Some(group) = named(spec).filter(|group| !known.contains(group)) else { continue };
        let present: Vec<String> = known.iter().map(|name| format!("{name:?}")).collect();
        let among =
            if present.is_empty() { "it has none".into() } else { format!("it has {}", present.join(", ")) };
        bail!(
            "child {:?}: {master:?} has no group {group:?} ({among}); make it with new-group={group}",
            spec.name.to_string()
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcome(known: &[&str], specs: &[&str]) -> String {
        let known = known.iter().map(|name| name.parse().unwrap()).collect();
        let specs: Vec<ChildSpec> = specs.iter().map(|spec| spec.parse().unwrap()).collect();
        check_against(known, "eth0", &specs).map_or_else(|error| error.to_string(), |()| "taken".into())
    }

    #[test]
    fn a_group_is_there_already_or_made_by_any_of_the_specifications() {
        assert_eq!(outcome(&["blue"], &["web,group=blue"]), "taken");
        assert_eq!(outcome(&["blue"], &["web,new-group=blue"]), "taken");
        assert_eq!(outcome(&[], &["web,group=blue", "db,new-group=blue"]), "taken");
        assert_eq!(outcome(&[], &["web,group=none", "db"]), "taken");
    }

    #[test]
    fn a_group_that_is_not_there_is_named_with_those_that_are() {
        assert_eq!(
            outcome(&[], &["web,group=blue"]),
            "child \"web\": \"eth0\" has no group \"blue\" (it has none); make it with new-group=blue"
        );
        assert_eq!(
            outcome(&["blue", "red"], &["web", "db,group=bule"]),
            "child \"db\": \"eth0\" has no group \"bule\" (it has \"blue\", \"red\"); make it with new-group=bule"
        );
    }
}
