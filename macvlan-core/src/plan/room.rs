//! What is refused before anything is changed.

use anyhow::{Result, bail};

use crate::{
    discovery::locked_master::LockedMaster,
    model::{child::Child, options::MissingChoice, request::AttachRequest},
    plan::planned::Plan,
};

/// Refuses to go on without BPF, where that is wanted and known already: nothing was changed yet.
///
/// # Errors
///
/// When it is.
pub fn refuse_missing(locked: &LockedMaster, request: &AttachRequest) -> Result<()> {
    match &locked.refusal {
        Some(reason) if request.options.on_missing_bpf == Some(MissingChoice::Fail) => bail!("{reason}"),
        _ => Ok(()),
    }
}

/// Refuses more children than the data path has, or will have, room for. Whoever follows the master leaves out
/// those that do not fit, and goes on.
///
/// # Errors
///
/// When they are.
pub fn check_room(locked: &LockedMaster, request: &AttachRequest, plan: &Plan) -> Result<()> {
    if request.follows {
        return Ok(());
    }
    let adopts = locked.wanted_options(request).adopt;
    let is_counted = |child: &&Child| {
        (adopts || child.is_ours())
            && !child.unfinished
            && !plan.doomed.iter().any(|doomed| doomed.is_same(child))
    };
    let adopted = locked.children().iter().filter(is_counted).count();
    let new = plan.children.iter().filter(|child| child.existing.is_none()).count();
    let room = locked.wanted_max_children(request) as usize;
    if adopted + new > room {
        bail!(
            "{} children are more than the maximum of {room}; raise it with --max-children {}{}",
            adopted + new,
            (adopted + new).next_power_of_two(),
            if locked.attached.is_ok() { " after a detach" } else { "" }
        );
    }
    Ok(())
}
