//! `detach`: the data path off the master, and our children away if asked.

use anyhow::{Context, Result};

use crate::{
    commands::work::Work,
    datapath::{Datapath as _, bpf::flood, shim},
    discovery::{access::Access, locked_master::LockedMaster},
    model::child::Child,
    plan::describe::{change, forgotten::forgotten, step::Outcome},
};

/// Detaches from the master named `name` in the namespace of the calling thread; with [`Access::Read`], only says
/// what that would do. The next attach is a fresh start: settings that are not the default are in
/// [`Outcome::forgotten`].
///
/// # Errors
///
/// The device is gone, or something on it does not come off; everything else does.
pub fn detach(name: &str, delete_children: bool, access: Access) -> Work<'_, Outcome> {
    let detached = detach_unnamed(name, delete_children, access);
    Box::pin(async move { detached.await.with_context(|| format!("cannot detach from {name:?}")) })
}

async fn detach_unnamed(name: &str, delete_children: bool, access: Access) -> Result<Outcome> {
    let mut locked = LockedMaster::open(name, access).await?;
    let forgotten = forgotten(&locked, delete_children).await;
    let outcome = Outcome { forgotten, ..Outcome::of(change::detach(&locked, delete_children)) };
    if access == Access::Read {
        return Ok(outcome);
    }
    let mut detached = locked.remove_broken().await;
    // Before its programs go.
    let floods: Vec<u32> = locked.floods().iter().map(|device| device.index).collect();
    detached = detached.and(flood::remove(&locked.netlink, &floods).await);
    if let Ok(bpf) = &mut locked.attached {
        detached = detached.and(bpf.detach(&locked.master).await);
    }
    detached = detached.and(shim::remove(&locked.netlink, &locked.master, locked.shims()).await.map(drop));
    if delete_children {
        let ours: Vec<Child> = locked.children().iter().filter(|child| child.owned).cloned().collect();
        locked.delete(&ours).await?;
    }
    detached.map(|()| outcome)
}
