//! `attach`: children made, children adopted, data path on the master.

use anyhow::{Context, Result};
use futures_util::future::LocalBoxFuture;

use crate::{
    apply::execute::execute,
    commands::work::Work,
    discovery::{access::Access, locked_master::LockedMaster},
    model::request::AttachRequest,
    plan::{
        children::plan_children,
        describe::{self, step::Outcome, unsettled::unsettled},
        drop_unknown, groups,
        planned::{Differing, Plan},
        room::{check_room, refuse_missing},
        single_mac,
    },
    policy::rules::Policies,
};

/// How to learn whose the children's namespaces are. Who passes none is linked without what speaks to engines.
type Learn = for<'a> fn(&'a mut LockedMaster, &'a Policies) -> LocalBoxFuture<'a, ()>;

/// Attaches to the master named `name` in the namespace of the calling thread.
///
/// # Errors
///
/// When something cannot be as asked for; everything is as before then.
pub fn attach<'a>(name: &'a str, request: &'a AttachRequest) -> Work<'a, Outcome> {
    attach_with(name, request, Some(|locked, rules| Box::pin(locked.learn_homes(rules))))
}

/// The same without asking engines for containers: a child whose settings hang on its own may the least until
/// somebody asks.
///
/// # Errors
///
/// As of [`attach`].
pub fn attach_unasked<'a>(name: &'a str, request: &'a AttachRequest) -> Work<'a, Outcome> {
    attach_with(name, request, None)
}

fn attach_with<'a>(name: &'a str, request: &'a AttachRequest, learn: Option<Learn>) -> Work<'a, Outcome> {
    let attached = attach_unnamed(name, request, learn);
    Box::pin(async move { attached.await.with_context(|| format!("cannot attach to {name:?}")) })
}

async fn attach_unnamed(name: &str, request: &AttachRequest, learn: Option<Learn>) -> Result<Outcome> {
    let access = if request.dry_run { Access::Read } else { Access::Change };
    let mut locked = LockedMaster::open_to_attach(name, access, request).await?;
    if !request.may_be_down {
        locked.master.require_up()?;
    }
    locked.require_our_layout()?;
    if let Some(learn) = learn {
        learn(&mut locked, &request.policies).await;
    }
    groups::check(&locked, &request.children)?;
    let isolation = locked.wanted_options(request).isolation;
    let children = plan_children(&locked, &request.children, Differing::Refuse, isolation).await?;
    let plan = Plan { children, doomed: Vec::new() };
    check_room(&locked, request, &plan)?;
    drop_unknown::check(&locked, request, &plan).await?;
    single_mac::check(&locked, request, &plan)?;
    refuse_missing(&locked, request)?;
    let steps = describe::describe(&locked, request, &plan).await?;
    let outcome = Outcome::of(steps);
    if request.dry_run {
        return Ok(outcome);
    }
    let mut warnings = execute(&mut locked, request, &plan).await?;
    warnings.extend(unsettled(&locked));
    Ok(Outcome { warnings, ..outcome })
}
