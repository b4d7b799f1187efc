//! The shim: a macvlan of the host's own on the master, the way of the kernel alone from host to
//! children and back.
//!
//! It is in mode bridge, so the macvlan driver hands frames between it and bridge children. It has the
//! host's addresses as its own, each as a single host, one route to each address of a child, and a
//! permanent neighbour for each: it never asks, so nobody on the wire learns its MAC, and it answers
//! those alone to whom a route of it leads. The master's addresses and routes stay as they are.
//!
//! Nothing is kept of it but itself: it is told by its alias, on a device in the master's own
//! namespace. A container that gives its child that alias hides nothing.

mod contents;
mod wanted;

use std::{
    collections::{BTreeMap, btree_map::Entry},
    fs, io,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, anyhow, bail};
use macvlan_common::mac::Mac;

use crate::{
    datapath::{
        announce::{Audience, announce},
        shim::{
            contents::{Contents, Step},
            wanted::{Host, decide},
        },
    },
    kernel::netlink::{KernelError, Netlink, link::Link},
    model::{
        child::Child,
        master::Master,
        shim::{Shim, shim_name},
    },
    policy::change::PolicyChange,
};

/// What was found of a shim, its master and its children.
#[derive(Debug, Clone, Default)]
pub struct Survey {
    /// What it holds.
    pub present: Contents,
    /// What it is to hold.
    pub wanted: Contents,
    /// Whom the host cannot reach by it, in words.
    pub left_out: Vec<String>,
}

impl Survey {
    /// Whether the shim holds what it is to hold.
    pub fn is_in_step(&self) -> bool {
        self.present.holds(&self.wanted)
    }
}

/// Who may talk to the host, as far as these policies say.
pub fn access(policies: &BTreeMap<Mac, PolicyChange>) -> BTreeMap<Mac, bool> {
    policies.iter().filter_map(|(mac, policy)| Some((*mac, policy.host_access?))).collect()
}

/// Keeps children that others made from the host, where they are left alone.
pub fn keep_strangers(access: &mut BTreeMap<Mac, bool>, children: &[&Child]) {
    access.extend(children.iter().filter(|child| !child.owned).map(|child| (child.mac, false)));
}

/// Looks at the host, the children and, if it is there, the shim. Who may talk to the host is in
/// `access`; of others, what was set stays.
///
/// # Errors
///
/// The addresses or routes of the host or a child cannot be read.
pub async fn survey(
    master: &Master,
    shim: Option<&Shim>,
    children: &[&Child],
    access: &BTreeMap<Mac, bool>,
) -> Result<Survey> {
    let strict = Netlink::open_strict()?;
    let host = Host {
        addresses: strict.lasting_addresses(master.index).await?,
        gateways: strict.gateways(master.index).await?,
    };
    let children = with_addresses(&strict, children).await?;
    let present = match shim {
        Some(shim) => contents(&strict, shim).await?,
        None => Contents::default(),
    };
    let kept = present.access();
    let may_talk = |child: &Child| *access.get(&child.mac).or(kept.get(&child.mac)).unwrap_or(&true);
    let (wanted, left_out) = decide(&host, &children, &may_talk);
    Ok(Survey { present, wanted, left_out })
}

async fn contents(strict: &Netlink, shim: &Shim) -> Result<Contents> {
    let addresses = strict.lasting_addresses(shim.index).await?;
    Ok(Contents {
        addresses: addresses.into_iter().map(|net| net.address).collect(),
        routes: strict.host_routes(shim.index).await?,
        neighbours: strict.permanent_neighbours(shim.index).await?,
    })
}

