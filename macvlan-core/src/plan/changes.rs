//! Planning changes of children that are there.

use anyhow::{Context, Result};

use crate::{
    discovery::locked_master::LockedMaster,
    kernel::netlink::sockets::Sockets,
    model::{child::Child, spec::Settings},
    plan::{
        addressing::Addressing,
        checks::{self, check_unplanned},
        planned::{Differing, PlannedChild, Target},
    },
};

/// Plans the changes of children that are there. One of which nothing but the policy changes is not among
/// the planned.
///
/// # Errors
///
/// The first that cannot be changed so, by its name.
pub async fn plan_changes(locked: &LockedMaster, wanted: &[(Child, &Settings)]) -> Result<Vec<PlannedChild>> {
    let mut planned: Vec<PlannedChild> = Vec::new();
    let mut addressing = Addressing::new(Differing::Refuse);
    let mut sockets = Sockets::default();
    for (child, settings) in wanted {
        let checked = async {
            let Some(mut change) = plan_change(locked, child, settings, &planned).await? else {
                return Ok(None);
            };
            addressing.narrow(&mut change, &mut sockets).await?;
            Ok(Some(change))
        };
        let change: Result<Option<PlannedChild>> = checked.await;
        planned.extend(change.with_context(|| format!("cannot change child {:?}", child.name))?);
    }
    Ok(planned)
}

async fn plan_change(
    locked: &LockedMaster,
    child: &Child,
    settings: &Settings,
    planned: &[PlannedChild],
) -> Result<Option<PlannedChild>> {
    let change = checks::check(locked, child, settings)?;
    check_unplanned(change.mac, planned)?;
    if change.is_empty() && settings.addresses.is_empty() && settings.gateways.is_empty() {
        return Ok(None);
    }
    let netns = locked.observed.netns_at(&locked.netlink, &child.place).await?;
    Ok(Some(PlannedChild {
        name: child.name.clone(),
        kind: child.kind,
        mode: child.mode,
        settings: settings.clone(),
        netns: netns.context("no path to its network namespace is known")?.into(),
        target: child.place.nsid.map_or(Target::Own, |_| Target::Other(child.place.number())),
        existing: Some(child.clone()),
        confirms: false,
        change,
        addresses: settings.addresses.clone(),
        gateways: settings.gateways.clone(),
    }))
}
