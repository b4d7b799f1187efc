//! Making planned children.

use anyhow::{Context as _, Result};

use crate::{
    apply::journal::Journal,
    discovery::locked_master::LockedMaster,
    kernel::netlink::macvlan::{NewChild, OWNER_ALIAS},
    plan::planned::{PlannedChild, Target},
};

/// Makes every planned child that is not there, and gives each its addresses.
///
/// # Errors
///
/// A name is taken, or the kernel refuses a child, an address or a gateway. What was made is in the
/// journal.
pub async fn create_all(
    locked: &LockedMaster,
    journal: &mut Journal,
    planned: &[PlannedChild],
) -> Result<()> {
    for child in planned.iter().filter(|child| child.existing.is_none()) {
        let made = create(locked, journal, child).await;
        made.with_context(|| format!("cannot add child {:?}", child.name))?;
    }
    Ok(())
}

async fn create(locked: &LockedMaster, journal: &mut Journal, child: &PlannedChild) -> Result<()> {
    if child.target != Target::Own {
        // So that it is found again, whoever holds the namespace.
        locked.netlink.assign_nsid(&child.netns).await?;
    }
    let inside = journal.socket(&child.netns)?;
    let new = NewChild {
        master: locked.master.index,
        name: &child.name,
        kind: child.kind,
        mode: child.mode,
        mac: child.settings.mac,
        mtu: child.settings.mtu,
        bcqueuelen: child.settings.bcqueuelen,
    };
    let index = locked.netlink.create_child(&new, &child.netns, &inside).await?.index;
    journal.made(&child.netns, &inside, index);
    inside.finish_child(index, OWNER_ALIAS, child.settings.up.unwrap_or(true)).await?;
    if !child.gateways.is_empty() {
        journal.sets_default_route(&child.netns, index).await?;
    }
    inside.address_child(index, &child.addresses, &child.gateways).await
}
