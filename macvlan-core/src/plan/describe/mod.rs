//! What a command will do, in words: for `--dry-run`, and for whoever asks whether there is anything.

pub(crate) mod change;
pub(crate) mod forgotten;
pub mod step;
pub(crate) mod unsettled;
mod words;

use std::collections::BTreeMap;

use anyhow::Result;
use macvlan_common::{child::Policy, mac::Mac};

use crate::{
    datapath::shim,
    discovery::locked_master::LockedMaster,
    model::{
        child::Child, members::Members, options::MissingChoice, request::AttachRequest, shim::shim_name,
    },
    plan::{
        describe::{
            change::{is_held_to_mode, leftovers, policy, take_mode},
            step::Step,
            words::{told, unusual},
        },
        planned::{Plan, PlannedChild, is_planned},
    },
};

pub use crate::plan::describe::change::{add, delete, detach, set};

/// The steps by which `plan` and `request` come true on a master.
///
/// # Errors
///
/// The data path cannot be as asked for, or netlink does not tell how a shim is.
pub async fn describe(locked: &LockedMaster, request: &AttachRequest, plan: &Plan) -> Result<Vec<Step>> {
    let mut steps = leftovers(locked);
    steps.extend(
        plan.children.iter().map(|child| Step { text: child.to_string(), changes: !child.is_kept() }),
    );
    if locked.refusal.is_none() {
        steps.extend(members(locked, request, plan));
    }
    steps.extend(plan.doomed.iter().map(delete));
    let name = &locked.master.name;
    match &locked.attached {
        Ok(bpf) => {
            let changes = bpf.changes(&locked.master, &request.options)?;
            if changes.is_empty() {
                steps.push(Step::keep(format!("keep the data path on {name:?}")));
            }
            steps.extend(changes.into_iter().map(Step::change));
        }
        Err(_) if locked.refusal.is_some() => {
            steps.push(Step::keep(format!("leave {name:?} to plain kernel macvlan")));
            steps.extend(shim(locked, request).await?);
            return Ok(steps);
        }
        Err(_) => steps.push(Step::change(format!(
            "attach the data path to {name:?}: TC ingress, TC egress, demultiplexer"
        ))),
    }
    steps.extend(locked.shims().iter().map(|shim| Step::change(format!("remove shim {:?}", shim.name))));
    Ok(steps)
}

/// What is done about a shim where BPF is unavailable.
async fn shim(locked: &LockedMaster, request: &AttachRequest) -> Result<Vec<Step>> {
    let shims = locked.shims();
    let wants_one = match request.options.on_missing_bpf {
        Some(MissingChoice::Shim) => true,
        Some(MissingChoice::Plain | MissingChoice::Fail) => false,
        None => !shims.is_empty(),
    };
    if !wants_one {
        return Ok(shims.iter().map(|shim| Step::change(format!("remove shim {:?}", shim.name))).collect());
    }
    let Some(shim) = shims.iter().find(|shim| shim.finished) else {
        let name = shim_name(&locked.master);
        return Ok(vec![Step::change(format!("make shim {name:?}, a macvlan of the host's own"))]);
    };
    let children: Vec<&Child> = locked.children().iter().collect();
    let known = |child: &&Child| {
        Some((child.mac, request.policies.of(child.identity(&locked.homes.homes)).host_access?))
    };
    let mut access: BTreeMap<Mac, bool> = children.iter().filter_map(known).collect();
    if !locked.wanted_options(request).adopt {
        shim::keep_strangers(&mut access, &children);
    }
    let survey = shim::survey(&locked.master, Some(shim), &children, &access).await?;
    Ok(vec![match survey.is_in_step() {
        true => Step::keep(format!("keep shim {:?}", shim.name)),
        false => Step::change(format!("bring shim {:?} in step", shim.name)),
    }])
}

/// What changes in the map, but for children that are made, changed or deleted by steps of their own.
fn members(locked: &LockedMaster, request: &AttachRequest, plan: &Plan) -> Vec<Step> {
    let present = locked.members();
    let adopts = locked.wanted_options(request).adopt;
    let mut steps = Vec::new();
    let mut children: Vec<&Child> = locked.children().iter().filter(|child| !child.unfinished).collect();
    let mut leaving: BTreeMap<Mac, Policy> = present.policies.clone();
    // Of two with one MAC the last counts, as in `LockedMaster::wanted_members`.
    children.sort_by_key(|child| child.up);
    let last: BTreeMap<Mac, &Child> = children.iter().map(|child| (child.mac, *child)).collect();
    for child in locked.children() {
        let is_doomed = plan.doomed.iter().any(|doomed| doomed.is_same(child));
        if is_doomed {
            leaving.remove(&child.mac);
        }
        let is_last = last.get(&child.mac).is_some_and(|last| last.is_same(child));
        if is_doomed || !is_last || (!adopts && !child.is_ours()) {
            continue;
        }
        let planned = plan.children.iter().find(|planned| is_planned(planned, child));
        let is_named = planned.is_some()
            || request.policies.of(child.identity(&locked.homes.homes)).named
            || present.policies.get(&child.mac).is_some_and(|policy| policy.is_named());
        if child.is_hosts() && !is_named {
            leaving.remove(&child.mac);
            continue;
        }
        let mac = planned.and_then(|planned| planned.change.mac).unwrap_or(child.mac);
        leaving.remove(&child.mac);
        leaving.remove(&mac);
        let known = [child.mac, mac].into_iter().find(|mac| present.policies.contains_key(mac));
        steps.extend(member(locked, child, planned, request, known, &present));
    }
    steps.extend(leaving.keys().map(|mac| Step::change(format!("forget {mac}, which is no child any more"))));
    steps
}

fn member(
    locked: &LockedMaster,
    child: &Child,
    planned: Option<&PlannedChild>,
    request: &AttachRequest,
    known: Option<Mac>,
    members: &Members,
) -> Vec<Step> {
    let homes = &locked.homes.homes;
    let change = planned.map(|planned| planned.change).unwrap_or_default();
    let after = Child {
        mac: change.mac.unwrap_or(child.mac),
        mode: change.mode.unwrap_or(child.mode),
        ..child.clone()
    };
    let asked = planned.map(|planned| planned.settings.policy).unwrap_or_default();
    let asked = asked.or(request.policies.of(after.identity(homes)));
    let known = known.and_then(|mac| Some((mac, *members.policies.get(&mac)?)));
    let Some((mac, present)) = known else {
        if change.mac.is_some() {
            // Its new MAC is taken up with the change.
            return Vec::new();
        }
        let verb = if child.owned { "take up" } else { "adopt" };
        let phrases: String = unusual(asked).iter().map(|phrase| format!(", {phrase}")).collect();
        return vec![Step::change(format!("{verb} {} ({}){phrases}", told(child), child.mac))];
    };
    let mut steps = policy(child, asked.differing(present, members.rates_of(mac), &members.groups));
    if present.is_unsettled() && homes.of(&child.place).is_named() {
        steps
            .push(Step::change(format!("settle what {} may do, as its container is known now", told(child))));
    }
    let takes_mode = planned.is_some_and(|planned| planned.settings.mode.is_some());
    if is_held_to_mode(child, present) {
        steps.extend((takes_mode && change.mode.is_none()).then(|| take_mode(child)));
    } else if present.mode() != child.mode && change.mode.is_none() {
        steps.push(Step::change(format!("follow {} to mode {}", told(child), child.mode.as_str())));
    }
    steps
}
