//! Attaching to a master that is followed, and removing what is left of one that is gone.

use anyhow::Result;

use crate::{
    commands::{apply::apply, attach},
    config::Config,
    datapath::bpf::{attached, clean_up},
    discovery::access::Access,
    follow::{settings::WantedMaster, watch::watcher::Watcher},
    kernel::{
        lock::{Lock, at_once},
        netlink::Netlink,
    },
    model::master::Master,
};

/// Why a device cannot be attached to now, though it may later.
pub fn obstacle(watcher: &Watcher, name: &str) -> Option<String> {
    match watcher.device_named(name) {
        None => Some("no such device".into()),
        Some(link) if !link.up => Some("it is down".into()),
        Some(_) => None,
    }
}

/// Attaches to the device of this name, or brings it and its children to what the configuration says; gives warnings,
/// each with the name. Another command is not waited for.
///
/// # Errors
///
/// [`Busy`](crate::kernel::lock::Busy) while another command is at work on the master; else why it cannot
/// be as the configuration says.
pub async fn bring_about(wanted: &WantedMaster, name: &str) -> Result<Vec<String>> {
    at_once(bring_about_in_time(wanted, name)).await
}

async fn bring_about_in_time(wanted: &WantedMaster, name: &str) -> Result<Vec<String>> {
    let mut master = wanted.config.clone();
    master.name = name.parse()?;
    master.request.follows = true;
    if !wanted.configured {
        let warnings = attach::attach(master.name.as_str(), &master.request).await?.warnings;
        return Ok(warnings.into_iter().map(|warning| format!("{}: {warning}", master.name)).collect());
    }
    let config = Config { masters: vec![master], ..Config::default() };
    let mut outcome = apply(&config, Access::Change).await?;
    match outcome.failures.pop() {
        Some(failure) => Err(failure),
        None => Ok(outcome.warnings),
    }
}

/// Removes the pins of a master that is gone.
///
/// # Errors
///
/// A pin cannot be removed, or `/run` is full or read-only.
pub async fn remove_pins(netlink: &Netlink, master: &Master) -> Result<()> {
    if let Some(_lock) = Lock::try_take(&master.key)?
        && attached::incompatible(master).is_none()
    {
        clean_up(netlink, master, true).await?;
    }
    Ok(())
}
