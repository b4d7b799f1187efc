//! What the commands about children share.

use std::fmt;

use anyhow::{Context, Result, bail};

use crate::{
    discovery::{access::Access, locked_master::LockedMaster, named_child::find_named},
    model::{
        child::Child,
        spec::{ChildChange, ChildSpec},
    },
    policy::change::PolicyChange,
};

pub(crate) async fn open(master: &str, access: Access) -> Result<LockedMaster> {
    let cannot = || format!("cannot change children of {master:?}");
    let locked = LockedMaster::open(master, access).await.with_context(cannot)?;
    locked.require_our_layout().with_context(cannot)?;
    Ok(locked)
}

pub(crate) fn cannot<Name: fmt::Display>(verb: &str, spec: &ChildSpec<Name>) -> String {
    format!("cannot {verb} child {:?}", spec.name.to_string())
}

/// The child that a change is of; none of those `before` it.
pub(crate) async fn find(locked: &LockedMaster, change: &ChildChange, before: &[Child]) -> Result<Child> {
    let child = find_named(locked, &change.name, change.settings.netns.as_ref()).await?;
    if before.iter().any(|other| other.is_same(&child)) {
        bail!("it is given twice");
    }
    Ok(child)
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
