//! ADD: all of an attachment, or nothing of it.

use std::path::Path;

use macvlan_common::mac::Mac;
use serde_json::Value;

use super::{
    Task,
    announce::{self, Device},
    del,
    error::{CniError, CniResult, code},
    host_access::{self, Joined},
    identity::Identity,
    ipam::Ipam,
    request::{Target, Verb},
    result::{AddResult, Address, Interface},
    settings,
    site::{self, Site, open_netns},
};
use crate::{
    netlink::{address::IpNet, link::Link},
    netns::Netns,
};

/// Attaches a container, and gives the result to print.
///
/// # Errors
///
/// What could not be; nothing is left then, but the data path where this put it on the master.
pub fn add(task: &Task<'_>) -> CniResult<Value> {
    let target = task.target()?;
    let path = target.netns.as_deref().unwrap_or(Path::new(""));
    let netns = open_netns(path)?;
    let ipam = task.ipam()?;
    let made = task.runtime.block_on(make(task, target, netns))?;
    // After the device: what manages addresses may send through it.
    let addressed = ipam.as_ref().map(|ipam| address(task, ipam, target, &made)).transpose();
    let result = match addressed {
        Ok(result) => result.unwrap_or_default(),
        Err(error) => {
            undo(task, target, &made);
            return Err(error);
        }
    };
    let interface = Interface {
        name: made.link.name.clone(),
        mac: made.mac.to_string(),
        sandbox: path.display().to_string(),
    };
    let dns = task.config.dns.clone();
    let mut result = AddResult { interfaces: vec![interface], dns, ..result };
    result.ips.iter_mut().for_each(|ip| ip.interface = Some(0));
    result.to_json(task.version)
}

/// A device that is there, up and marked.
struct Made {
    site: Site,
    link: Link,
    mac: Mac,
}

async fn make(task: &Task<'_>, target: &Target, netns: Netns) -> CniResult<Made> {
    let config = &task.config;
    let identity = Identity::new(&config.name, target);
    let site = Site::open(config, netns)?;
    let lower = site::master(&site.above, config).await?;
    let locked = site::lock(&site.above, config, &lower).await?;
    let link = site.make(config, &lower, &identity, target.ifname.as_str()).await?;
    let mac = link.mac.ok_or_else(|| CniError::new(code::FAILED, "the device has no MAC"))?;
    let mut joined = Ok(Joined::Done);
    if let Some((master, _lock)) = locked {
        joined = host_access::join(&site.above, &master, config, mac).await;
    }
    let joined = match joined {
        Ok(Joined::NotAttached) => host_access::attach(&lower.name, config).await,
        Ok(Joined::Done) => Ok(Vec::new()),
        Err(error) => Err(error),
    };
    match joined {
        Ok(warnings) => warnings.iter().for_each(|warning| eprintln!("macvlan-cni: warning: {warning}")),
        Err(error) => {
            // The error that led here is the one to report.
            let _ = site.inside.delete_link(link.index, None).await;
            return Err(error);
        }
    }
    Ok(Made { site, link, mac })
}

fn address(task: &Task<'_>, ipam: &Ipam<'_>, target: &Target, made: &Made) -> CniResult<AddResult> {
    let put = ipam.add(target).and_then(|result| {
        put(task, made, &result)?;
        Ok(result)
    });
    if put.is_err() {
        // Also when it failed itself: it may have kept an address.
        let _ = ipam.call(Verb::Del, Some(target));
    }
    put
}

/// Puts addresses and routes on the device, once nobody else has them.
fn put(task: &Task<'_>, made: &Made, result: &AddResult) -> CniResult<()> {
    let nets: Vec<IpNet> = result.ips.iter().map(Address::net).collect::<CniResult<_>>()?;
    let Made { site, link, mac } = made;
    let device = Device { netns: &site.netns, index: link.index, mac: *mac };
    if nets.iter().any(|net| net.address.is_ipv6()) {
        settings::allow_ipv6(&site.netns, &link.name);
    }
    announce::probe(device, &nets)?;
    task.runtime.block_on(async {
        settings::add_addresses(&site.inside, link.index, &nets).await?;
        settings::settle(&site.inside, link.index, &nets).await?;
        settings::add_routes(&site.inside, link.index, result).await
    })?;
    announce::announce(device, &nets)
}

fn undo(task: &Task<'_>, target: &Target, made: &Made) {
    let identity = Identity::new(&task.config.name, target);
    // The error that led here is the one to report.
    let _ = task.runtime.block_on(del::remove(&made.site, &task.config, &identity, target));
}
