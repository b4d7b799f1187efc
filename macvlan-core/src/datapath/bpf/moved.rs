//! A data path whose master went to another network namespace with the programs on.
//!
//! TCX and XDP links go with their device (`dev_change_net_namespace` in net/core/dev.c takes neither off), its
//! qdiscs do not. The pins keep the key of the namespace that it came from. A program is on one master only,
//! so its id on a hook says whose pins they are, whatever their directory is called.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

use crate::{
    datapath::bpf::{
        directory::key_of,
        hooks::{on_device::OnDevice, pinned},
    },
    kernel::{bpffs, master_key::MasterKey, netlink::Netlink},
    model::master::Master,
};

/// The pin directory, whole or not, under the key of another master, of programs that are on this one.
pub async fn find(netlink: &Netlink, master: &Master) -> Option<PathBuf> {
    let mut there = None;
    for (other, key) in directories() {
        if key.to_string() == master.key.to_string() || !pinned::indexes(&other).contains(&master.index) {
            continue;
        }
        if there.is_none() {
            there = OnDevice::read(netlink, master.index).await.ok();
        }
        if there.as_ref().is_some_and(|there| is_on(there, &other)) {
            return Some(other);
        }
    }
    None
}

/// The indexes of all devices, of whatever namespace, that links of ours are on: of few devices it is worth
/// asking [`find`].
pub fn indexes() -> BTreeSet<u32> {
    directories().iter().flat_map(|(directory, _)| pinned::indexes(directory)).collect()
}

/// Devices of the calling thread's namespace that have left it with our programs on, by their index here.
pub async fn departed(netlink: &Netlink) -> Vec<u32> {
    let mut gone = Vec::new();
    for (directory, key) in directories() {
        let Ok(Some(index)) = key.index_here() else { continue };
        let is_here = match OnDevice::read(netlink, index).await {
            Ok(there) => is_on(&there, &directory),
            Err(_) => false,
        };
        if !is_here && pinned::has_device(&directory) == Some(true) {
            gone.push(index);
        }
    }
    gone
}

/// Every pin directory of ours, whole or not.
fn directories() -> Vec<(PathBuf, MasterKey)> {
    let entries = fs::read_dir(bpffs::root()).into_iter().flatten().flatten();
    entries.filter_map(|entry| Some((entry.path(), key_of(&entry.path())?))).collect()
}

/// Whether a program that is pinned in `directory` is on the device.
pub fn is_on(there: &OnDevice, directory: &Path) -> bool {
    let programs = pinned::of_master(directory);
    there.programs.iter().any(|program| program.is_of(&programs))
}
