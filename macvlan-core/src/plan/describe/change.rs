//! Steps of `child add`, `child del`, `child set` and `detach`.

use macvlan_common::child::Policy;

use crate::{
    discovery::locked_master::LockedMaster,
    model::{child::Child, flood::flood_name, members::Members},
    plan::{
        describe::{step::Step, words::told},
        planned::PlannedChild,
    },
    policy::change::PolicyChange,
};

/// The steps by which children are added to the `members` there are.
pub fn add(locked: &LockedMaster, members: &Members, planned: &[PlannedChild]) -> Vec<Step> {
    let mut steps = leftovers(locked);
    for planned in planned {
        let of_device = Step { text: planned.to_string(), changes: !planned.is_kept() };
        let of_policy = match &planned.existing {
            Some(child) => set_policy(locked, members, child, planned.settings.policy),
            None => Vec::new(),
        };
        if of_device.changes || of_policy.is_empty() {
            steps.push(of_device);
        }
        steps.extend(of_policy);
    }
    steps
}

/// The step by which a child is deleted.
pub fn delete(child: &Child) -> Step {
    Step::change(format!("delete {}", told(child)))
}

/// The steps by which a child, one of the `members`, is changed: its device as planned, and its policy.
pub fn set(
    locked: &LockedMaster,
    members: &Members,
    child: &Child,
    planned: Option<&PlannedChild>,
    policy: PolicyChange,
) -> Vec<Step> {
    let of_device = planned.filter(|planned| !planned.is_kept());
    let mut steps: Vec<Step> =
        of_device.map(|planned| Step::change(planned.to_string())).into_iter().collect();
    steps.extend(set_policy(locked, members, child, policy));
    if steps.is_empty() {
        steps.push(Step::keep(format!("keep {}", told(child))));
    }
    steps
}

/// The steps by which a master is detached.
pub fn detach(locked: &LockedMaster, deletes_children: bool) -> Vec<Step> {
    let name = &locked.master.name;
    let mut steps = leftovers(locked);
    if locked.attached.is_ok() {
        steps.push(Step::change(format!("take the data path off {name:?}")));
    } else if locked.is_broken() {
        steps.push(Step::change(format!("remove what is left of a data path on {name:?}")));
    }
    steps.extend(locked.shims().iter().map(|shim| Step::change(format!("remove shim {:?}", shim.name))));
    if deletes_children {
        steps.extend(locked.children().iter().filter(|child| child.owned).map(delete));
    }
    if steps.is_empty() {
        steps.push(Step::keep(format!("leave {name:?}: nothing is attached to it")));
    }
    steps
}

/// What a command that changes anything first removes.
pub fn leftovers(locked: &LockedMaster) -> Vec<Step> {
    let unfinished = locked.children().iter().filter(|child| child.unfinished);
    let mut steps: Vec<Step> = unfinished
        .map(|child| Step::change(format!("delete {}, which was left half made", told(child))))
        .collect();
    if locked.attached.is_err() && !locked.floods().is_empty() {
        let name = flood_name(&locked.master);
        steps.push(Step::change(format!("delete {name:?}, which was left behind")));
    }
    steps
}

/// What is set for a child that is there.
fn set_policy(locked: &LockedMaster, members: &Members, child: &Child, asked: PolicyChange) -> Vec<Step> {
    if locked.attached.is_err() {
        // A shim heeds nothing else.
        return asked.host_access.map(|on| turn_host_access(child, on)).into_iter().collect();
    }
    let present = members.policies.get(&child.mac).copied().unwrap_or(Policy::new(child.mode, true));
    let mut steps = policy(child, asked.differing(present, members.rates_of(child.mac), &members.groups));
    if asked.takes_mode && is_held_to_mode(child, present) {
        steps.push(take_mode(child));
    }
    steps
}

/// Whether a child is held to another mode than its device has.
pub fn is_held_to_mode(child: &Child, present: Policy) -> bool {
    child.place.nsid.is_some() && !present.is_hosts() && present.mode() != child.mode
}

/// Its device's mode counts from then on.
pub fn take_mode(child: &Child) -> Step {
    Step::change(format!("let mode {} of {} count", child.mode.as_str(), told(child)))
}

/// What of a policy is set anew.
pub fn policy(child: &Child, mut differing: PolicyChange) -> Vec<Step> {
    let mut steps: Vec<Step> =
        differing.host_access.take().map(|on| turn_host_access(child, on)).into_iter().collect();
    let phrases = differing.phrases();
    steps.extend(phrases.iter().map(|phrase| Step::change(format!("set {phrase} for {}", told(child)))));
    steps
}

fn turn_host_access(child: &Child, on: bool) -> Step {
    Step::change(format!("turn host access of {} {}", told(child), if on { "on" } else { "off" }))
}