/// The children with their addresses. Those of a namespace that is gone have none.
async fn with_addresses(strict: &Netlink, children: &[&Child]) -> Result<Vec<Child>> {
    let mut children: Vec<Child> = children.iter().map(|child| (*child).clone()).collect();
    // In one order, whoever found them: of two with one address the first has it.
    children.sort_by_key(|child| (child.mac, child.place.nsid, child.index));
    let mut seen: BTreeMap<Option<i32>, BTreeMap<u32, Vec<_>>> = BTreeMap::new();
    for child in &mut children {
        let nsid = child.place.nsid;
        // Only what was found without the right to change anything has no number.
        if nsid.is_some_and(|nsid| nsid < 0) {
            continue;
        }
        if let Entry::Vacant(entry) = seen.entry(nsid) {
            let found = match strict.addresses(nsid).await {
                Err(error) if nsid.is_some() && error.is::<KernelError>() => BTreeMap::new(),
                found => found?,
            };
            entry.insert(found);
        }
        let found = seen.get(&nsid).and_then(|devices| devices.get(&child.index));
        child.addresses = found.cloned().unwrap_or_default();
    }
    Ok(children)
}

/// Makes the shim of a master, or brings the one that is there in step with the children. Gives whom
/// the host cannot reach by it, in words.
///
/// # Errors
///
/// A name is taken, or an address or route is not allowed; everything is as before then.
pub async fn raise(
    netlink: &Netlink,
    master: &Master,
    shims: &[Shim],
    children: &[&Child],
    access: &BTreeMap<Mac, bool>,
) -> Result<Vec<String>> {
    let kept = shims.iter().find(|shim| shim.finished);
    for shim in shims.iter().filter(|shim| Some(*shim) != kept) {
        netlink.delete_link(shim.index, None).await?;
    }
    let shim = match kept {
        Some(shim) => shim.clone(),
        None => make(netlink, master).await?,
    };
    let filled = fill(netlink, master, &shim, children, access).await;
    if filled.is_err() && kept.is_none() {
        // The error that led here is the one to report.
        let _ = netlink.delete_link(shim.index, None).await;
    }
    filled
}

async fn fill(
    netlink: &Netlink,
    master: &Master,
    shim: &Shim,
    children: &[&Child],
    access: &BTreeMap<Mac, bool>,
) -> Result<Vec<String>> {
    let Survey { present, wanted, left_out } = survey(master, Some(shim), children, access).await?;
    let steps = present.steps_to(&wanted);
    let mut done: Vec<Step> = Vec::new();
    for step in &steps {
        if let Err(error) = take(netlink, shim, *step).await {
            for step in done.into_iter().rev() {
                // The error that led here is the one to report.
                let _ = take(netlink, shim, step.undone()).await;
            }
            return Err(error).with_context(|| format!("cannot bring shim {:?} in step", shim.name));
        }
        done.push(*step);
    }
    let new = steps.iter().filter_map(|step| match step {
        Step::AddRoute(route) => {
            let mac = *wanted.neighbours.get(&route.to)?;
            Some((route.source, Audience::One(mac, route.to)))
        }
        _ => None,
    });
    announce(shim.index, shim.mac, &new.collect::<Vec<_>>());
    Ok(left_out)
}

async fn take(netlink: &Netlink, shim: &Shim, step: Step) -> Result<()> {
    match step {
        Step::AddAddress(address) => netlink.add_own_address(shim.index, address).await,
        Step::RemoveAddress(address) => netlink.remove_own_address(shim.index, address).await,
        Step::AddRoute(route) => netlink.add_host_route(shim.index, route).await,
        Step::RemoveRoute(route) => netlink.remove_host_route(shim.index, route).await,
        Step::SetNeighbour(ip, mac, _) => netlink.set_neighbour(shim.index, ip, mac).await,
        Step::RemoveNeighbour(ip, _) => netlink.remove_neighbour(shim.index, ip).await,
    }
}

/// The shims of a master, and what they hold.
pub type Remembered = Vec<(Shim, Contents)>;

/// Remembers these shims.
///
/// # Errors
///
/// The kernel does not list what they hold.
pub async fn remember(shims: &[Shim]) -> Result<Remembered> {
    let mut remembered = Vec::new();
    if shims.is_empty() {
        return Ok(remembered);
    }
    let strict = Netlink::open_strict()?;
    for shim in shims.iter().filter(|shim| shim.finished) {
        remembered.push((shim.clone(), contents(&strict, shim).await?));
    }
    Ok(remembered)
}

