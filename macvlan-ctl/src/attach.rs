//! `attach`: children made, children adopted, data path on the master.

use std::collections::BTreeMap;

use anyhow::{Context, Error, Result, bail};

use crate::{
    create::Created,
    datapath::{
        Datapath, Degraded,
        bpf::{Bpf, DEFAULT_MAX_CHILDREN, Options},
        choose::{TcChoice, XdpChoice},
    },
    model::ChildSpec,
    plan::{PlannedChild, host_access, plan_children},
    session::{Access, Session},
};

/// What `attach` is told.
#[derive(Debug, Clone, Default)]
pub struct Request {
    /// Children that are to be there.
    pub children: Vec<ChildSpec>,
    /// About the data path.
    pub options: Options,
    /// Fail where the data path would be the kernel's alone.
    pub require_bpf: bool,
    /// Only say what would be done.
    pub dry_run: bool,
}

/// What came of it.
#[derive(Debug, Default)]
pub struct Outcome {
    /// What is less than what was asked for.
    pub warnings: Vec<String>,
    /// What was done or, with `dry_run`, would be.
    pub steps: Vec<String>,
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
    let planned = plan_children(&session, &request.children).await?;
    check_room(&session, request, &planned)?;
    let steps = describe_steps(&session, request, &planned)?;
    if request.dry_run {
        return Ok(Outcome { steps, ..Outcome::default() });
    }
    let created = Created::make(&session, &planned).await?;
    match put_in_place(&mut session, request, &planned).await {
        Ok(warnings) => Ok(Outcome { warnings, steps }),
        Err(error) => {
            created.undo().await;
            Err(error)
        }
    }
}

/// Puts the programs on the master, or finds out why that cannot be.
async fn put_in_place(
    session: &mut Session,
    request: &Request,
    planned: &[PlannedChild],
) -> Result<Vec<String>> {
    session.observe().await?;
    let access = host_access(session, planned).await?;
    let members = session.wanted_members(!request.options.no_adopt, &access)?;
    if let Ok(bpf) = &mut session.attached {
        bpf.update(&session.master, &request.options)?;
        bpf.sync(&session.master, &members)?;
        return Ok(warnings(&bpf.description().degraded, &request.options));
    }
    session.remove_broken().await?;
    match Bpf::install(&session.netlink, &session.master, &request.options, &members).await {
        Ok(bpf) => Ok(warnings(&bpf.description().degraded, &request.options)),
        Err(error) if request.require_bpf => Err(error),
        Err(error) => Ok(vec![no_bpf(&error, members.len())]),
    }
}

fn no_bpf(error: &Error, children: usize) -> String {
    format!(
        "BPF cannot be had: {error:#}; {children} children run as plain kernel macvlan, which cannot talk to the host"
    )
}

/// What a person should look at: not what `auto` chose for good reasons.
fn warnings(degraded: &[Degraded], options: &Options) -> Vec<String> {
    let chosen = |degraded: &&Degraded| match degraded.feature.as_str() {
        "demux" => !matches!(options.xdp, None | Some(XdpChoice::Auto)),
        "hairpin" => !matches!(options.tc, None | Some(TcChoice::Auto)) || degraded.got == "off",
        _ => true,
    };
    let degraded = degraded.iter().filter(chosen);
    degraded
        .map(|part| format!("{} is {} instead of {}: {}", part.feature, part.got, part.wanted, part.reason))
        .collect()
}

fn check_room(session: &Session, request: &Request, planned: &[PlannedChild]) -> Result<()> {
    let adopted = session.children().iter().filter(|child| !request.options.no_adopt || child.owned).count();
    let new = planned.iter().filter(|child| child.existing.is_none()).count();
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

fn describe_steps(session: &Session, request: &Request, planned: &[PlannedChild]) -> Result<Vec<String>> {
    let mut steps: Vec<String> = planned.iter().map(ToString::to_string).collect();
    let members = match &session.attached {
        Ok(bpf) => bpf.members()?,
        Err(_) => BTreeMap::new(),
    };
    let wanted = session.wanted_members(!request.options.no_adopt, &BTreeMap::new())?;
    for child in session.children() {
        if wanted.contains_key(&child.mac) && !members.contains_key(&child.mac) {
            let verb = if child.owned { "take up" } else { "adopt" };
            steps.push(format!("{verb} {} {} ({})", child.kind.as_str(), child.title(), child.mac));
        }
    }
    for mac in members.keys().filter(|mac| !wanted.contains_key(mac)) {
        steps.push(format!("forget {mac}, which is no child any more"));
    }
    let name = &session.master.name;
    steps.push(match &session.attached {
        Ok(_) => format!("keep the data path on {name:?}"),
        Err(_) => format!("attach the data path to {name:?}: TC ingress, TC egress, demultiplexer"),
    });
    Ok(steps)
}
