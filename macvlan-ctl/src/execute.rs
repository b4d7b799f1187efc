//! A plan carried out on one master: all of it or nothing, but for what comes last because it
//! cannot be taken back.

use std::collections::BTreeMap;

use anyhow::{Result, bail};
use macvlan_common::mac::Mac;

use crate::{
    attach::Request,
    change::{Changed, take_down},
    create::Created,
    datapath::{
        Datapath as _, Degraded,
        bpf::{Bpf, Options},
        choose::{MissingChoice, TcChoice, XdpChoice},
    },
    master::Master,
    model::Child,
    plan::{Plan, PlannedChild, policies},
    policy::PolicyChange,
    session::{Members, Session},
    shim,
    steps::is_same,
};

/// Makes and changes children, puts the data path in place, then deletes. Gives back what is less
/// than was asked for.
///
/// # Errors
///
/// When something cannot be. Everything is as before then, unless it is only that a child cannot be
/// taken down or deleted at the end.
pub async fn execute(session: &mut Session, request: &Request, plan: &Plan) -> Result<Vec<String>> {
    let before = session.members()?;
    let created = Created::make(session, &plan.children).await?;
    let mut changed = Changed::default();
    let put = async {
        changed.make_all(&plan.children).await?;
        put_in_place(session, request, plan, &before).await
    };
    let warnings = match put.await {
        Ok(warnings) => warnings,
        Err(error) => {
            changed.undo().await;
            created.undo().await;
            if let Ok(bpf) = &mut session.attached {
                // The error that led here is the one to report.
                let _ = bpf.sync(&session.master, &before);
            }
            return Err(error);
        }
    };
    take_down(&plan.children).await?;
    session.delete(&plan.doomed).await?;
    Ok(warnings)
}

/// Puts the programs on the master, or finds out why that cannot be.
async fn put_in_place(
    session: &mut Session,
    request: &Request,
    plan: &Plan,
    before: &Members,
) -> Result<Vec<String>> {
    session.observe().await?;
    let changes = changes(session, request, &plan.children, before).await?;
    let mut members = session.wanted_members(!request.options.no_adopt, &changes)?;
    for doomed in &plan.doomed {
        let has_twin = |child: &Child| child.mac == doomed.mac && !is_same(child, doomed);
        if !session.children().iter().any(has_twin) {
            members.policies.remove(&doomed.mac);
        }
    }
    // Whoever follows learns of addresses as they come.
    let owners = session.find_addresses(&mut members, !request.follows).await?;
    if let Ok(bpf) = &mut session.attached {
        bpf.update(&session.master, &request.options)?;
        bpf.sync(&session.master, &members)?;
        let children: Vec<&Child> = session.observed.of(session.master.index).iter().collect();
        bpf.vouch(&children, &members.policies).await?;
        bpf.set_owners(&session.master, &owners)?;
        let warnings = warnings(&bpf.description().degraded, &request.options);
        remove_shims(session).await?;
        return Ok(warnings);
    }
    if let Some(reason) = session.refusal.clone() {
        return step_down(session, request, &plan.doomed, &shim::access(&changes), reason).await;
    }
    session.remove_broken().await?;
    match Bpf::install(&session.netlink, &session.master, &request.options, &members).await {
        Ok(mut bpf) => {
            let children: Vec<&Child> = session.children().iter().collect();
            bpf.vouch(&children, &members.policies).await?;
            bpf.set_owners(&session.master, &owners)?;
            // Only now: until the hairpin stands, host and children talk through the shim.
            remove_shims(session).await?;
            Ok(warnings(&bpf.description().degraded, &request.options))
        }
        Err(error) if request.on_missing_bpf == Some(MissingChoice::Fail) => Err(error),
        Err(error) => {
            let reason = format!("BPF cannot be had: {error:#}");
            step_down(session, request, &plan.doomed, &shim::access(&changes), reason).await
        }
    }
}

/// Leaves a master to the kernel, with a shim if wanted. What is left of a data path goes last: until
/// there is something else, host and children talk through it.
async fn step_down(
    session: &mut Session,
    request: &Request,
    doomed: &[Child],
    access: &BTreeMap<Mac, bool>,
    reason: String,
) -> Result<Vec<String>> {
    let wants_shim = match request.on_missing_bpf {
        Some(MissingChoice::Shim) => true,
        Some(MissingChoice::Plain) => false,
        Some(MissingChoice::Fail) => bail!("{reason}"),
        None => !session.shims().is_empty(),
    };
    let is_doomed = |child: &Child| doomed.iter().any(|doomed| is_same(child, doomed));
    let children: Vec<&Child> = session.children().iter().filter(|child| !is_doomed(child)).collect();
    let warnings = if wants_shim {
        let mut access = access.clone();
        if request.options.no_adopt {
            access.extend(children.iter().filter(|child| !child.owned).map(|child| (child.mac, false)));
        }
        let shims = session.shims();
        match shim::raise(&session.netlink, &session.master, shims, &children, &access).await {
            Ok(left_out) => [shim_instead(&reason, &session.master)].into_iter().chain(left_out).collect(),
            Err(error) => vec![format!("{}; {error:#}", no_bpf(&reason, children.len()))],
        }
    } else {
        let told = vec![no_bpf(&reason, children.len())];
        remove_shims(session).await?;
        told
    };
    session.remove_broken().await?;
    Ok(warnings)
}

async fn remove_shims(session: &Session) -> Result<()> {
    shim::remove(&session.netlink, &session.master, session.shims()).await.map(drop)
}

/// What children may do, as far as anybody says: a child that gets another MAC as before, then
/// the policies, then the children's own settings.
async fn changes(
    session: &Session,
    request: &Request,
    planned: &[PlannedChild],
    before: &Members,
) -> Result<BTreeMap<Mac, PolicyChange>> {
    let mut changes: BTreeMap<Mac, PolicyChange> = BTreeMap::new();
    for planned in planned {
        let Some(existing) = &planned.existing else { continue };
        changes.extend(planned.change.mac.zip(before.setting_of(existing.mac)));
    }
    // Of two with one MAC the last counts, as in `Session::wanted_members`.
    let mut children: Vec<&Child> = session.children().iter().collect();
    children.sort_by_key(|child| child.up);
    for child in children {
        let change = changes.entry(child.mac).or_default();
        *change = request.policies.of(child).or(*change);
    }
    for (mac, policy) in policies(session, planned).await? {
        let change = changes.entry(mac).or_default();
        *change = policy.or(*change);
    }
    Ok(changes)
}

/// Says that a master is left to plain kernel macvlan, for this reason.
pub fn no_bpf(reason: &str, children: usize) -> String {
    format!("{reason}; {children} children run as plain kernel macvlan, which cannot talk to the host")
}

/// Says that a master is left to the kernel and its shim, for this reason.
pub fn shim_instead(reason: &str, master: &Master) -> String {
    format!("{reason}; host and children talk through shim {:?}", shim::name_for(master))
}

/// What a person should look at: not what `auto` chose for good reasons.
fn warnings(degraded: &[Degraded], options: &Options) -> Vec<String> {
    let chosen = |degraded: &&Degraded| match degraded.feature.as_str() {
        "demux" => !matches!(options.xdp, None | Some(XdpChoice::Auto)),
        "hairpin" => !matches!(options.tc, None | Some(TcChoice::Auto)) || degraded.got == "off",
        _ => true,
    };
    degraded.iter().filter(chosen).map(Degraded::to_string).collect()
}
