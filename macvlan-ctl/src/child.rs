//! `child add`, `child del`, `child set`: changes while attached.

use std::collections::BTreeMap;

use anyhow::{Context, Result, anyhow, bail};
use macvlan_common::mac::Mac;

use crate::{
    change::{Changed, take_down},
    create::Created,
    datapath::{Datapath as _, Degraded},
    groups,
    model::{Child, ChildSpec},
    netns::{Netns, NetnsRef},
    plan::{Differing, plan_changes, plan_children, policies},
    policy::PolicyChange,
    session::{Access, Members, Session},
    shim,
    steps::{self, Outcome, is_planned, is_same},
};

/// Makes children on a master; with [`Access::Read`], only says what that would do.
///
/// # Errors
///
/// When one cannot be as asked for; everything is as before then.
pub async fn add(master: &str, specs: &[ChildSpec], access: Access) -> Result<Outcome> {
    let mut session = open(master, access).await?;
    let cannot = || format!("cannot add children to {master:?}");
    session.master.require_up().with_context(cannot)?;
    for spec in specs.iter().filter(|spec| !spec.settings.policy.is_empty()) {
        require_datapath(&session, &spec.settings.policy).with_context(cannot)?;
    }
    groups::check(&session, specs).with_context(cannot)?;
    let planned = plan_children(&session, specs, Differing::Refuse).await?;
    let before = session.members()?;
    let outcome = Outcome::of(steps::add(&session, &before, &planned));
    if access == Access::Read {
        return Ok(outcome);
    }
    let created = Created::make(&session, &planned).await?;
    let mut changed = Changed::default();
    let synced = async {
        changed.make_all(&planned).await?;
        session.observe().await?;
        let policies = policies(&session, &planned).await?;
        sync(&mut session, &policies).await
    };
    match synced.await {
        Ok(warnings) => Ok(Outcome { warnings, ..outcome }),
        Err(error) => {
            changed.undo().await;
            created.undo().await;
            restore(&mut session, &before);
            Err(error).with_context(cannot)
        }
    }
}

/// Removes children that we made; with [`Access::Read`], only says what that would do.
///
/// # Errors
///
/// When there is no such child, or somebody else made it; nothing is removed then.
pub async fn del(master: &str, specs: &[ChildSpec], access: Access) -> Result<Outcome> {
    let mut session = open(master, access).await?;
    let mut doomed = Vec::new();
    for spec in specs {
        let child = find(&session, spec, &doomed).await.with_context(|| cannot("delete", spec))?;
        if !child.owned {
            bail!("{}: macvlan-ctl did not make it; remove it with: ip link del", cannot("delete", spec));
        }
        doomed.push(child);
    }
    let outcome = Outcome::of(doomed.iter().map(steps::delete).collect());
    if access == Access::Read {
        return Ok(outcome);
    }
    session.delete(&doomed).await?;
    session.observe().await?;
    let warnings = sync(&mut session, &BTreeMap::new()).await?;
    Ok(Outcome { warnings, ..outcome })
}

/// Changes children; with [`Access::Read`], only says what that would do.
///
/// # Errors
///
/// When there is no such child, or it cannot be as asked for. Everything is as before then, unless it is
/// only that a child cannot be taken down at the end.
pub async fn set(master: &str, specs: &[ChildSpec], access: Access) -> Result<Outcome> {
    let mut session = open(master, access).await?;
    let cannot_set = || format!("cannot change children of {master:?}");
    let before = session.members().with_context(cannot_set)?;
    let mut found: Vec<Child> = Vec::new();
    for spec in specs {
        let child = find(&session, spec, &found).await.with_context(|| cannot("change", spec))?;
        if !spec.settings.policy.is_empty() {
            require_datapath(&session, &spec.settings.policy).with_context(|| cannot("change", spec))?;
        }
        found.push(child);
    }
    let wanted: Vec<_> = found.into_iter().zip(specs.iter().map(|spec| &spec.settings)).collect();
    let planned = plan_changes(&session, &wanted).await?;
    let (mut told, mut policies) = (Vec::new(), BTreeMap::new());
    for (child, settings) in &wanted {
        let plan = planned.iter().find(|planned| is_planned(planned, child));
        told.extend(steps::set(&session, &before, child, plan, settings.policy));
        let mac = plan.and_then(|plan| plan.change.mac).unwrap_or(child.mac);
        policies.insert(mac, settings.policy.or(before.setting_of(child.mac).unwrap_or_default()));
    }
    groups::check(&session, specs).with_context(cannot_set)?;
    let outcome = Outcome::of(told);
    if access == Access::Read {
        return Ok(outcome);
    }
    let mut changed = Changed::default();
    let synced = async {
        changed.make_all(&planned).await?;
        session.observe().await?;
        sync(&mut session, &policies).await
    };
    let warnings = match synced.await {
        Ok(warnings) => warnings,
        Err(error) => {
            changed.undo().await;
            restore(&mut session, &before);
            return Err(error).with_context(cannot_set);
        }
    };
    take_down(&planned).await?;
    Ok(Outcome { warnings, ..outcome })
}

