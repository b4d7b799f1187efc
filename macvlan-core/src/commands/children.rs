//! What the commands about children share.

use anyhow::{Context, Result, anyhow, bail};

use crate::{
    discovery::{access::Access, locked_master::LockedMaster},
    kernel::netns::{Netns, NetnsRef},
    model::{child::Child, spec::ChildSpec},
    policy::change::PolicyChange,
};

pub(crate) async fn open(master: &str, access: Access) -> Result<LockedMaster> {
    let cannot = || format!("cannot change children of {master:?}");
    let locked = LockedMaster::open(master, access).await.with_context(cannot)?;
    locked.require_our_layout().with_context(cannot)?;
    Ok(locked)
}

pub(crate) fn cannot(verb: &str, spec: &ChildSpec) -> String {
    format!("cannot {verb} child {:?}", spec.name.as_str())
}

/// The child that a specification names; `netns=` tells between equal names. None of those `before` it.
pub(crate) async fn find(locked: &LockedMaster, spec: &ChildSpec, before: &[Child]) -> Result<Child> {
    let name = spec.name.as_str();
    let mut matches: Vec<&Child> = locked.children().iter().filter(|child| child.name == name).collect();
    if let Some(netns) = &spec.settings.netns {
        let nsid = nsid_of(locked, netns).await?;
        matches.retain(|child| child.place.nsid == nsid);
    }
    match matches.as_slice() {
        [child] if before.iter().any(|other| other.is_same(child)) => bail!("it is given twice"),
        [child] => Ok((*child).clone()),
        [] => bail!(
            "{:?} has no such child; see: macvlan-ctl child list {}",
            locked.master.name,
            locked.master.name
        ),
        several => bail!("{} children have that name; say which with netns=", several.len()),
    }
}

async fn nsid_of(locked: &LockedMaster, netns: &NetnsRef) -> Result<Option<i32>> {
    let netns = netns.open()?;
    if netns.id() == Netns::current()?.id() {
        return Ok(None);
    }
    let nsid = locked.netlink.nsid_of(&netns).await?;
    nsid.map(Some).ok_or_else(|| anyhow!("no child of {:?} is in that namespace", locked.master.name))
}

/// A shim heeds host access, and no other policy.
pub(crate) fn require_datapath(locked: &LockedMaster, policy: &PolicyChange) -> Result<()> {
    let is_host_access_alone = PolicyChange { host_access: None, ..*policy }.is_empty();
    match &locked.attached {
        Ok(_) => Ok(()),
        Err(_) if !locked.shims().is_empty() && is_host_access_alone => Ok(()),
        Err(reason) => {
            bail!("host access and other policies need the data path, and there is none: {reason}")
        }
    }
}
