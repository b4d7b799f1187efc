//! What is pinned for a master, held open besides: it outlives its pins, and can be pinned again.
//!
//! A link is on its device as long as somebody holds it: a pin, or a descriptor. When the BPF file system is
//! unmounted, every pin goes at once.

use std::{
    collections::BTreeMap,
    fs,
    os::{
        fd::OwnedFd,
        unix::fs::{DirEntryExt as _, symlink},
    },
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};

use crate::{
    datapath::bpf::{
        directory::{BUILDING, LEAVING, directory},
        hooks::{
            child_pins,
            link::{open_pinned, pin_open},
            on_device::OnDevice,
            pinned, sending,
        },
    },
    kernel::{bpffs, netlink::Netlink},
    model::master::Master,
};

/// The maps, programs and links of one master, open. Links on the children's own devices are left out: there
/// may be thousands, and they are put on anew where they are missed; so are those on the driver, which go with their
/// pins alone.
#[derive(Debug, Default)]
pub struct Held {
    /// By the name of the pin, with its inode.
    files: BTreeMap<String, (u64, OwnedFd)>,
    /// The programs on the master's hooks.
    programs: Vec<u32>,
    /// Marks beside them, and what these lead to.
    marks: BTreeMap<String, PathBuf>,
}

impl Held {
    /// Holds what is pinned in `directory` now, and nothing else. Where that fails, what was held is kept.
    ///
    /// # Errors
    ///
    /// A pin cannot be opened: the file system may be on its way.
    pub fn hold(&mut self, directory: &Path) -> Result<()> {
        let (mut pins, mut opened, mut marks) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
        for entry in fs::read_dir(directory).with_context(|| format!("cannot read {directory:?}"))? {
            let entry = entry?;
            let Ok(name) = entry.file_name().into_string() else { continue };
            if let Ok(target) = fs::read_link(entry.path()) {
                marks.insert(name, target);
            } else if !child_pins::is_pin(&name) && !sending::is_pin(&name) {
                if self.files.get(&name).is_none_or(|(inode, _)| *inode != entry.ino()) {
                    opened.insert(name.clone(), (entry.ino(), open_pinned(&entry.path())?));
                }
                pins.insert(name, entry.ino());
            }
        }
        if !opened.is_empty() {
            self.programs = pinned::of_master(directory);
        }
        self.marks = marks;
        self.files.retain(|name, (inode, _)| pins.get(name) == Some(inode));
        self.files.extend(opened);
        Ok(())
    }

    /// Whether nothing is pinned for `master` any more, and nobody took off it what was held.
    ///
    /// # Errors
    ///
    /// The device is gone.
    pub async fn lacks_pins(&self, netlink: &Netlink, master: &Master) -> Result<bool> {
        let half = [BUILDING, LEAVING].map(|suffix| half(master, suffix));
        let is_half_done = half.iter().any(|path| fs::exists(path).unwrap_or(false));
        if self.files.is_empty() || fs::exists(directory(master)).unwrap_or(true) || is_half_done {
            return Ok(false);
        }
        let there = OnDevice::read(netlink, master.index).await?;
        Ok(there.programs.iter().any(|program| program.is_of(&self.programs)))
    }

    /// Pins what was held again where it [lacks pins](Self::lacks_pins). Gives whether it was so.
    ///
    /// # Errors
    ///
    /// The BPF file system cannot be mounted or written to. What is held stays in place.
    pub async fn put_back(&self, netlink: &Netlink, master: &Master) -> Result<bool> {
        if !self.lacks_pins(netlink, master).await? {
            return Ok(false);
        }
        bpffs::prepare()?;
        let building = &half(master, BUILDING);
        fs::create_dir_all(building).with_context(|| format!("cannot make {building:?}"))?;
        for (name, (_, file)) in &self.files {
            pin_open(&building.join(name), file)?;
        }
        for (name, target) in &self.marks {
            let mark = building.join(name);
            symlink(target, &mark).with_context(|| format!("cannot make {mark:?}"))?;
        }
        fs::rename(building, directory(master)).with_context(|| format!("cannot rename {building:?}"))?;
        Ok(true)
    }
}

/// A directory of a master that is not whole.
fn half(master: &Master, suffix: &str) -> PathBuf {
    directory(master).with_file_name(format!("{}{suffix}", master.key))
}
