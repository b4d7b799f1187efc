//! `attach`: children made, children adopted, data path on the master.

use anyhow::{Context, Result, bail};

use crate::{
    config::Policies,
    datapath::{
        bpf::{DEFAULT_MAX_CHILDREN, Options},
        choose::MissingChoice,
    },
    execute::execute,
    groups,
    model::{Child, ChildSpec},
    plan::{Differing, Plan, plan_children},
    session::{Access, Session},
    steps::{self, Outcome, is_same},
    unknown,
};

/// What `attach` is told.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Request {
    /// Children that are to be there.
    pub children: Vec<ChildSpec>,
    /// About the data path.
    pub options: Options,
    /// What to do where BPF cannot be had; `None`: a shim that is there is kept, and else there is none.
    pub on_missing_bpf: Option<MissingChoice>,
    /// Only say what would be done.
    pub dry_run: bool,
    /// What children may do of whom `children` says nothing.
    pub policies: Policies,
    /// Somebody goes on to follow the master: what is not known yet will be.
    pub follows: bool,
    /// Delete children of ours that are not among `children`: `apply` alone does.
    pub prune: bool,
}

/// Attaches to the master named `name` in the namespace of the calling thread.
///
/// # Errors
///
/// When something cannot be as asked for; everything is as before then.
pub async fn attach(name: &str, request: &Request) -> Result<Outcome> {
    attach_unnamed(name, request).await.with_context(|| format!("cannot attach to {name:?}"))
}

async fn attach_unnamed(name: &str, request: &Request) -> Result<Outcome> {
    let access = if request.dry_run { Access::Read } else { Access::Change };
    let mut session = Session::open(name, access).await?;
    session.master.require_up()?;
    session.require_our_layout()?;
    groups::check(&session, &request.children)?;
    let children = plan_children(&session, &request.children, Differing::Refuse).await?;
    let plan = Plan { children, doomed: Vec::new() };
    check_room(&session, request, &plan)?;
    unknown::check(&session, &request.options, &plan).await?;
    refuse_missing(&session, request)?;
    let steps = steps::describe(&session, request, &plan).await?;
    let outcome = Outcome::of(steps);
    if request.dry_run {
        return Ok(outcome);
    }
    let warnings = execute(&mut session, request, &plan).await?;
    Ok(Outcome { warnings, ..outcome })
}

/// Refuses to go on without BPF, where that is wanted and known already: nothing was changed yet.
///
/// # Errors
///
/// When it is.
pub fn refuse_missing(session: &Session, request: &Request) -> Result<()> {
    match &session.refusal {
        Some(reason) if request.on_missing_bpf == Some(MissingChoice::Fail) => bail!("{reason}"),
        _ => Ok(()),
    }
}

/// Refuses more children than the data path has, or will have, room for.
///
/// # Errors
///
/// When they are.
pub fn check_room(session: &Session, request: &Request, plan: &Plan) -> Result<()> {
    let is_counted = |child: &&Child| {
        (!request.options.no_adopt || child.is_ours())
            && !child.unfinished
            && !plan.doomed.iter().any(|doomed| is_same(doomed, child))
    };
    let adopted = session.children().iter().filter(is_counted).count();
    let new = plan.children.iter().filter(|child| child.existing.is_none()).count();
    let present = match &session.attached {
        Ok(bpf) => Some(bpf.max_children()),
        Err(_) => None,
    };
    let room = request.options.max_children.or(present).unwrap_or(DEFAULT_MAX_CHILDREN) as usize;
    if adopted + new > room {
        bail!(
            "{} children are more than the maximum of {room}; raise it with --max-children {}{}",
            adopted + new,
            (adopted + new).next_power_of_two(),
            if present.is_some() { " after a detach" } else { "" }
        );
    }
    Ok(())
}
