//! `attach`: children made, children adopted, data path on the master.

use anyhow::{Context, Result};

use crate::{
    apply::execute::execute,
    commands::work::Work,
    discovery::{access::Access, locked_master::LockedMaster},
    model::request::AttachRequest,
    plan::{
        children::plan_children,
        describe::{self, step::Outcome},
        drop_unknown, groups,
        planned::{Differing, Plan},
        room::{check_room, refuse_missing},
    },
};

/// Attaches to the master named `name` in the namespace of the calling thread.
///
/// # Errors
///
/// When something cannot be as asked for; everything is as before then.
pub fn attach<'a>(name: &'a str, request: &'a AttachRequest) -> Work<'a, Outcome> {
    let attached = attach_unnamed(name, request);
    Box::pin(async move { attached.await.with_context(|| format!("cannot attach to {name:?}")) })
}

async fn attach_unnamed(name: &str, request: &AttachRequest) -> Result<Outcome> {
    let access = if request.dry_run { Access::Read } else { Access::Change };
    let mut locked = LockedMaster::open_to_attach(name, access, request).await?;
    if !request.may_be_down {
        locked.master.require_up()?;
    }
    locked.require_our_layout()?;
    groups::check(&locked, &request.children)?;
    let children = plan_children(&locked, &request.children, Differing::Refuse).await?;
    let plan = Plan { children, doomed: Vec::new() };
    check_room(&locked, request, &plan)?;
    drop_unknown::check(&locked, request, &plan).await?;
    refuse_missing(&locked, request)?;
    let steps = describe::describe(&locked, request, &plan).await?;
    let outcome = Outcome::of(steps);
    if request.dry_run {
        return Ok(outcome);
    }
    let warnings = execute(&mut locked, request, &plan).await?;
    Ok(Outcome { warnings, ..outcome })
}
