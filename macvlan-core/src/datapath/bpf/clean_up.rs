//! Takes a data path off its master: whole, half made, half removed, or left behind by a master that
//! is gone.

use std::{fs, io, path::Path};

use anyhow::{Context as _, Result};

use crate::{
    datapath::bpf::{
        attached::Bpf,
        hooks::pinned,
        maps::tables,
        record::{Lasting, Record},
    },
    kernel::{
        bpffs, crash,
        master_key::MasterKey,
        netlink::Netlink,
        netns::known::{held_open, known},
    },
    model::master::Master,
};

/// Appended to the name of a directory that is not whole. The BPF file system allows no dots.
pub const BUILDING: &str = "-building";

/// File name of the mark that the clsact qdisc is ours.
pub const CLSACT_MARK: &str = "clsact_ours";

pub const LEAVING: &str = "-leaving";

impl Bpf {
    /// Takes everything off the master.
    ///
    /// # Errors
    ///
    /// When a part cannot be removed; all others are.
    pub async fn remove(&mut self, master: &Master) -> Result<()> {
        let leaving = self.directory.with_file_name(format!("{}{LEAVING}", master.key));
        bpffs::remove_directory(&leaving)?;
        fs::rename(&self.directory, &leaving)
            .with_context(|| format!("cannot rename {:?}", self.directory))?;
        crash::point("naming a pin directory half")?;
        take_off(&self.netlink, master, &leaving).await?;
        bpffs::remove_root();
        Ok(())
    }
}

/// Removes what a killed run left of a data path, and a data path that is of no use.
///
/// # Errors
///
/// When something cannot be removed.
pub async fn clean_up(netlink: &Netlink, master: &Master, broken: bool) -> Result<()> {
    let mut names = vec![format!("{}{BUILDING}", master.key), format!("{}{LEAVING}", master.key)];
    if broken {
        names.push(master.key.to_string());
    }
    for name in names {
        let directory = bpffs::root().join(name);
        if fs::exists(&directory).unwrap_or(false) {
            take_off(netlink, master, &directory).await?;
        }
    }
    remove_orphans(netlink).await?;
    bpffs::remove_root();
    Ok(())
}

/// Takes off `master` what is pinned in a directory, whole or not, and removes the directory.
pub async fn take_off(netlink: &Netlink, master: &Master, directory: &Path) -> Result<()> {
    let record = tables::read_record(directory).and_then(|text| Lasting::from_text(&text));
    let is_marked = fs::symlink_metadata(directory.join(CLSACT_MARK)).is_ok();
    let owns_clsact = is_marked || record.is_ok_and(|record| record.owns_clsact);
    pinned::remove(netlink, master, directory, owns_clsact).await?;
    bpffs::remove_directory(directory)
}

/// Removes pin directories of masters that are gone.
async fn remove_orphans(netlink: &Netlink) -> Result<()> {
    let entries = match fs::read_dir(bpffs::root()) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error).context("cannot read the pin directory"),
    };
    for entry in entries {
        let directory = entry?.path();
        if is_orphan(netlink, &directory).await {
            bpffs::remove_directory(&directory)?;
        }
    }
    Ok(())
}

/// Whether the master of a pin directory is gone. A link tells; where there is none (clsact), the
/// device is looked for or, in another namespace, that namespace.
async fn is_orphan(netlink: &Netlink, directory: &Path) -> bool {
    if pinned::lost_device(directory) {
        return true;
    }
    let Ok(record) = tables::read_record(directory).and_then(|text| Record::from_text(&text)) else {
        // A run that still works on it has not written its record yet.
        return false;
    };
    let name = directory.file_name().unwrap_or_default().to_string_lossy();
    let own_prefix = MasterKey::prefix().unwrap_or_default();
    match name.strip_prefix(&own_prefix).map(str::parse) {
        Some(Ok(index)) => netlink.link_by_index(index, None).await.is_ok_and(|link| link.is_none()),
        Some(Err(_)) => false,
        None => !known().into_iter().chain(held_open()).any(|netns| netns.id.inode() == record.netns_inode),
    }
}
