//! `apply` and `check`: the machine as the configuration file says, or how it differs.

use std::collections::BTreeMap;

use anyhow::{Context, Error, Result, bail};
use serde::Serialize;

use crate::{
    attach::{check_room, refuse_missing},
    config::{Config, MasterConfig},
    execute::{execute, no_bpf, shim_instead},
    ids::IfName,
    master::Master,
    model::Child,
    netlink::Netlink,
    netns::NetnsId,
    plan::{Differing, Plan, PlannedChild, plan_children},
    session::{Access, Session},
    steps::{self, is_planned},
    unknown,
};

/// One step on a master, as `apply -j` prints it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Step {
    /// The master.
    pub ifname: IfName,
    /// What is done, in words.
    pub step: String,
}

/// What came of it.
#[derive(Debug, Default)]
pub struct Outcome {
    /// What was done or, when only looking, would be. Empty: everything is as the file says.
    pub steps: Vec<Step>,
    /// What a person should look at.
    pub warnings: Vec<String>,
    /// Masters on which it failed; each of them is as it was.
    pub failures: Vec<Error>,
}

/// One master, checked and ready.
struct Prepared<'a> {
    config: &'a MasterConfig,
    session: Session,
    plan: Plan,
    steps: Vec<Step>,
    warnings: Vec<String>,
}

/// Brings the masters of `config` to what it says, in the namespace of the calling thread; with
/// [`Access::Read`] only finds out what that would change. Every master is checked before the first
/// is touched. Each is changed as a whole or not at all; a failure on one stops none of the others.
///
/// # Errors
///
/// When something in the file cannot be; nothing is changed then.
pub async fn apply(config: &Config, access: Access) -> Result<Outcome> {
    let mut outcome = Outcome::default();
    for prepared in prepare(config, access).await? {
        let Prepared { config, mut session, plan, steps, warnings } = prepared;
        outcome.warnings.extend(warnings);
        if access == Access::Change && !steps.is_empty() {
            match execute(&mut session, &config.request, &plan).await {
                Ok(warnings) => outcome.warnings.extend(named(&config.name, warnings)),
                Err(error) => {
                    outcome.failures.push(error.context(cannot_apply(&config.name)));
                    continue;
                }
            }
        }
        outcome.steps.extend(steps);
    }
    Ok(outcome)
}

async fn prepare(config: &Config, access: Access) -> Result<Vec<Prepared<'_>>> {
    let mut prepared = Vec::new();
    for (number, master) in locking_order(config).await? {
        let one = prepare_one(master, access).await;
        prepared.push((number, one.with_context(|| cannot_apply(&master.name))?));
    }
    prepared.sort_by_key(|(number, _)| *number);
    let prepared: Vec<Prepared<'_>> = prepared.into_iter().map(|(_, one)| one).collect();
    refuse_twins(&prepared)?;
    Ok(prepared)
}

/// The masters with their numbers in the file, by index: two commands that take the same locks take
/// them in one order.
async fn locking_order(config: &Config) -> Result<Vec<(usize, &MasterConfig)>> {
    let netlink = Netlink::open()?;
    let mut by_index: BTreeMap<u32, (usize, &MasterConfig)> = BTreeMap::new();
    for (number, master) in config.masters.iter().enumerate() {
        let found = Master::find(&netlink, master.name.as_str()).await;
        let found = found.with_context(|| cannot_apply(&master.name))?;
        // A device may have further names (`ip link property add altname`).
        if let Some((_, other)) = by_index.insert(found.index, (number, master)) {
            bail!("{}: it is the same device as {:?}", cannot_apply(&master.name), other.name);
        }
    }
    Ok(by_index.into_values().collect())
}

async fn prepare_one(config: &MasterConfig, access: Access) -> Result<Prepared<'_>> {
    let request = &config.request;
    let session = Session::open(config.name.as_str(), access).await?;
    session.master.require_up()?;
    session.require_our_layout()?;
    let children = plan_children(&session, &request.children, Differing::Change).await?;
    let mut plan = Plan { children, doomed: Vec::new() };
    refuse_unadopted(config, &plan)?;
    let mut warnings = Vec::new();
    let orphans = orphans(&session, &plan);
    if request.prune {
        plan.doomed = orphans;
    } else {
        let name = &config.name;
        warnings.extend(orphans.iter().map(|child| {
            format!(
                "child {} of {name:?} is ours and not in the file; delete it with \"macvlan-ctl child del {name} \
                 {}\", or by prune = true",
                child.title(),
                child.name
            )
        }));
    }
    check_room(&session, request, &plan)?;
    unknown::check(&session, &request.options, &plan).await?;
    refuse_missing(&session, request)?;
    let steps = steps::describe(&session, request, &plan).await?;
    let changes = steps.into_iter().filter(|step| step.changes);
    let steps: Vec<Step> =
        changes.map(|step| Step { ifname: config.name.clone(), step: step.text }).collect();
    if let Some(reason) = &session.refusal {
        // Whoever acts tells it again, with the same words.
        if access == Access::Read || steps.is_empty() {
            let told = match session.shims() {
                [] => no_bpf(reason, session.children().len()),
                _ => shim_instead(reason, &session.master),
            };
            warnings.extend(named(&config.name, vec![told]));
        }
    }
    Ok(Prepared { config, session, plan, steps, warnings })
}

/// Refuses to say of a stranger's child who may talk to it where strangers' are left alone.
fn refuse_unadopted(config: &MasterConfig, plan: &Plan) -> Result<()> {
    let is_unadopted = |planned: &&PlannedChild| {
        let is_strangers = planned.existing.as_ref().is_some_and(|child| !child.owned);
        is_strangers && !planned.settings.policy.is_empty()
    };
    match plan.children.iter().find(is_unadopted) {
        Some(child) if config.request.options.no_adopt => bail!(
            "cannot have child {:?}: macvlan-ctl did not make it, and adopt = false leaves its policy alone",
            child.name
        ),
        _ => Ok(()),
    }
}

/// Children of ours that the file does not ask for.
fn orphans(session: &Session, plan: &Plan) -> Vec<Child> {
    let is_orphan = |child: &&Child| {
        child.owned && !child.unfinished && !plan.children.iter().any(|planned| is_planned(planned, child))
    };
    session.children().iter().filter(is_orphan).cloned().collect()
}

/// Refuses new children of one name in one namespace: each master's plan knows of its own alone.
fn refuse_twins(prepared: &[Prepared<'_>]) -> Result<()> {
    let mut seen: BTreeMap<(&str, u64), &IfName> = BTreeMap::new();
    for one in prepared {
        for child in &one.plan.children {
            let place: NetnsId = child.netns.id();
            if let Some(other) = seen.insert((&child.name, place.inode()), &one.config.name) {
                bail!(
                    "{}: child {:?} is asked for on {other:?} too, in the same network namespace",
                    cannot_apply(&one.config.name),
                    child.name
                );
            }
        }
    }
    Ok(())
}

fn cannot_apply(name: &IfName) -> String {
    format!("cannot apply the configuration to {name:?}")
}

fn named(name: &IfName, warnings: Vec<String>) -> impl Iterator<Item = String> {
    warnings.into_iter().map(move |warning| format!("{name}: {warning}"))
}
