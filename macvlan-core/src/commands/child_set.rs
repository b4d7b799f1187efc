//! `child set`: children changed while attached.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, Result, bail};
use macvlan_common::child::Policy;

use crate::{
    apply::{
        change::{change_all, take_down},
        flood::keep_flood,
        journal::Journal,
        sync::sync,
    },
    commands::{
        children::{cannot, find, open, require_datapath},
        work::Work,
    },
    discovery::{access::Access, locked_master::LockedMaster},
    model::{child::Child, spec::ChildChange},
    plan::{
        changes::plan_changes,
        describe::{change, step::Outcome},
        groups,
        planned::{PlannedChild, is_planned},
    },
    policy::change::PolicyChange,
};

/// Changes children; with [`Access::Read`], only says what that would do.
///
/// # Errors
///
/// When there is no such child, or it cannot be as asked for. Everything is as before then, unless it is
/// only that a child cannot be taken down at the end.
pub fn set<'a>(master: &'a str, specs: &'a [ChildChange], access: Access) -> Work<'a, Outcome> {
    Box::pin(set_all(master, specs, access))
}

async fn set_all(master: &str, specs: &[ChildChange], access: Access) -> Result<Outcome> {
    let mut locked = open(master, access).await?;
    locked.learn_homes_to_keep().await;
    let cannot_set = || format!("cannot change children of {master:?}");
    let before = locked.members();
    let mut found: Vec<Child> = Vec::new();
    for spec in specs {
        let child = find(&locked, spec, &found).await.with_context(|| cannot("change", spec))?;
        if !spec.settings.policy.is_empty() {
            require_datapath(&locked, &spec.settings.policy).with_context(|| cannot("change", spec))?;
        }
        found.push(child);
    }
    let wanted: Vec<_> = found.into_iter().zip(specs.iter().map(|spec| &spec.settings)).collect();
    let planned = plan_changes(&locked, &wanted).await?;
    let (mut told, mut policies, mut former) = (Vec::new(), BTreeMap::new(), BTreeSet::new());
    for (child, settings) in &wanted {
        let plan = planned.iter().find(|planned| is_planned(planned, child));
        let policy = PolicyChange { takes_mode: settings.mode.is_some(), ..settings.policy };
        told.extend(change::set(&locked, &before, child, plan, policy));
        let mac = plan.and_then(|plan| plan.change.mac).unwrap_or(child.mac);
        require_settled(&locked, child).with_context(cannot_set)?;
        let takes_mode = settings.mode.is_some();
        let asked = PolicyChange { named: true, takes_mode, ..settings.policy };
        if mac == child.mac {
            policies.insert(mac, asked);
        } else {
            policies.insert(mac, asked.or(before.settled_of(child.mac).unwrap_or_default()));
            former.insert(child.mac);
        }
    }
    groups::check(&locked, specs).with_context(cannot_set)?;
    let outcome = Outcome::of(told);
    if access == Access::Read {
        return Ok(outcome);
    }
    let mut journal = Journal::begin(&locked).await.with_context(cannot_set)?;
    let synced = async {
        change_all(&locked, &mut journal, &planned).await?;
        locked.observe().await?;
        sync(&mut locked, &policies, &former).await
    };
    let synced = synced.await;
    let mut warnings = journal.close(&mut locked, synced).await.with_context(cannot_set)?;
    take_down(&locked.master.netns, &planned).await?;
    let changed = planned.iter().any(PlannedChild::is_taken_down);
    warnings.extend(keep_flood(&mut locked, changed).await);
    Ok(Outcome { warnings, ..outcome })
}

/// Refuses a child whose settings are yet to come: what is set now would be lost.
fn require_settled(locked: &LockedMaster, child: &Child) -> Result<()> {
    let members = locked.members();
    let home = locked.homes.homes.of(&child.place);
    let waits = |policy: &Policy| match policy.is_unruled() {
        true => !home.is_whole(),
        false => policy.is_unsettled() && !home.is_named(),
    };
    if members.policies.get(&child.mac).is_some_and(waits) {
        let why = locked.homes.silent.as_deref().unwrap_or("no engine tells all of it");
        bail!("the container of child {} is not known, and its settings hang on that: {why}", child.title());
    }
    Ok(())
}
