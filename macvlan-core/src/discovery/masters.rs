//! Finding lower devices, and saying why one cannot be a master.

use std::collections::BTreeSet;

use anyhow::{Context as _, Result, anyhow, bail};

use crate::{
    datapath::bpf::{attached, moved},
    discovery::children::Observed,
    kernel::{
        master_key::MasterKey,
        netlink::{
            Netlink,
            link::{Link, ListOptions},
        },
        netns::Netns,
    },
    model::{master::Master, master_name::MasterName},
};

/// The device that is called `name`: by its name, another one that it has (`ip link property add altname`) or, where no
/// device is called so, as that of the default route. `None` where there is none.
///
/// # Errors
///
/// Netlink tells neither devices nor routes.
pub async fn find_link(netlink: &Netlink, name: &MasterName) -> Result<Option<Link>> {
    match netlink.link_by_name(name.as_str()).await? {
        None if name.is_default_route() => link_of_default_route(netlink).await,
        found => Ok(found),
    }
}

/// The device of the default route with the least metric, of either family.
///
/// # Errors
///
/// Netlink tells neither devices nor routes.
pub async fn link_of_default_route(netlink: &Netlink) -> Result<Option<Link>> {
    match netlink.default_route_device().await? {
        Some(index) => netlink.link_by_index(index, None).await,
        None => Ok(None),
    }
}

/// Why there is no master of this name.
pub fn missing(name: &MasterName) -> &'static str {
    match name.is_default_route() {
        true => "there is no default route; name a device",
        false => "no such device",
    }
}

/// The device that is called `name`, as long as it can carry macvlans at all.
///
/// # Errors
///
/// When there is none, or it is the wrong kind of device.
pub async fn find_master(netlink: &Netlink, name: &str) -> Result<Master> {
    // The kernel's own word on a name that is too long speaks of mathematics.
    let name: MasterName = name.parse()?;
    let link = find_link(netlink, &name).await?;
    let link = link.ok_or_else(|| anyhow!("{}; see: ip link", missing(&name)))?;
    master_of_link(netlink, link).await
}

/// The master that `link` is.
///
/// # Errors
///
/// When it is the wrong kind of device.
pub async fn master_of_link(netlink: &Netlink, link: Link) -> Result<Master> {
    if link.loopback {
        bail!("the loopback device carries no macvlan; name a physical, VLAN, bond or bridge device");
    }
    if link.is_child() {
        bail!("it is itself a {}; attach to its master", link.kind.as_deref().unwrap_or("macvlan"));
    }
    if let Some(index) = link.controller {
        refuse_port(netlink, index).await?;
    }
    let mac = link.mac.context("it is not an Ethernet device")?;
    let key = MasterKey::of(link.index)?;
    Ok(Master {
        name: link.name,
        index: link.index,
        mac,
        mtu: link.mtu,
        kind: link.kind,
        up: link.up,
        carrier: link.carrier,
        netns: Netns::current()?,
        key,
    })
}

/// The named master, or all that have a data path or children.
///
/// # Errors
///
/// There is no such master, or netlink does not list the devices.
pub async fn masters(netlink: &Netlink, observed: &Observed, name: Option<&str>) -> Result<Vec<Master>> {
    if let Some(name) = name {
        return Ok(vec![find_master(netlink, name).await?]);
    }
    let mut masters = Vec::new();
    let came = moved::indexes();
    for link in netlink.links(ListOptions::default()).await? {
        if is_candidate(&link)
            && let Ok(master) = master_of_link(netlink, link).await
            && has_something(netlink, observed, &came, &master).await
        {
            masters.push(master);
        }
    }
    Ok(masters)
}

/// Whether there are children on a device, a data path, or one that `came` from another namespace with it.
async fn has_something(
    netlink: &Netlink,
    observed: &Observed,
    came: &BTreeSet<u32>,
    master: &Master,
) -> bool {
    !observed.of(master.index).is_empty()
        || attached::is_pinned(master)
        || (came.contains(&master.index) && moved::find(netlink, master).await.is_some())
}

fn is_candidate(link: &Link) -> bool {
    !link.loopback && !link.is_child() && link.mac.is_some()
}

/// A port of a bridge, bond or team hands every frame to that device: its receive handler is taken.
async fn refuse_port(netlink: &Netlink, controller: u32) -> Result<()> {
    let Some(controller) = netlink.link_by_index(controller, None).await? else { return Ok(()) };
    let what = match controller.kind.as_deref() {
        Some("bridge") => "a port of bridge",
        Some("bond") => "a slave of bond",
        Some("team") => "a port of team",
        _ => return Ok(()),
    };
    bail!("it is {what} {:?}; attach to {:?} instead", controller.name, controller.name)
}
