//! The program on macvlan devices of the host's own, so that the host does not hear itself there: a link that is
//! pinned beside the master's, or a filter, which a mark beside them tells of.
//!
//! It knows copies that we make of the host's broadcasts, and nothing else: where one stays too long, its device
//! hears what a macvlan hears without us.

use std::{
    collections::BTreeMap,
    fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Error, Result};
use aya::programs::{LinkOrder, SchedClassifier, TcAttachType};
use macvlan_common::names;

use crate::{
    datapath::bpf::hooks::{
        link::{detach_link, pinned_link_ifindex, pinned_link_program},
        tc::{FILTER_HANDLE, PRIORITY_INGRESS, add_clsact, attach_filter, attach_link, open_pinned_program},
    },
    kernel::{
        bpffs, crash,
        netlink::{
            Netlink,
            clsact::{Direction, Filter},
        },
    },
    model::{child::Child, description::Hairpin, master::Master},
};

/// Start of the name of each pin and mark; the index of the device follows.
const PIN: &str = "own_";

/// What a mark leads to where the clsact qdisc is ours.
const OURS: &str = "ours";

const THEIRS: &str = "theirs";

/// Lets none of these devices, which are up, hear the host; those of them that have the program and are down keep
/// it, and no other device has it. Gives those that cannot have it, and why.
///
/// # Errors
///
/// The pins cannot be read.
pub async fn keep(
    netlink: &Netlink,
    directory: &Path,
    master: &Master,
    hairpin: Hairpin,
    devices: &[&Child],
) -> Result<Vec<(String, Error)>> {
    let devices: BTreeMap<u32, &Child> = devices.iter().map(|device| (device.index, *device)).collect();
    let mut failed = Vec::new();
    for index in indexes(directory)?.into_iter().filter(|index| !devices.contains_key(index)) {
        if let Err(error) = take_off(netlink, directory, master, index).await {
            failed.push((format!("the device of index {index}"), error));
        }
    }
    for device in devices.values().filter(|device| device.up) {
        if let Err(error) = put(netlink, directory, master, hairpin, device).await {
            failed.push((device.title(), error));
        }
    }
    Ok(failed)
}

/// Takes the program off all devices.
///
/// # Errors
///
/// The first failure, after all others were tried.
pub async fn remove(netlink: &Netlink, directory: &Path, master: &Master) -> Result<()> {
    let mut removed = Ok(());
    for index in indexes(directory)? {
        removed = removed.and(take_off(netlink, directory, master, index).await);
    }
    removed
}

async fn put(
    netlink: &Netlink,
    directory: &Path,
    master: &Master,
    hairpin: Hairpin,
    device: &Child,
) -> Result<()> {
    let mut program = open_pinned_program(directory, names::OWN_INGRESS)?;
    let id = program.info()?.id();
    let pin = pin_of(directory, device.index);
    let is_there = if hairpin == Hairpin::Clsact {
        let filters = netlink.clsact_filters(device.index).await?;
        mark(&pin).is_some() && filters.iter().any(|filter| filter.program == Some(id))
    } else {
        pinned_link_ifindex(&pin).is_ok_and(|index| index == device.index)
            && pinned_link_program(&pin).is_ok_and(|pinned| pinned == id)
    };
    if is_there {
        return Ok(());
    }
    take_off(netlink, directory, master, device.index).await?;
    if hairpin == Hairpin::Clsact {
        put_filter(netlink, &mut program, device, &pin).await
    } else {
        attach_link(&mut program, &device.name, TcAttachType::Ingress, LinkOrder::first(), &pin)
    }
}

async fn put_filter(
    netlink: &Netlink,
    program: &mut SchedClassifier,
    device: &Child,
    pin: &Path,
) -> Result<()> {
    let has_clsact = netlink.has_clsact(device.index).await?;
    if has_clsact {
        // One that no mark tells of: the BPF file system was unmounted.
        for filter in netlink.clsact_filters(device.index).await?.iter().filter(|filter| is_in_place(filter))
        {
            netlink.delete_filter(device.index, filter).await?;
        }
    }
    symlink(if has_clsact { THEIRS } else { OURS }, pin).with_context(|| format!("cannot make {pin:?}"))?;
    crash::point("marking a device of the host's")?;
    if !has_clsact {
        add_clsact(&device.name)?;
    }
    attach_filter(program, &device.name, TcAttachType::Ingress, PRIORITY_INGRESS)
}

async fn take_off(netlink: &Netlink, directory: &Path, master: &Master, index: u32) -> Result<()> {
    let pin = pin_of(directory, index);
    let Some(whose) = mark(&pin) else { return detach_link(&pin) };
    let link = netlink.link_by_index(index, None).await?;
    // The index may be that of another device now: the master has gone to another namespace.
    if link.is_some_and(|link| link.lower == Some(master.index) && link.lower_nsid.is_none())
        && netlink.has_clsact(index).await?
    {
        let filters = netlink.clsact_filters(index).await?;
        let (ours, others): (Vec<_>, Vec<_>) = filters.iter().partition(|filter| is_in_place(filter));
        for filter in ours {
            netlink.delete_filter(index, filter).await?;
        }
        if whose.as_os_str() == OURS && others.is_empty() {
            netlink.delete_clsact(index).await?;
        }
    }
    bpffs::remove_pin(&pin)
}

/// Whether a filter is where ours is, with our handle.
fn is_in_place(filter: &Filter) -> bool {
    let place = (Direction::Ingress, PRIORITY_INGRESS, u32::from(FILTER_HANDLE));
    filter.program.is_some() && (filter.hook, filter.priority, filter.handle) == place
}

/// What the mark at `pin` leads to; `None` where there is none.
fn mark(pin: &Path) -> Option<PathBuf> {
    fs::read_link(pin).ok()
}

fn pin_of(directory: &Path, index: u32) -> PathBuf {
    directory.join(format!("{PIN}{index}"))
}

/// The devices that have the program.
fn indexes(directory: &Path) -> Result<Vec<u32>> {
    let names = bpffs::names_in(directory)?.into_iter();
    Ok(names.filter_map(|name| name.strip_prefix(PIN)?.parse().ok()).collect())
}
