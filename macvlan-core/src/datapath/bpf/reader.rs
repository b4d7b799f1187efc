//! Reading a data path from beside: its counters, how full its maps are, how long its programs ran.
//!
//! Everything is opened by its pin, never by id: that takes no more than access to the pin directory
//! (and `CAP_BPF`, where the kernel keeps bpf(2) from others).

use std::{
    collections::BTreeMap,
    fs,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context, Result, anyhow, bail};
use aya::programs::{ProgramError, ProgramInfo};
use macvlan_common::{ABI_VERSION, mac::Mac, names};

use crate::{
    datapath::bpf::{
        hooks::{refusal::flat, tc::PROGRAM_XDP},
        maps::{
            holders::HolderTable,
            tables::{self, Maps},
        },
        record::{Lasting, Record},
    },
    kernel::errno::errno,
    model::counters::Counters,
};

/// The pinned maps and programs of one master, open for reading.
pub struct Reader {
    directory: PathBuf,
    maps: Maps,
    record: Record,
}

/// How full a map is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Usage {
    /// Its name in the kernel.
    pub map: &'static str,
    /// Entries in it.
    pub entries: u64,
    /// Entries that fit.
    pub max_entries: u64,
}

/// How often and how long a program ran, on all CPUs together. The kernel counts only while
/// `kernel.bpf_stats_enabled` is 1 (`bpf_prog_run` in include/linux/filter.h).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ProgramRuns {
    /// Its name in the pin directory.
    pub program: &'static str,
    /// Runs.
    pub runs: u64,
    /// Time spent in them.
    pub time: Duration,
}

impl Reader {
    /// Opens what is pinned in `directory`.
    ///
    /// # Errors
    ///
    /// When it is not there, is replaced meanwhile, or was made by a version with other maps.
    pub fn open(directory: &Path) -> Result<Self> {
        let inode = inode(directory)?;
        let text = tables::read_record(directory)?;
        let lasting = Lasting::from_text(&text)?;
        if !lasting.is_compatible() {
            bail!(
                "{directory:?} was made by another version of macvlan-ctl (map layout {}, ours is {ABI_VERSION})",
                lasting.abi
            );
        }
        let record = Record::from_text(&text)?;
        let maps = Maps::open(directory)?;
        // Each map was opened by its own path: all of the same attach, or none.
        if self::inode(directory)? != inode {
            bail!("{directory:?} was replaced while it was read");
        }
        Ok(Self { directory: directory.to_owned(), maps, record })
    }

    /// All counters, summed over the CPUs.
    ///
    /// # Errors
    ///
    /// A map of counters cannot be read.
    pub fn counters(&self) -> Result<Counters> {
        self.maps.counters()
    }

    /// How full the children map is and, where the wire carries one MAC, the table of addresses.
    ///
    /// # Errors
    ///
    /// A map cannot be read.
    pub fn usage(&self) -> Result<Vec<Usage>> {
        let mut usage = vec![Usage {
            map: names::CHILDREN,
            entries: self.maps.count_children()? as u64,
            max_entries: self.maps.max_children().into(),
        }];
        if self.record.single {
            let table = HolderTable::open(&self.directory)?;
            let (entries, max_entries) = (table.len()? as u64, table.room() as u64);
            usage.push(Usage { map: names::HOLDERS, entries, max_entries });
        }
        Ok(usage)
    }

    /// How many addresses each child has on a wire that carries one MAC; nothing of other wires.
    ///
    /// # Errors
    ///
    /// The table of addresses cannot be read.
    pub fn wire_addresses(&self) -> Result<BTreeMap<Mac, usize>> {
        let mut counts = BTreeMap::new();
        if self.record.single {
            for held in HolderTable::open(&self.directory)?.held()? {
                *counts.entry(held.mac).or_default() += 1;
            }
        }
        Ok(counts)
    }

    /// How many IP addresses two claim at the moment.
    ///
    /// # Errors
    ///
    /// The map of addresses cannot be read.
    pub fn contested(&self) -> Result<usize> {
        Ok(self.maps.owners.contested()?.len())
    }

    /// What the programs have run so far. A program that is not pinned is left out: XDP, where TC
    /// demultiplexes.
    ///
    /// # Errors
    ///
    /// A program is no longer pinned.
    pub fn programs(&self) -> Result<Vec<ProgramRuns>> {
        let mut programs = Vec::new();
        for program in [names::INGRESS, names::EGRESS, PROGRAM_XDP] {
            match ProgramInfo::from_pin(self.directory.join(program)) {
                Ok(info) => {
                    programs.push(ProgramRuns { program, runs: info.run_count(), time: info.run_time() });
                }
                Err(ProgramError::SyscallError(error))
                    if error.io_error.raw_os_error() == Some(libc::ENOENT) => {}
                Err(error) => return Err(anyhow!("cannot read program {program}: {}", flat(&error))),
            }
        }
        Ok(programs)
    }

    /// The programs are those of this version of macvlan-ctl.
    pub fn is_current(&self) -> bool {
        self.record.is_current()
    }
}

fn inode(directory: &Path) -> Result<u64> {
    let metadata = fs::metadata(directory).map_err(|error| anyhow!("{}", errno(&error)));
    Ok(metadata.with_context(|| format!("cannot read {directory:?}"))?.ino())
}
