//! What children are to be allowed, as far as anybody says.

use std::collections::BTreeMap;

use anyhow::Result;
use macvlan_common::mac::Mac;

use crate::{
    discovery::locked_master::LockedMaster,
    model::{child::Child, members::Members, request::AttachRequest},
    plan::{children::target, planned::PlannedChild},
    policy::change::PolicyChange,
};

/// What was asked for of each child's policy, by MAC, once every planned child is there.
///
/// # Errors
///
/// A namespace is gone.
pub async fn policies(
    locked: &LockedMaster,
    planned: &[PlannedChild],
) -> Result<BTreeMap<Mac, PolicyChange>> {
    let mut policies = BTreeMap::new();
    for wanted in planned {
        let takes_mode = wanted.settings.mode.is_some() || wanted.existing.is_none();
        let policy = PolicyChange { takes_mode, ..wanted.settings.policy };
        if policy.is_empty() {
            continue;
        }
        let target = target(locked, &wanted.netns).await?;
        let child = locked
            .children()
            .iter()
            .find(|child| child.name == wanted.name && target.holds(child, &wanted.netns));
        policies.extend(child.map(|child| (child.mac, policy)));
    }
    Ok(policies)
}

/// What children may do, as far as anybody says: a child that gets another MAC as before, then
/// the policies, then the children's own settings.
pub(crate) async fn changes(
    locked: &LockedMaster,
    request: &AttachRequest,
    planned: &[PlannedChild],
    before: &Members,
) -> Result<BTreeMap<Mac, PolicyChange>> {
    let mut changes: BTreeMap<Mac, PolicyChange> = BTreeMap::new();
    for planned in planned {
        let Some(existing) = &planned.existing else { continue };
        changes.extend(planned.change.mac.zip(before.setting_of(existing.mac)));
    }
    // Of two with one MAC the last counts, as in `LockedMaster::wanted_members`.
    let mut children: Vec<&Child> = locked.children().iter().collect();
    children.sort_by_key(|child| child.up);
    for child in children {
        let change = changes.entry(child.mac).or_default();
        *change = request.policies.of(child.identity(&locked.homes.homes)).or(*change);
    }
    for (mac, policy) in policies(locked, planned).await? {
        let change = changes.entry(mac).or_default();
        *change = policy.or(*change);
    }
    Ok(changes)
}
