//! GC: attachments of a network that nobody knows of any more are undone.

use macvlan_core::{kernel::netlink::Netlink, model::child::Child};

use crate::{
    config::Config,
    error::CniResult,
    host_access,
    request::{Target, Verb},
    site,
    task::Task,
};

/// Removes every device of the network but those of the attachments that the runtime names, and
/// releases their addresses. A runtime that names none at all, not even an empty list, leaves the devices
/// to themselves.
///
/// # Errors
///
/// The first failure, after everything was tried.
pub fn gc(task: &Task<'_>) -> CniResult<()> {
    let (stale, mut outcome) = match task.runtime.block_on(remove_stale(task)) {
        Ok(stale) => (stale, Ok(())),
        Err(error) => (Vec::new(), Err(error)),
    };
    let Some(ipam) = task.ipam()? else { return outcome };
    for target in &stale {
        outcome = outcome.and(ipam.call(Verb::Del, Some(target)));
    }
    match ipam.speaks(task.version) {
        true => outcome.and(ipam.call(Verb::Gc, None)),
        false => outcome,
    }
}

async fn remove_stale(task: &Task<'_>) -> CniResult<Vec<Target>> {
    let config = &task.config;
    // The master of a container goes with it, and the device with its master.
    if config.link_in_container || config.valid_attachments.is_none() {
        return Ok(Vec::new());
    }
    let netlink = Netlink::open()?;
    // Without a master there are no children.
    let Ok(lower) = site::master(&netlink, &Config { mtu: None, ..config.clone() }).await else {
        return Ok(Vec::new());
    };
    let mut locked = host_access::hold(&lower.name).await?;
    let is_stale = |child: &&Child| {
        child.attachment.as_ref().is_some_and(|identity| {
            identity.is_of(&config.name)
                && !Target::of(identity).is_some_and(|target| config.is_valid(&target))
        })
    };
    let stale: Vec<Child> = locked.children().iter().filter(is_stale).cloned().collect();
    locked.delete(&stale).await?;
    locked.observe().await?;
    host_access::resync(&mut locked).await?;
    Ok(stale.iter().filter_map(|child| Target::of(child.attachment.as_ref()?)).collect())
}
