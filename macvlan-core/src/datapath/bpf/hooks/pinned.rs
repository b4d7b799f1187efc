//! What is pinned of the hooks of a master: whether it is still in place, and taking it off.

use std::path::Path;

use anyhow::{Result, bail};
use aya::programs::ProgramInfo;
use macvlan_common::names;

use crate::{
    datapath::bpf::{
        hooks::{
            child_programs,
            device_pin::{self, DEVICE},
            link::{detach_link, pinned_link_ifindex, pinned_link_program},
            on_device::{DeviceHook, OnDevice},
            order, own_programs, strays,
            tc::{FILTER_HANDLE, LINK_EGRESS, LINK_INGRESS, LINK_XDP, PRIORITY_EGRESS, PRIORITY_INGRESS},
        },
        record::Record,
    },
    kernel::netlink::{
        Netlink,
        clsact::{Direction, Filter},
    },
    model::{
        description::{Degraded, Demux, Hairpin},
        master::Master,
    },
};

/// Checks that what is pinned in `directory` is still on `master`; gives what is less because of the
/// programs of others there.
///
/// # Errors
///
/// When it is not.
pub async fn verify(
    netlink: &Netlink,
    directory: &Path,
    master: &Master,
    record: &Record,
) -> Result<Vec<Degraded>> {
    let mut there = OnDevice::read(netlink, master.index).await?;
    let tc = our_programs(directory);
    let (mut links, mut hooks) = (Vec::new(), Vec::new());
    match record.hairpin {
        Hairpin::Tcx => {
            links.extend([LINK_INGRESS, LINK_EGRESS]);
            // Who may not list them has only the links' word.
            if there.tcx_hidden.is_none() {
                hooks
                    .extend([(DeviceHook::TcxIngress, "TCX ingress"), (DeviceHook::TcxEgress, "TCX egress")]);
            }
        }
        Hairpin::Clsact => {
            hooks
                .extend([(DeviceHook::ClsactIngress, "TC ingress"), (DeviceHook::ClsactEgress, "TC egress")]);
        }
        Hairpin::Shim | Hairpin::Off => {}
    }
    if record.lean {
        links.retain(|link| *link != LINK_INGRESS);
        hooks.retain(|(hook, _)| !matches!(hook, DeviceHook::TcxIngress | DeviceHook::ClsactIngress));
    }
    for (hook, place) in hooks {
        if !there.has(hook, &tc) {
            bail!("somebody removed our program at {place} from {:?}", master.name);
        }
    }
    if matches!(record.demux, Demux::XdpNative | Demux::XdpGeneric) {
        links.push(LINK_XDP);
        let ours = pinned_link_program(&directory.join(LINK_XDP))?;
        if !there.has(DeviceHook::Xdp, &[ours]) {
            bail!("somebody removed our XDP program from {:?}", master.name);
        }
    }
    for name in links {
        if pinned_link_ifindex(&directory.join(name))? != master.index {
            bail!("{name} is no longer on {:?}", master.name);
        }
    }
    if !order::degraded(&there, &tc, &master.name).is_empty() {
        there.name_all();
    }
    let mut degraded = order::degraded(&there, &tc, &master.name);
    degraded.retain(|degraded| !record.lean || degraded.feature != order::INGRESS);
    Ok(degraded)
}

/// Whether the device is there that the data path pinned in `directory` is on, in whatever namespace;
/// `None` where nothing pinned tells. A link that was detached has no device either: ask only under the
/// lock of the master.
pub fn has_device(directory: &Path) -> Option<bool> {
    let on_device = indexes(directory).into_iter().map(|index| index != 0).reduce(|any, one| any || one);
    on_device.or_else(|| device_pin::index_at(&directory.join(DEVICE)).map(|index| index != 0))
}

/// Takes off `master` what is pinned in `directory`: the hairpin first, so that nothing is turned
/// around that could not be received.
///
/// # Errors
///
/// The first failure, after everything else was tried.
pub async fn remove(netlink: &Netlink, master: &Master, directory: &Path, owns_clsact: bool) -> Result<()> {
    let ours = Ours::of(directory);
    let egress = detach_link(&directory.join(LINK_EGRESS));
    let xdp = detach_link(&directory.join(LINK_XDP));
    let filters = remove_filters(netlink, master, &ours, owns_clsact, &BOTH).await;
    let ingress = detach_link(&directory.join(LINK_INGRESS));
    // Last: while the master's programs are there, they drop what these have not vouched for.
    let children = child_programs::remove(directory);
    let own = own_programs::remove(netlink, directory, master).await;
    egress.and(xdp).and(filters).and(ingress).and(children).and(own)
}

