//! CHECK: whether an attachment is as ADD left it.

use std::path::Path;

use macvlan_core::{discovery::masters::master_of_link, kernel::netlink::link::Link};

use crate::{
    error::{CniError, CniResult, code},
    host_access,
    request::{Target, Verb},
    result::AddResult,
    settings,
    site::{Site, open_netns},
    task::Task,
};

/// Compares the container with what ADD answered.
///
/// # Errors
///
/// Code 7 without that answer, 100 when something is not as it was.
pub fn check(task: &Task<'_>) -> CniResult<()> {
    let target = task.target()?;
    let result = task.config.prev_result.as_ref().ok_or_else(|| {
        CniError::new(code::INVALID_CONFIG, "the configuration has no prevResult, which CHECK needs")
    })?;
    let netns = open_netns(target.netns.as_deref().unwrap_or(Path::new("")))?;
    if let Some(ipam) = task.ipam()? {
        ipam.call(Verb::Check, Some(target))?;
    }
    task.runtime.block_on(async {
        let site = Site::open(&task.config, netns)?;
        let identity = target.attachment(&task.config.name);
        let link = site.find(&identity, target, false).await?;
        let link = link.ok_or_else(|| failed(format!("the container has no {:?} of ours", target.ifname)))?;
        check_device(task, target, result, &link)?;
        settings::check(&site.inside, link.index, result).await?;
        check_host_access(task, &site, &link).await
    })
}

fn check_device(task: &Task<'_>, target: &Target, result: &AddResult, link: &Link) -> CniResult<()> {
    let name = target.ifname.as_str();
    let sandbox = target.netns.as_deref().map(|path| path.display().to_string()).unwrap_or_default();
    let is_it =
        |interface: &&super::result::Interface| interface.name == name && interface.sandbox == sandbox;
    let interface = result.interfaces.iter().find(is_it);
    let interface = interface.ok_or_else(|| failed(format!("prevResult has no {name:?} in {sandbox:?}")))?;
    let mac = link.mac.map(|mac| mac.to_string()).unwrap_or_default();
    if !interface.mac.is_empty() && !interface.mac.eq_ignore_ascii_case(&mac) {
        return Err(failed(format!("{name:?} has MAC {mac}, not {}", interface.mac)));
    }
    if link.mode != Some(task.config.mode) {
        let is = link.mode.map_or("unknown", |mode| mode.as_str());
        return Err(failed(format!("{name:?} has mode {is}, not {}", task.config.mode.as_str())));
    }
    if !link.up {
        return Err(failed(format!("{name:?} is down")));
    }
    Ok(())
}

/// A data path that is not there at all may have been missing from the beginning; one that is must
/// know the child.
async fn check_host_access(task: &Task<'_>, site: &Site, link: &Link) -> CniResult<()> {
    if task.config.link_in_container || !task.config.wants_host_access() || !task.config.mode.is_hairpinned()
    {
        return Ok(());
    }
    let lower = site.above.link_by_index(site.lower_of(link).await?, None).await?;
    let lower = lower.ok_or_else(|| failed(format!("the master of {:?} is gone", link.name)))?;
    let master = master_of_link(&site.above, lower).await?;
    let Some(mac) = link.mac else { return Ok(()) };
    match host_access::reaches(&site.above, &master, mac).await? {
        Some(false) => Err(failed(format!("{:?} has no host access: see macvlan-ctl status", link.name))),
        None if task.config.on_missing_bpf == super::config::OnMissingBpf::Fail => {
            Err(failed(format!("{:?} has no data path: see macvlan-ctl status", master.name)))
        }
        _ => Ok(()),
    }
}

fn failed(msg: String) -> CniError {
    CniError::new(code::FAILED, msg)
}
