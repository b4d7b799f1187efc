//! `status`: what is in place on each master, and why not more.

use anyhow::{Context, Result};

use crate::{
    commands::work::Work,
    datapath::Datapath,
    discovery::{
        access::Access,
        children::find_children,
        containers::Containers,
        datapath::{self, find_datapath},
        masters::masters,
        neighbours::Addresses,
    },
    kernel::{netlink::Netlink, netns::known::known},
    model::{
        child::Child,
        held::Held,
        master::Master,
        status::{MasterStatus, compose},
    },
};

/// The master named `name` or, without a name, every master with a data path or children.
///
/// # Errors
///
/// There is no such master, or its maps cannot be read.
pub fn status(name: Option<&str>) -> Work<'_, Vec<MasterStatus>> {
    let statuses = status_unnamed(name);
    Box::pin(async move {
        match name {
            Some(name) => statuses.await.with_context(|| format!("cannot tell of {name:?}")),
            None => statuses.await,
        }
    })
}

async fn status_unnamed(name: Option<&str>) -> Result<Vec<MasterStatus>> {
    let netlink = Netlink::open()?;
    let observed = find_children(&netlink, Access::Read).await?;
    let (mut containers, mut addresses) = (Containers::default(), Addresses::open()?);
    let mut statuses = Vec::new();
    for master in masters(&netlink, &observed, name).await? {
        let (datapath, _) = find_datapath(&netlink, &master).await;
        let datapath = datapath::datapath_of(&netlink, &master, datapath, &observed).await?;
        let children = observed.of(master.index);
        let mut status = describe(&master, datapath.as_ref(), children);
        let held = datapath.held()?;
        for told in &mut status.children {
            let own = held.iter().filter(|held| held.mac == told.address);
            told.wire_addresses = own.map(Held::told).collect();
        }
        identify(&mut status, children, &mut containers, &mut addresses).await;
        statuses.push(status);
    }
    Ok(statuses)
}

/// Fills in the container of each child, where one can be found, and its addresses.
pub async fn identify(
    status: &mut MasterStatus,
    children: &[Child],
    containers: &mut Containers,
    addresses: &mut Addresses,
) {
    for told in &mut status.children {
        let is_told = |child: &&Child| {
            (child.mac, child.index) == (told.address, told.ifindex)
                && (child.place.nsid.is_none() || child.place.label == told.netns)
        };
        if let Some(child) = children.iter().find(is_told) {
            told.container = containers.of(&child.place).await;
            told.addresses = addresses.of_child(child).await;
        }
    }
}

/// What `status` says of a master with this data path and these children; containers and addresses are left out.
pub fn describe(master: &Master, datapath: &dyn Datapath, children: &[Child]) -> MasterStatus {
    let netns = known().into_iter().find(|known| known.id == master.netns.id()).map(|known| known.label);
    let netns = netns.filter(|label| !label.starts_with("/proc/"));
    let children: Vec<&Child> = children.iter().collect();
    compose(master, netns, datapath.description(), datapath.members(), &children)
}