/// Takes the program at egress off `master` that is pinned in `directory`, and leaves all else.
///
/// # Errors
///
/// The pin cannot be removed, or the kernel refuses to delete the filter.
pub async fn remove_egress(netlink: &Netlink, master: &Master, directory: &Path) -> Result<()> {
    detach_link(&directory.join(LINK_EGRESS))?;
    remove_filter(netlink, master, directory, Direction::Egress).await
}

/// Takes the filter of the program that is pinned in `directory` off one hook of `master`.
///
/// # Errors
///
/// The kernel refuses to delete it.
pub async fn remove_filter(
    netlink: &Netlink,
    master: &Master,
    directory: &Path,
    hook: Direction,
) -> Result<()> {
    remove_filters(netlink, master, &Ours::of(directory), false, &[hook]).await
}

/// The indexes of the devices that the master's links are on, in whatever namespace; 0 where one has none.
pub fn indexes(directory: &Path) -> Vec<u32> {
    let links = [LINK_INGRESS, LINK_EGRESS, LINK_XDP].iter();
    links.filter_map(|link| pinned_link_ifindex(&directory.join(link)).ok()).collect()
}

/// Ids of the programs on the master that are pinned in `directory`, by themselves or by their link.
pub fn of_master(directory: &Path) -> Vec<u32> {
    let mut programs = our_programs(directory);
    let links = [LINK_INGRESS, LINK_EGRESS, LINK_XDP].iter();
    programs.extend(links.filter_map(|link| pinned_link_program(&directory.join(link)).ok()));
    programs
}

/// Takes programs of ours off `master` that no pin leads to. The qdisc stays: nobody knows whose it is.
///
/// # Errors
///
/// Filters cannot be listed or deleted: `CAP_NET_ADMIN` is missing.
pub async fn remove_strays(netlink: &Netlink, master: &Master) -> Result<()> {
    // A device that is gone has none.
    let Ok(there) = OnDevice::read(netlink, master.index).await else { return Ok(()) };
    let strays = strays::of(&there);
    if strays.is_empty() {
        return Ok(());
    }
    strays::detach_links(&strays);
    remove_filters(netlink, master, &Ours::Programs(strays), false, &BOTH).await
}

/// Ids of all programs pinned in `directory`, by themselves or by their link.
pub fn program_ids(directory: &Path) -> Vec<u32> {
    let mut programs = of_master(directory);
    programs.extend(child_programs::program_ids(directory));
    programs
}

/// Ids of the TC programs pinned in `directory`.
fn our_programs(directory: &Path) -> Vec<u32> {
    let mut programs = Vec::new();
    for name in [names::INGRESS, names::EGRESS] {
        let pins = [name.to_owned(), format!("{name}_new")].map(|file| directory.join(file));
        let present = pins.iter().filter(|pin| pin.exists());
        programs.extend(present.filter_map(|pin| ProgramInfo::from_pin(pin).ok()).map(|info| info.id()));
    }
    programs
}

/// What tells our filters from others.
enum Ours {
    /// The ids of our programs.
    Programs(Vec<u32>),
    /// Our place among other filters: programs are pinned, and bpf(2) is refused.
    Place,
}

impl Ours {
    fn of(directory: &Path) -> Self {
        let programs = our_programs(directory);
        let is_pinned = [names::INGRESS, names::EGRESS].iter().any(|name| directory.join(name).exists());
        if programs.is_empty() && is_pinned { Self::Place } else { Self::Programs(programs) }
    }

    fn has(&self, filter: &Filter) -> bool {
        match self {
            Self::Programs(programs) => filter.program.is_some_and(|id| programs.contains(&id)),
            Self::Place => {
                let priority = match filter.hook {
                    Direction::Ingress => PRIORITY_INGRESS,
                    Direction::Egress => PRIORITY_EGRESS,
                };
                filter.program.is_some()
                    && (filter.priority, filter.handle) == (priority, u32::from(FILTER_HANDLE))
            }
        }
    }
}

/// The hooks of a qdisc that filters of ours are on.
const BOTH: [Direction; 2] = [Direction::Egress, Direction::Ingress];

async fn remove_filters(
    netlink: &Netlink,
    master: &Master,
    ours: &Ours,
    owns_clsact: bool,
    hooks: &[Direction],
) -> Result<()> {
    if !netlink.has_clsact(master.index).await? {
        return Ok(());
    }
    let filters = netlink.clsact_filters(master.index).await?;
    let is_mine = |filter: &&Filter| hooks.contains(&filter.hook) && ours.has(filter);
    let mut mine: Vec<&Filter> = filters.iter().filter(is_mine).collect();
    mine.sort_by_key(|filter| filter.hook != Direction::Egress);
    for filter in &mine {
        netlink.delete_filter(master.index, filter).await?;
    }
    if owns_clsact && mine.len() == filters.len() {
        netlink.delete_clsact(master.index).await?;
    }
    Ok(())
}
