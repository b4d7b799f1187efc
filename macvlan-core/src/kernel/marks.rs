//! Marks of the devices that we made in other namespaces than their master's: what a device says of itself, its
//! container has written. Each is a link in the BPF file system that leads nowhere. Root alone writes there, and it
//! lasts as long as the machine runs, as devices do.

use std::{collections::BTreeMap, fs, io, os::unix::fs::symlink, path::PathBuf};

use anyhow::{Context, Result};
use macvlan_common::mac::Mac;

use crate::kernel::{bpffs, crash, netns::Netns};

pub use crate::kernel::netlink::events::changed::DeviceKey;

/// How often to begin anew where another command removes the directory meanwhile, as the last mark went.
const TRIES: usize = 10;

/// What is known of a device that we made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mark {
    /// Its namespace, as [`Netns::current_tag`] tells it; `None` where that could not be asked.
    pub namespace: Option<String>,
    /// The index of its master.
    pub master: u32,
    /// The MAC that it was made with.
    pub mac: Mac,
    /// For whom: the alias that it was given.
    pub maker: String,
}

/// Stands for a namespace that could not be asked.
const UNKNOWN: &str = "-";

impl Mark {
    fn to_text(&self) -> String {
        let namespace = self.namespace.as_deref().unwrap_or(UNKNOWN);
        format!("{namespace} {} {} {}", self.master, self.mac, self.maker)
    }

    fn of_text(text: &str) -> Option<Self> {
        let mut words = text.splitn(4, ' ');
        let namespace = words.next().filter(|word| *word != UNKNOWN).map(str::to_owned);
        let (master, mac) = (words.next()?.parse().ok()?, words.next()?.parse().ok()?);
        Some(Self { namespace, master, mac, maker: words.next()?.to_owned() })
    }

    /// Whether it is that of a device with this MAC in a namespace with this tag: numbers of namespaces and devices
    /// are used again, a tag is not. Who may not ask for it goes by the MAC.
    pub fn is_of(&self, mac: Mac, namespace: Option<&str>) -> bool {
        match (self.namespace.as_deref(), namespace) {
            (Some(own), Some(namespace)) => own == namespace,
            _ => self.mac == mac,
        }
    }
}

/// The marks of devices whose masters are in one namespace, by their keys there.
#[derive(Debug, Clone, Default)]
pub struct Marks {
    /// What the names of its marks begin with.
    prefix: String,
}

impl Marks {
    /// Those of masters in the namespace of the calling thread.
    ///
    /// # Errors
    ///
    /// `/proc` is not mounted, on a kernel without namespace cookies.
    pub fn open() -> Result<Self> {
        Ok(Self { prefix: format!("{}-nsid", Netns::current_tag()?) })
    }

    /// Whether there can be any: the BPF file system is there, and can be written to.
    pub fn are_kept() -> bool {
        bpffs::place() == bpffs::Place::Mounted && bpffs::probe().is_ok()
    }

    /// The mark of a device.
    pub fn of(&self, key: DeviceKey) -> Option<Mark> {
        Mark::of_text(fs::read_link(self.path(key)?).ok()?.to_str()?)
    }

    /// All of them.
    ///
    /// # Errors
    ///
    /// They cannot be read.
    pub fn all(&self) -> Result<BTreeMap<DeviceKey, Mark>> {
        let names = bpffs::names_in(&bpffs::marks())?;
        let keys = names.iter().filter_map(|name| {
            let (nsid, index) = name.strip_prefix(&self.prefix)?.split_once("-if")?;
            Some((Some(nsid.parse().ok()?), index.parse().ok()?))
        });
        Ok(keys.filter_map(|key| Some((key, self.of(key)?))).collect())
    }

    /// Marks a device, whatever mark was there. Where there is no BPF file system and can be none, nobody is marked.
    ///
    /// # Errors
    ///
    /// The mark cannot be made.
    pub fn set(&self, key: DeviceKey, mark: &Mark) -> Result<()> {
        let Some(path) = self.path(key) else { return Ok(()) };
        if bpffs::prepare().is_err() || !Self::are_kept() {
            return Ok(());
        }
        self.remove(key)?;
        let make = || {
            fs::create_dir_all(bpffs::marks())?;
            symlink(mark.to_text(), &path)
        };
        let mut made = make();
        for _ in 1..TRIES {
            if made.as_ref().is_err_and(|error| error.kind() == io::ErrorKind::NotFound) {
                made = make();
            }
        }
        made.with_context(|| format!("cannot note that we made a device: cannot make {path:?}"))?;
        crash::point("marking a device that we made")
    }

    /// Takes the mark off a device that is gone, and the directory away with the last one.
    ///
    /// # Errors
    ///
    /// It cannot be removed.
    pub fn remove(&self, key: DeviceKey) -> Result<()> {
        let Some(path) = self.path(key).filter(|path| fs::symlink_metadata(path).is_ok()) else {
            return Ok(());
        };
        bpffs::remove_pin(&path)?;
        bpffs::remove_root();
        Ok(())
    }

    /// Where the mark of a device is. One in the master's own namespace needs none: root alone is at work there. One
    /// in a namespace without a number has none.
    fn path(&self, (nsid, index): DeviceKey) -> Option<PathBuf> {
        let nsid = nsid.filter(|nsid| *nsid >= 0 && !self.prefix.is_empty())?;
        Some(bpffs::marks().join(format!("{}{nsid}-if{index}", self.prefix)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mark(namespace: Option<&str>) -> Mark {
        let mac = Mac::new([2, 0, 0, 0, 0, 1]);
        Mark {
            namespace: namespace.map(str::to_owned),
            master: 7,
            mac,
            maker: "macvlan-ctl cni a b c".into(),
        }
    }

    #[test]
    fn a_mark_is_read_as_it_was_written() {
        for namespace in [None, Some("ns4097"), Some("inode4026531840")] {
            assert_eq!(Mark::of_text(&mark(namespace).to_text()), Some(mark(namespace)));
        }
        for text in ["", "ns1", "ns1 7", "ns1 7 02:00:00:00:00:01", "ns1 x 02:00:00:00:00:01 macvlan-ctl"] {
            assert_eq!(Mark::of_text(text), None, "{text:?}");
        }
    }

    #[test]
    fn a_device_that_has_the_numbers_of_another_has_not_its_mark() {
        let (own, other) = (mark(None).mac, Mac::new([2, 0, 0, 0, 0, 2]));
        let known = mark(Some("ns1"));
        assert!(known.is_of(other, Some("ns1")), "it may have another MAC by now");
        assert!(!known.is_of(own, Some("ns2")));
        for (mark, namespace) in [(&known, None), (&mark(None), Some("ns1")), (&mark(None), None)] {
            assert!(mark.is_of(own, namespace) && !mark.is_of(other, namespace));
        }
    }

    #[test]
    fn a_device_in_the_masters_namespace_or_in_one_without_a_number_has_no_mark() {
        let marks = Marks { prefix: "ns1-nsid".into() };
        assert_eq!((marks.path((None, 7)), marks.path((Some(-5), 7))), (None, None));
        assert_eq!(Marks::default().path((Some(1), 7)), None);
        assert!(
            marks.path((Some(1), 7)).is_some_and(|path| path.ends_with("macvlan-ctl/made/ns1-nsid1-if7"))
        );
    }
}
