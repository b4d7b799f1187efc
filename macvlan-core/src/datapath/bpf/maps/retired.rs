//! Counters of children that are gone, so that a child that comes back (a container restarted with
//! its MAC, a move between namespaces) counts on from where it was.

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use aya::maps::{HashMap, Map, MapData, MapError};
use macvlan_common::{child::Retired, counters::ChildCounters};

use crate::datapath::bpf::maps::{batch::Batch, clock};

/// The counters of children that are gone, by MAC key; as many as there may be children.
pub struct RetiredCounters {
    map: HashMap<MapData, u64, Retired>,
    batch: Batch,
    room: usize,
}

impl RetiredCounters {
    /// What is in a map with room for so many.
    ///
    /// # Errors
    ///
    /// It is of another kind, or the process has too many files open.
    pub fn new(map: MapData, room: u32) -> Result<Self> {
        Ok(Self { batch: Batch::of(&map)?, map: Map::HashMap(map).try_into()?, room: room as usize })
    }

    /// Keeps what a child had counted. Where there is no room, those who went first are forgotten.
    ///
    /// # Errors
    ///
    /// The map cannot be written.
    pub fn keep(&mut self, key: u64, counters: ChildCounters) -> Result<()> {
        let since = clock::since_boot()?;
        let retired = Retired { since, counters };
        match self.map.insert(key, retired, 0) {
            Err(MapError::SyscallError(error)) if error.io_error.raw_os_error() == Some(libc::E2BIG) => {
                self.forget_oldest()?;
                self.map.insert(key, retired, 0)
            }
            other => other,
        }
        .context("cannot keep the counters of a child")
    }

    /// A quarter at once: making room for one by one would read the whole map each time.
    fn forget_oldest(&mut self) -> Result<()> {
        let all = self
            .batch
            .hash::<u64, Retired>()
            .context("cannot read the counters of children that are gone")?;
        let mut all: Vec<(u64, u64)> = all.into_iter().map(|(key, retired)| (retired.since, key)).collect();
        all.sort_unstable();
        for (_, key) in all.iter().take((self.room / 4).max(1)) {
            self.forget(*key)?;
        }
        Ok(())
    }

    /// What all had counted when they went.
    ///
    /// # Errors
    ///
    /// The map cannot be read.
    pub fn all(&self) -> Result<BTreeMap<u64, ChildCounters>> {
        let all = self
            .batch
            .hash::<u64, Retired>()
            .context("cannot read the counters of children that are gone")?;
        Ok(all.into_iter().map(|(key, retired)| (key, retired.counters)).collect())
    }

    /// What a child had counted when it went; `None` if it never was there.
    ///
    /// # Errors
    ///
    /// The map cannot be read.
    pub fn of(&self, key: u64) -> Result<Option<ChildCounters>> {
        match self.map.get(&key, 0) {
            Ok(retired) => Ok(Some(retired.counters)),
            Err(MapError::KeyNotFound) => Ok(None),
            Err(error) => Err(error).context("cannot read the counters of a child that was gone"),
        }
    }

    /// Forgets a child.
    ///
    /// # Errors
    ///
    /// The map cannot be written; that it is not there is no error.
    pub fn forget(&mut self, key: u64) -> Result<()> {
        match self.map.remove(&key) {
            Ok(()) | Err(MapError::KeyNotFound) => Ok(()),
            Err(MapError::SyscallError(error)) if error.io_error.raw_os_error() == Some(libc::ENOENT) => {
                Ok(())
            }
            Err(error) => Err(error).context("cannot forget the counters of a child"),
        }
    }
}
