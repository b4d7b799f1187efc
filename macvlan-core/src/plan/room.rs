//! What is refused before anything is changed.

use anyhow::{Result, bail};

use crate::{
    discovery::locked_master::LockedMaster,
    model::{
        child::Child,
        options::{DEFAULT_MAX_CHILDREN, MissingChoice},
        request::AttachRequest,
    },
    plan::planned::Plan,
};

/// Refuses to go on without BPF, where that is wanted and known already: nothing was changed yet.
///
/// # Errors
///
/// When it is.
pub fn refuse_missing(locked: &LockedMaster, request: &AttachRequest) -> Result<()> {
    match &locked.refusal {
        Some(reason) if request.on_missing_bpf == Some(MissingChoice::Fail) => bail!("{reason}"),
        _ => Ok(()),
    }
}

/// Refuses more children than the data path has, or will have, room for.
///
/// # Errors
///
/// When they are.
pub fn check_room(locked: &LockedMaster, request: &AttachRequest, plan: &Plan) -> Result<()> {
    let is_counted = |child: &&Child| {
        (!request.options.no_adopt || child.is_ours())
            && !child.unfinished
            && !plan.doomed.iter().any(|doomed| doomed.is_same(child))
    };
    let adopted = locked.children().iter().filter(is_counted).count();
    let new = plan.children.iter().filter(|child| child.existing.is_none()).count();
    let present = match &locked.attached {
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
