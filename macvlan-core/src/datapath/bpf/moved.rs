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

use anyhow::{Context as _, Result};

use crate::{
    datapath::bpf::{
        attached::directory,
        clean_up::{CLSACT_MARK, key_of, take_off},
        hooks::{on_device::OnDevice, pinned},
        maps::tables::{self, Maps},
        record::Record,
    },
    kernel::{bpffs, crash, lock::Lock, master_key::MasterKey, netlink::Netlink},
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

/// Makes the data path that came with `master` from another namespace its own again: every command finds it
/// under the key of this namespace then. What was left half made or half removed is taken off.
///
/// # Errors
///
/// Another command works on it, or pins cannot be renamed or removed.
pub async fn take_over(netlink: &Netlink, master: &Master) -> Result<()> {
    let Some(moved) = find(netlink, master).await else { return Ok(()) };
    let Some(key) = key_of(&moved) else { return Ok(()) };
    let _lock = Lock::take(&key, &master.name).await?;
    // What another command has put right meanwhile is not there any more.
    let there = OnDevice::read(netlink, master.index).await?;
    if !is_on(&there, &moved) {
        return Ok(());
    }
    let own = directory(master);
    let is_whole = moved.file_name().is_some_and(|name| *name == *key.to_string());
    if !is_whole || is_on(&there, &own) {
        return take_off(netlink, master, &moved).await;
    }
    if fs::exists(&own)? {
        take_off(netlink, master, &own).await?;
    }
    fs::rename(&moved, &own).with_context(|| format!("cannot rename {moved:?}"))?;
    crash::point("taking over a pin directory")?;
    note_namespace(&own, master)
}

/// What the record says of the namespace is right again: filters and their qdisc did not come along.
fn note_namespace(own: &Path, master: &Master) -> Result<()> {
    bpffs::remove_pin(&own.join(CLSACT_MARK))?;
    let record = tables::read_record(own).and_then(|text| Record::from_text(&text));
    // One of another layout is refused by its own rule.
    let (Ok(mut record), Ok(mut maps)) = (record, Maps::open(own)) else { return Ok(()) };
    record.netns_inode = master.netns.id().inode();
    record.owns_clsact = false;
    maps.write_record(&record.to_text()?)
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

fn is_on(there: &OnDevice, directory: &Path) -> bool {
    let programs = pinned::of_master(directory);
    there.programs.iter().any(|program| program.is_of(&programs))
}
