//! Children whose containers are not known, and may the least until they are.

use crate::{discovery::locked_master::LockedMaster, model::child::Child};

/// Says which there are, and why.
pub fn unsettled(locked: &LockedMaster) -> Option<String> {
    let members = locked.members();
    let is_unsettled =
        |child: &&Child| members.policies.get(&child.mac).is_some_and(|policy| policy.is_unsettled());
    let titles: Vec<String> = locked.children().iter().filter(is_unsettled).map(Child::title).collect();
    let why = locked.homes.silent.as_deref().unwrap_or("their engine does not tell all of it");
    (!titles.is_empty()).then(|| {
        format!(
            "settings hang on containers that are not known, so these children may the least they could come to: {}; \
             {why}",
            titles.join(", ")
        )
    })
}
