//! `child set`: children changed while attached.

use std::collections::BTreeMap;

use anyhow::{Context, Result};

use crate::{
    apply::{
        change::{change_all, take_down},
        journal::Journal,
        sync::sync,
    },
    commands::{
        children::{cannot, find, open, require_datapath},
        work::Work,
    },
    discovery::access::Access,
    model::{child::Child, spec::ChildChange},
    plan::{
        changes::plan_changes,
        describe::{change, step::Outcome},
        groups,
        planned::is_planned,
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
    let (mut told, mut policies) = (Vec::new(), BTreeMap::new());
    for (child, settings) in &wanted {
        let plan = planned.iter().find(|planned| is_planned(planned, child));
        told.extend(change::set(&locked, &before, child, plan, settings.policy));
        let mac = plan.and_then(|plan| plan.change.mac).unwrap_or(child.mac);
        let asked = PolicyChange { named: true, ..settings.policy };
        policies.insert(mac, asked.or(before.setting_of(child.mac).unwrap_or_default()));
    }
    groups::check(&locked, specs).with_context(cannot_set)?;
    let outcome = Outcome::of(told);
    if access == Access::Read {
        return Ok(outcome);
    }
    let mut journal = Journal::begin(&locked).await.with_context(cannot_set)?;
    let synced = async {
        change_all(&mut journal, &planned).await?;
        locked.observe().await?;
        sync(&mut locked, &policies).await
    };
    let synced = synced.await;
    let warnings = journal.close(&mut locked, synced).await.with_context(cannot_set)?;
    take_down(&planned).await?;
    Ok(Outcome { warnings, ..outcome })
}
