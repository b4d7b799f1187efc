//! Bringing what carries a master in step with its children.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::Result;
use macvlan_common::mac::Mac;

use crate::{
    apply::holders::tell_holders,
    datapath::{
        Datapath as _,
        bpf::{attached::KEPT, hooks::child_programs::ChildPrograms},
        shim,
    },
    discovery::locked_master::LockedMaster,
    model::{child::Child, description::Degraded},
    policy::change::PolicyChange,
};

/// Brings the map, or the shim, to what the kernel has now; children gave up the MACs that are `former`. Gives what is less than was asked for.
///
/// # Errors
///
/// The maps cannot be written, or a child cannot have what is set for it.
pub async fn sync(
    locked: &mut LockedMaster,
    policies: &BTreeMap<Mac, PolicyChange>,
    former: &BTreeSet<Mac>,
) -> Result<Vec<String>> {
    let adopts = match &locked.attached {
        Ok(bpf) => bpf.description().adopts,
        Err(_) if !locked.shims().is_empty() => {
            let children: Vec<&Child> = locked.children().iter().collect();
            let access = shim::access(policies);
            return shim::raise(&locked.netlink, &locked.master, locked.shims(), &children, &access).await;
        }
        Err(reason) => {
            return Ok(vec![format!(
                "children of {:?} run as plain kernel macvlan: {reason}",
                locked.master.name
            )]);
        }
    };
    let mut members = locked.wanted_members(adopts, policies.clone(), None, former).await?;
    let owners = locked.find_addresses(&mut members, true).await?;
    let Ok(bpf) = &mut locked.attached else { return Ok(Vec::new()) };
    bpf.sync(&locked.master, &members)?;
    let children: Vec<&Child> = locked.observed.of(locked.master.index).iter().collect();
    bpf.vouch(&children, &members.policies).await?;
    bpf.set_owners(&locked.master, &owners)?;
    let degraded = bpf
        .description()
        .degraded
        .iter()
        .filter(|degraded| ChildPrograms::concerns(degraded) || degraded.feature == KEPT);
    let degraded = degraded.map(Degraded::to_string).collect();
    tell_holders(locked, &members.policies).await?;
    Ok(degraded)
}
