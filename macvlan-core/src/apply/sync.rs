//! Bringing what carries a master in step with its children.

use std::collections::BTreeMap;

use anyhow::Result;
use macvlan_common::mac::Mac;

use crate::{
    datapath::{Datapath as _, bpf::hooks::child_programs::ChildPrograms, shim},
    discovery::locked_master::LockedMaster,
    model::{child::Child, description::Degraded},
    policy::change::PolicyChange,
};

/// Brings the map, or the shim, to what the kernel has now. Gives what is less than was asked for.
///
/// # Errors
///
/// The maps cannot be written, or a child cannot have what is set for it.
pub async fn sync(locked: &mut LockedMaster, policies: &BTreeMap<Mac, PolicyChange>) -> Result<Vec<String>> {
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
    let mut members = locked.wanted_members(adopts, policies)?;
    let owners = locked.find_addresses(&mut members, true).await?;
    let Ok(bpf) = &mut locked.attached else { return Ok(Vec::new()) };
    bpf.sync(&locked.master, &members)?;
    let children: Vec<&Child> = locked.observed.of(locked.master.index).iter().collect();
    bpf.vouch(&children, &members.policies).await?;
    bpf.set_owners(&locked.master, &owners)?;
    let degraded = bpf.description().degraded.iter().filter(|degraded| ChildPrograms::concerns(degraded));
    Ok(degraded.map(Degraded::to_string).collect())
}