/// Brings the shims that a master has `now` back to those remembered. One that was removed is made anew,
/// with another MAC.
///
/// # Errors
///
/// A name is taken by now, the master is gone or down, or `CAP_NET_ADMIN` is missing.
pub async fn put_back(netlink: &Netlink, master: &Master, now: &[Shim], before: Remembered) -> Result<()> {
    let was_there = |shim: &Shim| before.iter().any(|(other, _)| other.index == shim.index);
    for shim in now.iter().filter(|shim| !was_there(shim)) {
        netlink.delete_link(shim.index, None).await?;
    }
    if before.is_empty() {
        return Ok(());
    }
    let strict = Netlink::open_strict()?;
    for (shim, wanted) in &before {
        let shim = match now.iter().find(|other| other.index == shim.index) {
            Some(shim) => shim.clone(),
            None => make(netlink, master).await?,
        };
        for step in contents(&strict, &shim).await?.steps_to(wanted) {
            take(netlink, &shim, step)
                .await
                .with_context(|| format!("cannot put back shim {:?}", shim.name))?;
        }
    }
    Ok(())
}

/// Makes a shim that holds nothing yet.
async fn make(netlink: &Netlink, master: &Master) -> Result<Shim> {
    let name = shim_name(master);
    if netlink.link_by_name(&name).await?.is_some() {
        bail!("cannot make shim {name:?}: another device has that name; rename or delete it");
    }
    netlink.create_shim(master.index, &name).await.with_context(|| format!("cannot make shim {name:?}"))?;
    let made = async {
        let link = netlink.link_by_name(&name).await?.context("it vanished while it was made")?;
        let finished = finish(netlink, &link).await;
        if finished.is_err() {
            // The error that led here is the one to report.
            let _ = netlink.delete_link(link.index, None).await;
        }
        finished
    };
    made.await.with_context(|| format!("cannot make shim {name:?}"))
}

async fn finish(netlink: &Netlink, link: &Link) -> Result<Shim> {
    netlink.restrict_ipv4(link.index).await?;
    if has_ipv6(&link.name) {
        netlink.restrict_ipv6(link.index).await?;
        refuse_routers(&link.name)?;
    }
    netlink.finish_shim(link.index).await?;
    let mac = link.mac.context("it has no MAC")?;
    Ok(Shim { index: link.index, name: link.name.clone(), mac, finished: true })
}

fn ipv6_setting(device: &str, setting: &str) -> PathBuf {
    Path::new("/proc/sys/net/ipv6/conf").join(device).join(setting)
}

fn has_ipv6(device: &str) -> bool {
    fs::read_to_string(ipv6_setting(device, "disable_ipv6")).is_ok_and(|value| value.trim() == "0")
}

/// Keeps a device from taking addresses and routes from routers: the host has them by its master.
/// Netlink does not set this (`inet6_set_link_af` in net/ipv6/addrconf.c).
fn refuse_routers(device: &str) -> Result<()> {
    let path = ipv6_setting(device, "accept_ra");
    if fs::read_to_string(&path).is_ok_and(|value| value.trim() == "0") {
        return Ok(());
    }
    let written = fs::write(&path, "0");
    written
        .map_err(|error: io::Error| anyhow!("cannot write {path:?}: {}", crate::kernel::errno::errno(&error)))
}

/// Removes the shims of a master, and tells everybody that the host is at the master's MAC. Gives
/// whether there were any.
///
/// # Errors
///
/// The first failure, after all others were tried.
pub async fn remove(netlink: &Netlink, master: &Master, shims: &[Shim]) -> Result<bool> {
    let mut removed = Ok(());
    for shim in shims {
        let deleted = netlink.delete_link(shim.index, None).await;
        removed = removed.and(deleted.with_context(|| format!("cannot remove shim {:?}", shim.name)));
    }
    removed?;
    if !shims.is_empty() {
        let addresses = Netlink::open_strict()?.lasting_addresses(master.index).await.unwrap_or_default();
        let all: Vec<_> = addresses.into_iter().map(|net| (net.address, Audience::All)).collect();
        announce(master.index, master.mac, &all);
    }
    Ok(!shims.is_empty())
}
