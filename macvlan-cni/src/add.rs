//! ADD: all of an attachment, or nothing of it.

use std::path::Path;

use macvlan_common::{
    child::{AntiSpoof, Mode},
    mac::Mac,
};
use macvlan_core::{
    kernel::{
        lock::Lock,
        netlink::{ipnet::IpNet, link::Link},
        netns::Netns,
    },
    model::{attachment::Attachment, master::Master},
};
use serde_json::Value;

use crate::{
    announce::{self, Arp, Device},
    config::Config,
    del,
    error::{CniError, CniResult, code},
    host_access::{self, Joined},
    ipam::{Ipam, Running},
    port,
    request::{Target, Verb},
    result::{AddResult, Address, Interface},
    settings,
    site::{self, Site, open_netns, still_there},
    task::Task,
    warning::warn,
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
    let room = task.runtime.block_on(make_room(task, target, netns))?;
    let (made, given) = device_and_addresses(task, ipam.as_ref(), target, room)?;
    let put = finish(task, &made, given.as_ref()).map(|()| given);
    let result = match put.and_then(|result| still_there(path, &made.site.netns).map(|()| result)) {
        Ok(result) => result.unwrap_or_default(),
        Err(error) => {
            release(ipam.as_ref(), target);
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

/// A place for a device: its name is free, and stays so while the master is locked.
struct Room {
    site: Site,
    lower: Link,
    locked: Option<(Master, Lock)>,
    identity: Attachment,
}

async fn make_room(task: &Task<'_>, target: &Target, netns: Netns) -> CniResult<Room> {
    let config = &task.config;
    let identity = target.attachment(&config.name);
    let site = Site::open(config, netns)?;
    let lower = site::master(&site.above, config).await?;
    let locked = site::lock(&site.above, config, &lower).await?;
    site.free(&identity, target.ifname.as_str()).await?;
    Ok(Room { site, lower, locked, identity })
}

/// A device that is there, up and marked.
struct Made {
    master: Link,
    site: Site,
    link: Link,
    mac: Mac,
}

/// Makes the device while its addresses are looked for, where their plugin needs no device. Another
/// one comes after: it may send through the device. Whatever fails, nothing of both is left.
fn device_and_addresses(
    task: &Task<'_>,
    ipam: Option<&Ipam<'_>>,
    target: &Target,
    room: Room,
) -> CniResult<(Made, Option<AddResult>)> {
    // Without the lock, an ADD of the same attachment might come between: its addresses are not ours
    // to release.
    let at_once = ipam.filter(|ipam| ipam.needs_no_device() && room.locked.is_some());
    let looking = at_once.map(|ipam| ipam.start_add(target)).transpose()?;
    let made = task.runtime.block_on(make(task, target, room));
    let looked = looking.map(Running::result);
    let made = match made {
        Ok(made) => made,
        Err(error) => {
            release(at_once, target);
            return Err(error);
        }
    };
    match looked.or_else(|| ipam.map(|ipam| ipam.add(target))).transpose() {
        Ok(given) => Ok((made, given)),
        Err(error) => {
            // Also when it failed itself: it may have kept an address.
            release(ipam, target);
            undo(task, target, &made);
            Err(error)
        }
    }
}

async fn make(task: &Task<'_>, target: &Target, room: Room) -> CniResult<Made> {
    let config = &task.config;
    let Room { site, lower, locked, identity } = room;
    if config.mode == Mode::Passthru
        && let Some((master, _)) = &locked
    {
        host_access::make_way(&site.above, master).await?;
    }
    let link = site.make(config, &lower, &identity, target.ifname.as_str()).await?;
    let port = port::number(&link);
    let mac = link.mac.ok_or_else(|| CniError::new(code::FAILED, "the device has no MAC"))?;
    let joined = match locked {
        Some((master, lock)) => match host_access::join(&site.above, &master, config, mac, port).await {
            Ok(Joined::NotAttached) => {
                drop(lock);
                attach(config, &site, &lower, mac, port).await
            }
            Ok(Joined::Done(less)) => Ok(less),
            Err(error) => Err(error),
        },
        None => Ok(Vec::new()),
    };
    match joined {
        Ok(warnings) => warn(&warnings),
        Err(error) => {
            // The error that led here is the one to report.
            let mark = site.mark_of(&link).await;
            let _ = site.delete(&link).await;
            let _ = mark.map(|(key, mark)| site::unmark(key, &mark));
            return Err(error);
        }
    }
    Ok(Made { master: lower, site, link, mac })
}

/// Puts the data path on the master, and tells it of the child, which it took for any other.
async fn attach(config: &Config, site: &Site, lower: &Link, mac: Mac, port: u32) -> CniResult<Vec<String>> {
    let warnings = host_access::attach(&lower.name, config).await?;
    if let Some((master, _lock)) = site::lock(&site.above, config, lower).await? {
        host_access::join(&site.above, &master, config, mac, port).await?;
    }
    Ok(warnings)
}

/// Puts addresses and routes on the device, once nobody else has them, and holds it to them.
fn finish(task: &Task<'_>, made: &Made, given: Option<&AddResult>) -> CniResult<()> {
    let Made { master, site, link, mac } = made;
    let nets = given.into_iter().flat_map(|result| &result.ips).map(Address::net);
    let nets: Vec<IpNet> = nets.collect::<CniResult<_>>()?;
    let device = Device { netns: &site.netns, index: link.index, mac: *mac };
    if nets.iter().any(|net| net.address.is_ipv6()) {
        settings::allow_ipv6(&site.netns, &link.name);
    }
    // On a master that is down nobody can be asked, or told.
    let heard: &[IpNet] = if master.up { &nets } else { &[] };
    let arp = Arp::open(device, heard)?;
    arp.probe(heard, task.config.duplicate_wait)?;
    task.runtime.block_on(async {
        settings::add_addresses(&site.inside, link.index, &nets).await?;
        settings::await_duplicate_detection(&site.inside, link.index, heard).await?;
        match given {
            Some(result) => settings::add_routes(&site.inside, link.index, result).await,
            None => Ok(()),
        }
    })?;
    if task.config.anti_spoof != AntiSpoof::Off {
        warn(&task.runtime.block_on(host_access::guard(&master.name))?);
    }
    arp.announce(heard)?;
    announce::advertise(device, heard)?;
    if !master.up {
        warn(&[format!(
            "master {:?} is down: the container is on the network when it comes up; nobody was asked for \
             its addresses",
            master.name
        )]);
    }
    Ok(())
}

/// Gives back what a plugin may have given. The error that led here is the one to report.
fn release(ipam: Option<&Ipam<'_>>, target: &Target) {
    if let Some(ipam) = ipam {
        let _ = ipam.call(Verb::Del, Some(target));
    }
}

fn undo(task: &Task<'_>, target: &Target, made: &Made) {
    let identity = target.attachment(&task.config.name);
    // The error that led here is the one to report.
    let _ = task.runtime.block_on(del::remove(&made.site, &task.config, &identity, target));
}
