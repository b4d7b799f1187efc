//! `apply` and `check`: the machine as the configuration file says, or how it differs.

use std::collections::BTreeMap;

use anyhow::{Context, Error, Result, bail};
use serde::Serialize;

use crate::{
    apply::{
        execute::execute,
        fallback::{no_bpf, shim_instead},
    },
    commands::work::Work,
    config::{Config, master::MasterConfig},
    discovery::{access::Access, locked_master::LockedMaster, masters::find_master},
    kernel::{netlink::Netlink, netns::NetnsId},
    model::{child::Child, master_name::MasterName},
    plan::{
        children::plan_children,
        describe::{self, unsettled::unsettled},
        drop_unknown,
        planned::{Differing, Plan, PlannedChild, is_planned},
        room::{check_room, refuse_missing},
        single_mac,
    },
};

/// One step on a master, as `apply -j` prints it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct MasterStep {
    /// The master.
    pub ifname: String,
    /// What is done, in words.
    pub step: String,
}

/// What came of it.
#[derive(Debug, Default)]
pub struct Applied {
    /// What was done or, when only looking, would be. Empty: everything is as the file says.
    pub steps: Vec<MasterStep>,
    /// What a person should look at.
    pub warnings: Vec<String>,
    /// Masters on which it failed; each of them is as it was.
    pub failures: Vec<Error>,
}

/// One master, checked and ready.
struct Prepared<'a> {
    config: &'a MasterConfig,
    locked: LockedMaster,
    plan: Plan,
    steps: Vec<MasterStep>,
    warnings: Vec<String>,
}

/// Brings the masters of `config` to what it says, in the namespace of the calling thread; with
/// [`Access::Read`] only finds out what that would change. Every master is checked before the first
/// is touched. Each is changed as a whole or not at all; a failure on one stops none of the others.
///
/// # Errors
///
/// When something in the file cannot be; nothing is changed then.
pub fn apply(config: &Config, access: Access) -> Work<'_, Applied> {
    Box::pin(apply_all(config, access))
}

async fn apply_all(config: &Config, access: Access) -> Result<Applied> {
    let mut outcome = Applied::default();
    for prepared in prepare(config, access).await? {
        let Prepared { config, mut locked, plan, steps, warnings } = prepared;
        outcome.warnings.extend(warnings);
        if access == Access::Change && !steps.is_empty() {
            match execute(&mut locked, &config.request, &plan).await {
                Ok(mut warnings) => {
                    warnings.extend(unsettled(&locked));
                    outcome.warnings.extend(named(&locked.master.name, warnings));
                }
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
        let found = find_master(&netlink, master.name.as_str()).await;
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
    let mut locked = LockedMaster::open_to_attach(config.name.as_str(), access, request).await?;
    locked.master.require_up()?;
    locked.require_our_layout()?;
    locked.learn_homes(&request.policies).await;
    let isolation = locked.wanted_options(request).isolation;
    let children = plan_children(&locked, &request.children, Differing::Change, isolation).await?;
    let mut plan = Plan { children, doomed: Vec::new() };
    refuse_unadopted(&locked, config, &plan)?;
    let mut warnings = Vec::new();
    let orphans = orphans(&locked, &plan);
    if request.prune {
        plan.doomed = orphans;
    } else {
        let name = &locked.master.name;
        warnings.extend(orphans.iter().map(|child| {
            format!(
                "child {} of {name:?} is ours and not in the file; delete it with \"macvlan-ctl child del {name} \
                 {}\", or by prune = true",
                child.title(),
                child.name
            )
        }));
    }
    check_room(&locked, request, &plan)?;
    drop_unknown::check(&locked, request, &plan).await?;
    single_mac::check(&locked, request, &plan)?;
    refuse_missing(&locked, request)?;
    let steps = describe::describe(&locked, request, &plan).await?;
    let changes = steps.into_iter().filter(|step| step.changes);
    let steps: Vec<MasterStep> =
        changes.map(|step| MasterStep { ifname: locked.master.name.clone(), step: step.text }).collect();
    if let Some(reason) = &locked.refusal {
        // Whoever acts tells it again, with the same words.
        if access == Access::Read || steps.is_empty() {
            let told = match locked.shims() {
                [] => no_bpf(reason, locked.children().len()),
                _ => shim_instead(reason, &locked.master),
            };
            warnings.extend(named(&locked.master.name, vec![told]));
        }
    }
    Ok(Prepared { config, locked, plan, steps, warnings })
}

/// Refuses to say of a stranger's child who may talk to it where strangers' are left alone.
fn refuse_unadopted(locked: &LockedMaster, config: &MasterConfig, plan: &Plan) -> Result<()> {
    let is_unadopted = |planned: &&PlannedChild| {
        let is_strangers = planned.existing.as_ref().is_some_and(|child| !child.owned);
        is_strangers && !planned.settings.policy.is_empty()
    };
    match plan.children.iter().find(is_unadopted) {
        Some(child) if !locked.wanted_options(&config.request).adopt => bail!(
            "cannot have child {:?}: macvlan-ctl did not make it, and adopt = false leaves its policy alone; say \
             adopt = true",
            child.name
        ),
        _ => Ok(()),
    }
}

/// Children of ours that the file does not ask for.
fn orphans(locked: &LockedMaster, plan: &Plan) -> Vec<Child> {
    let is_orphan = |child: &&Child| {
        child.owned && !child.unfinished && !plan.children.iter().any(|planned| is_planned(planned, child))
    };
    locked.children().iter().filter(is_orphan).cloned().collect()
}

/// Refuses new children of one name in one namespace: each master's plan knows of its own alone.
fn refuse_twins(prepared: &[Prepared<'_>]) -> Result<()> {
    let mut seen: BTreeMap<(&str, u64), &MasterName> = BTreeMap::new();
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

fn cannot_apply(name: &MasterName) -> String {
    format!("cannot apply the configuration to {name:?}")
}

fn named(name: &str, warnings: Vec<String>) -> impl Iterator<Item = String> {
    warnings.into_iter().map(move |warning| format!("{name}: {warning}"))
}
