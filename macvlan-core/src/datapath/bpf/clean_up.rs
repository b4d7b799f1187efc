//! Takes a data path off its master: whole, half made, half removed, or left behind by a master that
//! is gone.

use std::{fs, io, path::Path};

use anyhow::{Context as _, Result};

use crate::{
    datapath::bpf::{
        attached::Bpf,
        directory::{BUILDING, CLSACT_MARK, LEAVING, key_of},
        hooks::pinned,
        maps::tables,
        record::Lasting,
        single_mac::tell_own,
    },
    kernel::{bpffs, crash, lock::Lock, master_key::MasterKey, netlink::Netlink},
    model::master::Master,
};

impl Bpf {
    /// Takes everything off the master; where children had its MAC on the wire, within a second in which the wire hears of
    /// their own.
    ///
    /// # Errors
    ///
    /// A pin cannot be removed, or the kernel refuses to delete a filter or the clsact qdisc; all other
    /// parts are removed.
    pub async fn remove(&mut self, master: &Master) -> Result<()> {
        let own = self.own_addresses().unwrap_or_default();
        // What is on its way through the flood device is to find the end of it.
        self.maps.set_flood(0)?;
        let leaving = self.directory.with_file_name(format!("{}{LEAVING}", master.key));
        bpffs::remove_directory(&leaving)?;
        fs::rename(&self.directory, &leaving)
            .with_context(|| format!("cannot rename {:?}", self.directory))?;
        crash::point("naming a pin directory half")?;
        // Where that fails, taking all off says so.
        if !own.is_empty() && pinned::remove_egress(&self.netlink, master, &leaving).await.is_ok() {
            tell_own(master, &own).await;
        }
        take_off(&self.netlink, master, &leaving).await?;
        bpffs::remove_root();
        Ok(())
    }
}

/// Removes what a killed run left of a data path, and a data path that is of no use.
///
/// # Errors
///
/// A pin or a lock file cannot be read or removed, or the kernel refuses to delete a filter or the clsact
/// qdisc.
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
    if broken {
        pinned::remove_strays(netlink, master).await?;
    }
    remove_orphans(netlink, &master.key).await?;
    bpffs::remove_root();
    Ok(())
}

/// Takes off `master` what is pinned in a directory, whole or not, and removes the directory.
///
/// # Errors
///
/// A pin cannot be removed, or the kernel refuses to delete a filter or the clsact qdisc.
pub async fn take_off(netlink: &Netlink, master: &Master, directory: &Path) -> Result<()> {
    let record = tables::read_record(directory).and_then(|text| Lasting::from_text(&text));
    let is_marked = fs::symlink_metadata(directory.join(CLSACT_MARK)).is_ok();
    let owns_clsact = is_marked || record.is_ok_and(|record| record.owns_clsact);
    pinned::remove(netlink, master, directory, owns_clsact).await?;
    bpffs::remove_directory(directory)
}

/// Removes pin directories of other masters that are gone. One that another command works on is its own
/// to remove: links that it has just detached look as if their device were gone.
async fn remove_orphans(netlink: &Netlink, own: &MasterKey) -> Result<()> {
    let entries = match fs::read_dir(bpffs::root()) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error).context("cannot read the pin directory"),
    };
    for entry in entries {
        let directory = entry?.path();
        let Some(key) = key_of(&directory).filter(|key| key != own) else { continue };
        if is_orphan(netlink, &directory, &key).await
            && let Some(_lock) = Lock::try_take(&key)?
            && is_orphan(netlink, &directory, &key).await
        {
            bpffs::remove_directory(&directory)?;
        }
    }
    Ok(())
}

/// Whether the master of a pin directory is certainly gone. What is pinned tells; where it does not, the
/// device is looked for in this namespace. That another namespace is not to be found proves nothing: a
/// process in a PID namespace of its own sees few.
async fn is_orphan(netlink: &Netlink, directory: &Path, key: &MasterKey) -> bool {
    if let Some(is_there) = pinned::has_device(directory) {
        return !is_there;
    }
    match key.index_here() {
        Ok(Some(index)) => netlink.link_by_index(index, None).await.is_ok_and(|link| link.is_none()),
        _ => false,
    }
}
