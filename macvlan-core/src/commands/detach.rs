//! `detach`: the data path off the master, and our children away if asked.

use anyhow::{Context, Result};

use crate::{
    datapath::{Datapath as _, shim},
    discovery::{access::Access, locked_master::LockedMaster},
    model::child::Child,
    plan::describe::{change, step},
};

/// What came of it.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Detached {
    /// There was a data path to take off.
    pub was_attached: bool,
    /// Children removed.
    pub deleted: usize,
    /// What was done or, in a dry run, would be; in words.
    pub steps: Vec<String>,
}

/// Detaches from the master named `name` in the namespace of the calling thread; with [`Access::Read`], only says
/// what that would do.
///
/// # Errors
///
/// When something cannot be removed; everything else is.
pub async fn detach(name: &str, delete_children: bool, access: Access) -> Result<Detached> {
    detach_unnamed(name, delete_children, access)
        .await
        .with_context(|| format!("cannot detach from {name:?}"))
}

async fn detach_unnamed(name: &str, delete_children: bool, access: Access) -> Result<Detached> {
    let mut locked = LockedMaster::open(name, access).await?;
    let steps = change::detach(&locked, delete_children);
    let mut outcome = Detached { steps: step::texts(steps), ..Detached::default() };
    if access == Access::Read {
        return Ok(outcome);
    }
    let mut detached = locked.remove_broken().await;
    if let Ok(bpf) = &mut locked.attached {
        outcome.was_attached = true;
        detached = detached.and(bpf.detach(&locked.master).await);
    }
    match shim::remove(&locked.netlink, &locked.master, locked.shims()).await {
        Ok(was_there) => outcome.was_attached |= was_there,
        Err(error) => detached = detached.and(Err(error)),
    }
    if delete_children {
        let ours: Vec<Child> = locked.children().iter().filter(|child| child.owned).cloned().collect();
        locked.delete(&ours).await?;
        outcome.deleted = ours.len();
    }
    detached.map(|()| outcome)
}
