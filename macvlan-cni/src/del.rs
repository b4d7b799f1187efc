//! DEL: nothing of an attachment is left, whatever there was of it.

use macvlan_core::{
    kernel::netlink::{Netlink, kind::Kind},
    model::attachment::Attachment,
};

use crate::{
    Task, background,
    config::Config,
    error::{CniResult, code},
    host_access,
    ipam::{Ipam, Running},
    port,
    request::{Target, Verb},
    site::{self, Site, open_netns},
    warning::warn,
};

/// Detaches a container. That there is nothing to detach is no error.
///
/// # Errors
///
/// When the device or the addresses cannot be removed.
pub fn del(task: &Task<'_>) -> CniResult<()> {
    let target = task.target()?;
    let ipam = task.ipam()?;
    let release = || ipam.as_ref().map(|ipam| ipam.start(Verb::Del, Some(target))).transpose();
    let remove = || task.runtime.block_on(remove_attachment(task, target));
    if ipam.as_ref().is_some_and(Ipam::needs_no_device) {
        // The kernel takes some time to take a device down, the plugin to start.
        let releasing = release();
        let removed = remove();
        return removed.and(end(releasing));
    }
    let released = end(release());
    remove().and(released)
}

fn end(releasing: CniResult<Option<Running<'_>>>) -> CniResult<()> {
    releasing?.map_or(Ok(()), Running::end)
}

async fn remove_attachment(task: &Task<'_>, target: &Target) -> CniResult<()> {
    let identity = target.attachment(&task.config.name);
    let netns = match target.netns.as_deref().map(open_netns) {
        Some(Ok(netns)) => netns,
        // What is not a namespace any more once was one.
        Some(Err(error)) if ![code::UNKNOWN_CONTAINER, code::INVALID_ENVIRONMENT].contains(&error.code) => {
            return Err(error);
        }
        _ => return search(task, &identity).await,
    };
    let site = Site::open(&task.config, netns)?;
    remove(&site, &task.config, &identity, target).await
}

/// Removes the device of an attachment, and what the data path knows of it.
///
/// # Errors
///
/// The device cannot be deleted, or the data path cannot let go of it.
pub async fn remove(site: &Site, config: &Config, identity: &Attachment, target: &Target) -> CniResult<()> {
    let found = match config.kind {
        // Whatever its container did with its end.
        Kind::Port => port::find(&site.above, identity).await?,
        Kind::Macvlan | Kind::Macvtap => site.find(identity, target, true).await?,
    };
    let Some(link) = found else { return Ok(()) };
    let mark = site.mark_of(&link).await;
    if port::number(&link) == 0 {
        background::delete_link(&site.netns, link.index)?;
    } else {
        site.delete(&link).await?;
    }
    let has_its_mac = mark.as_ref().is_none_or(|(_, mark)| link.mac == Some(mark.mac));
    if let Some((key, mark)) = mark {
        site::unmark(key, &mark)?;
    }
    // Only now: whoever looked at the children before may just have told the data path of it.
    let Some(lower) = link.lower.filter(|_| !config.link_in_container) else { return Ok(()) };
    let Some(master) = site.above.link_by_index(lower, None).await? else { return Ok(()) };
    if !has_its_mac {
        // One that was set from inside: another child may be known by it, and this one by its own.
        return host_access::resync(&mut host_access::hold(&master.name).await?).await;
    }
    if let (Some((master, _lock)), Some(mac)) = (site::lock(&site.above, config, &master).await?, link.mac) {
        warn(&host_access::leave(&site.above, &master, mac).await?);
    }
    Ok(())
}

/// Looks for the device of an attachment whose namespace is not known, or not there any more.
async fn search(task: &Task<'_>, identity: &Attachment) -> CniResult<()> {
    if task.config.link_in_container {
        return Ok(());
    }
    let netlink = Netlink::open()?;
    // Without a master there are no children.
    let Ok(lower) = site::master(&netlink, &Config { mtu: None, ..task.config.clone() }).await else {
        return Ok(());
    };
    let mut locked = host_access::hold(&lower.name).await?;
    let is_it = |child: &&macvlan_core::model::child::Child| child.attachment.as_ref() == Some(identity);
    let found: Vec<_> = locked.children().iter().filter(is_it).cloned().collect();
    locked.delete(&found).await?;
    locked.observe().await?;
    host_access::resync(&mut locked).await
}
