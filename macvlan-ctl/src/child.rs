//! `child add`, `child del`, `child set`: changes while attached.

use std::collections::BTreeMap;

use anyhow::{Context, Result, anyhow, bail};
use macvlan_common::mac::Mac;

use crate::{
    change::{self, Changed, Wanted},
    create::Created,
    datapath::{Datapath as _, Degraded},
    groups,
    model::{Child, ChildSpec, Settings},
    netlink::macvlan::Change,
    netns::{Netns, NetnsRef},
    plan::{Differing, plan_children, policies},
    policy::PolicyChange,
    session::{Access, Members, Session},
    shim,
};

/// Makes children on a master.
///
/// # Errors
///
/// When one cannot be as asked for; everything is as before then.
pub async fn add(master: &str, specs: &[ChildSpec]) -> Result<Vec<String>> {
    let mut session = open(master).await?;
    session.master.require_up().with_context(|| format!("cannot add children to {master:?}"))?;
    for spec in specs.iter().filter(|spec| !spec.settings.policy.is_empty()) {
        require_datapath(&session, &spec.settings.policy)
            .with_context(|| format!("cannot add children to {master:?}"))?;
    }
    groups::check(&session, specs).with_context(|| format!("cannot add children to {master:?}"))?;
    let planned = plan_children(&session, specs, Differing::Refuse).await?;
    let created = Created::make(&session, &planned).await?;
    let mut changed = Changed::default();
    let synced = async {
        changed.make_all(&planned).await?;
        session.observe().await?;
        let policies = policies(&session, &planned).await?;
        sync(&mut session, &policies).await
    };
    match synced.await {
        Ok(warnings) => Ok(warnings),
        Err(error) => {
            changed.undo().await;
            created.undo().await;
            Err(error).with_context(|| format!("cannot add children to {master:?}"))
        }
    }
}

/// Removes children that we made.
///
/// # Errors
///
/// When there is no such child, or somebody else made it; nothing is removed then.
pub async fn del(master: &str, specs: &[ChildSpec]) -> Result<Vec<String>> {
    let mut session = open(master).await?;
    let mut doomed = Vec::new();
    for spec in specs {
        let child = find(&session, spec).await.with_context(|| cannot("delete", spec))?;
        if !child.owned {
            bail!("{}: macvlan-ctl did not make it; remove it with: ip link del", cannot("delete", spec));
        }
        doomed.push(child);
    }
    session.delete(&doomed).await?;
    session.observe().await?;
    sync(&mut session, &BTreeMap::new()).await
}

/// Changes children.
///
/// # Errors
///
/// When there is no such child, or the kernel refuses; what was changed before stays changed.
pub async fn set(master: &str, specs: &[ChildSpec]) -> Result<Vec<String>> {
    let mut session = open(master).await?;
    let mut changes = Vec::new();
    for spec in specs {
        let child = find(&session, spec).await.with_context(|| cannot("change", spec))?;
        let change = check_change(&session, &child, &spec.settings);
        changes.push((child, change.with_context(|| cannot("change", spec))?, spec));
    }
    groups::check(&session, specs).with_context(|| format!("cannot change children of {master:?}"))?;
    let mut changed = Changed::default();
    let mut policies = BTreeMap::new();
    for (child, change, spec) in changes {
        let wanted =
            Wanted { change, addresses: &spec.settings.addresses, gateways: &spec.settings.gateways };
        change_one(&session, &mut changed, &child, wanted).await.with_context(|| cannot("change", spec))?;
        let mac = change.mac.unwrap_or(child.mac);
        policies.insert(mac, spec.settings.policy.or(kept_policy(&session, child.mac)?));
    }
    session.observe().await?;
    let synced = sync(&mut session, &policies).await;
    synced.with_context(|| format!("cannot change children of {master:?}"))
}

/// The policy that the data path holds for this MAC.
fn kept_policy(session: &Session, mac: Mac) -> Result<PolicyChange> {
    let Ok(bpf) = &session.attached else { return Ok(PolicyChange::default()) };
    Ok(Members::of(bpf.as_ref())?.setting_of(mac).unwrap_or_default())
}

async fn open(master: &str) -> Result<Session> {
    let cannot = || format!("cannot change children of {master:?}");
    let session = Session::open(master, Access::Change).await.with_context(cannot)?;
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

/// The child that a specification names; `netns=` tells between equal names.
async fn find(session: &Session, spec: &ChildSpec) -> Result<Child> {
    let name = spec.name.as_str();
    let mut matches: Vec<&Child> = session.children().iter().filter(|child| child.name == name).collect();
    if let Some(netns) = &spec.settings.netns {
        let nsid = nsid_of(session, netns).await?;
        matches.retain(|child| child.place.nsid == nsid);
    }
    match matches.as_slice() {
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

fn check_change(session: &Session, child: &Child, settings: &Settings) -> Result<Change> {
    let change = change::check(session, child, settings)?;
    let addresses = !settings.addresses.is_empty() || !settings.gateways.is_empty();
    if addresses && !child.owned {
        bail!("{}", change::NOT_OURS);
    }
    if !settings.policy.is_empty() {
        require_datapath(session, &settings.policy)?;
    }
    Ok(change)
}

async fn change_one(
    session: &Session,
    changed: &mut Changed,
    child: &Child,
    wanted: Wanted<'_>,
) -> Result<()> {
    if wanted.is_empty() {
        return Ok(());
    }
    let inside = session.observed.netlink_at(&session.netlink, &child.place).await?;
    let inside = inside.context("no path to its network namespace is known")?;
    changed.make(&inside, child, wanted).await
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
