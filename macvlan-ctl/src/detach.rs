//! `detach`: the data path off the master, and our children away if asked.

use anyhow::{Context, Result};

use crate::{
    datapath::Datapath as _,
    model::Child,
    session::{Access, Session},
    shim, steps,
};

/// What came of it.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Outcome {
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
pub async fn detach(name: &str, delete_children: bool, access: Access) -> Result<Outcome> {
    detach_unnamed(name, delete_children, access)
        .await
        .with_context(|| format!("cannot detach from {name:?}"))
}

async fn detach_unnamed(name: &str, delete_children: bool, access: Access) -> Result<Outcome> {
    let mut session = Session::open(name, access).await?;
    let steps = steps::detach(&session, delete_children);
    let mut outcome = Outcome { steps: steps::texts(steps), ..Outcome::default() };
    if access == Access::Read {
        return Ok(outcome);
    }
    let mut detached = session.remove_broken().await;
    if let Ok(bpf) = &mut session.attached {
        outcome.was_attached = true;
        detached = detached.and(bpf.detach(&session.master).await);
    }
    match shim::remove(&session.netlink, &session.master, session.shims()).await {
        Ok(was_there) => outcome.was_attached |= was_there,
        Err(error) => detached = detached.and(Err(error)),
    }
    if delete_children {
        let ours: Vec<Child> = session.children().iter().filter(|child| child.owned).cloned().collect();
        session.delete(&ours).await?;
        outcome.deleted = ours.len();
    }
    detached.map(|()| outcome)
}
