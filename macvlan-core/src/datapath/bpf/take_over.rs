//! Taking over the data path of a master that came from another network namespace.

use std::{fs, path::Path};

use anyhow::{Context as _, Result};

use crate::{
    datapath::bpf::{
        clean_up::take_off,
        directory::{CLSACT_MARK, directory, key_of},
        hooks::{child_pins, on_device::OnDevice},
        maps::tables::{self, Maps},
        moved::{find, is_on},
        record::Record,
    },
    kernel::{bpffs, crash, lock::Lock, netlink::Netlink},
    model::master::Master,
};

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
    child_pins::forget_devices(&own)?;
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
