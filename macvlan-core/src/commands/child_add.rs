//! `child add`: children made while attached.

use std::collections::BTreeSet;

use anyhow::{Context, Result};

use crate::{
    apply::{
        change::{change_all, confirm_all},
        create::create_all,
        flood::keep_flood,
        journal::Journal,
        sync::sync,
    },
    commands::{
        children::{open, require_datapath},
        work::Work,
    },
    discovery::access::Access,
    model::{options::Isolation, spec::ChildSpec},
    plan::{
        children::plan_children,
        describe::{change, step::Outcome},
        groups,
        planned::Differing,
        policies::policies,
    },
    policy::rules::Policies,
};

/// Makes children on a master; with [`Access::Read`], only says what that would do.
///
/// # Errors
///
/// When one cannot be as asked for; everything is as before then.
pub fn add<'a>(master: &'a str, specs: &'a [ChildSpec], access: Access) -> Work<'a, Outcome> {
    Box::pin(add_all(master, specs, access))
}

async fn add_all(master: &str, specs: &[ChildSpec], access: Access) -> Result<Outcome> {
    let mut locked = open(master, access).await?;
    let isolation = locked.attached.as_ref().map(|bpf| bpf.options().isolation).unwrap_or_default();
    let says_more = |spec: &ChildSpec| isolation == Isolation::Strict || !spec.settings.policy.is_empty();
    match specs.iter().any(says_more) {
        true => locked.learn_homes_to_keep().await,
        false => locked.learn_homes(&Policies::default()).await,
    }
    let cannot = || format!("cannot add children to {master:?}");
    locked.master.require_up().with_context(cannot)?;
    for spec in specs.iter().filter(|spec| !spec.settings.policy.is_empty()) {
        require_datapath(&locked, &spec.settings.policy).with_context(cannot)?;
    }
    groups::check(&locked, specs).with_context(cannot)?;
    let planned = plan_children(&locked, specs, Differing::Refuse, isolation).await?;
    let before = locked.members();
    let outcome = Outcome::of(change::add(&locked, &before, &planned));
    if access == Access::Read {
        return Ok(outcome);
    }
    let mut journal = Journal::begin(&locked).await.with_context(cannot)?;
    let synced = async {
        create_all(&locked, &mut journal, &planned).await?;
        confirm_all(&locked, &mut journal, &planned).await?;
        change_all(&locked, &mut journal, &planned).await?;
        locked.observe().await?;
        let policies = policies(&locked, &planned).await?;
        sync(&mut locked, &policies, &BTreeSet::new()).await
    };
    let synced = synced.await;
    let mut warnings = journal.close(&mut locked, synced).await.with_context(cannot)?;
    warnings.extend(keep_flood(&mut locked, false).await);
    Ok(Outcome { warnings, ..outcome })
}
