//! `child del`: children of ours deleted while attached.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, Result, bail};

use crate::{
    apply::{flood::keep_flood, sync::sync},
    commands::{
        children::{cannot, find, open},
        work::Work,
    },
    discovery::access::Access,
    model::spec::ChildChange,
    plan::describe::{change, step::Outcome},
    policy::rules::Policies,
};

/// Removes children that we made; with [`Access::Read`], only says what that would do.
///
/// # Errors
///
/// When there is no such child, or somebody else made it; nothing is removed then.
pub fn del<'a>(master: &'a str, specs: &'a [ChildChange], access: Access) -> Work<'a, Outcome> {
    Box::pin(del_all(master, specs, access))
}

async fn del_all(master: &str, specs: &[ChildChange], access: Access) -> Result<Outcome> {
    let mut locked = open(master, access).await?;
    locked.learn_homes(&Policies::default()).await;
    let mut doomed = Vec::new();
    for spec in specs {
        let child = find(&locked, spec, &doomed).await.with_context(|| cannot("delete", spec))?;
        if !child.owned {
            bail!("{}: macvlan-ctl did not make it; remove it with: ip link del", cannot("delete", spec));
        }
        doomed.push(child);
    }
    let outcome = Outcome::of(doomed.iter().map(change::delete).collect());
    if access == Access::Read {
        return Ok(outcome);
    }
    locked.delete(&doomed).await?;
    locked.observe().await?;
    let mut warnings = sync(&mut locked, &BTreeMap::new(), &BTreeSet::new()).await?;
    warnings.extend(keep_flood(&mut locked, false).await);
    Ok(Outcome { warnings, ..outcome })
}