/// Brings the map back to what it was before a change that failed.
fn restore(session: &mut Session, before: &Members) {
    if let Ok(bpf) = &mut session.attached {
        // The error that led here is the one to report.
        let _ = bpf.sync(&session.master, before);
    }
}

async fn open(master: &str, access: Access) -> Result<Session> {
    let cannot = || format!("cannot change children of {master:?}");
    let session = Session::open(master, access).await.with_context(cannot)?;
    session.require_our_layout().with_context(cannot)?;
    Ok(session)
}

fn cannot(verb: &str, spec: &ChildSpec) -> String {
    format!("cannot {verb} child {:?}", spec.name.as_str())
}

/// Brings the map, or the shim, to what the kernel has now. Gives what is less than was asked for.
///
/// # Errors
///
/// When the kernel refuses, or a child cannot have what is set for it.
pub async fn sync(session: &mut Session, policies: &BTreeMap<Mac, PolicyChange>) -> Result<Vec<String>> {
    let adopts = match &session.attached {
        Ok(bpf) => bpf.description().adopts,
        Err(_) if !session.shims().is_empty() => {
            let children: Vec<&Child> = session.children().iter().collect();
            let access = shim::access(policies);
            return shim::raise(&session.netlink, &session.master, session.shims(), &children, &access).await;
        }
        Err(reason) => {
            return Ok(vec![format!(
                "children of {:?} run as plain kernel macvlan: {reason}",
                session.master.name
            )]);
        }
    };
    let mut members = session.wanted_members(adopts, policies)?;
    let owners = session.find_addresses(&mut members, true).await?;
    let Ok(bpf) = &mut session.attached else { return Ok(Vec::new()) };
    bpf.sync(&session.master, &members)?;
    let children: Vec<&Child> = session.observed.of(session.master.index).iter().collect();
    bpf.vouch(&children, &members.policies).await?;
    bpf.set_owners(&session.master, &owners)?;
    let degraded = bpf.description().degraded.iter().filter(|degraded| degraded.feature == "anti-spoof");
    Ok(degraded.map(Degraded::to_string).collect())
}

/// The child that a specification names; `netns=` tells between equal names. None of those `before` it.
async fn find(session: &Session, spec: &ChildSpec, before: &[Child]) -> Result<Child> {
    let name = spec.name.as_str();
    let mut matches: Vec<&Child> = session.children().iter().filter(|child| child.name == name).collect();
    if let Some(netns) = &spec.settings.netns {
        let nsid = nsid_of(session, netns).await?;
        matches.retain(|child| child.place.nsid == nsid);
    }
    match matches.as_slice() {
        [child] if before.iter().any(|other| is_same(other, child)) => bail!("it is given twice"),
        [child] => Ok((*child).clone()),
        [] => bail!(
            "{:?} has no such child; see: macvlan-ctl child list {}",
            session.master.name,
            session.master.name
        ),
        several => bail!("{} children have that name; say which with netns=", several.len()),
    }
}

async fn nsid_of(session: &Session, netns: &NetnsRef) -> Result<Option<i32>> {
    let netns = netns.open()?;
    if netns.id() == Netns::current()?.id() {
        return Ok(None);
    }
    let nsid = session.netlink.nsid_of(&netns).await?;
    nsid.map(Some).ok_or_else(|| anyhow!("no child of {:?} is in that namespace", session.master.name))
}

/// A shim heeds host access, and no other policy.
fn require_datapath(session: &Session, policy: &PolicyChange) -> Result<()> {
    let is_host_access_alone = PolicyChange { host_access: None, ..*policy }.is_empty();
    match &session.attached {
        Ok(_) => Ok(()),
        Err(_) if !session.shims().is_empty() && is_host_access_alone => Ok(()),
        Err(reason) => {
            bail!("host access and other policies need the data path, and there is none: {reason}")
        }
    }
}
