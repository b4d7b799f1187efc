//! What one scrape tells, gathered before a word of it is written.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
    time::Duration,
};

use anyhow::Result;
use macvlan_common::mac::Mac;
use macvlan_core::{
    datapath::bpf::reader::{ProgramRuns, Reader, Usage},
    follow::snapshot::{MasterSnapshot, Snapshot},
    kernel::netlink::link::Totals,
    model::{counters::Counters, status::MasterStatus},
};

/// Everything that is known at one moment.
#[derive(Debug, Default)]
pub struct Scrape {
    /// In the order of the view.
    pub masters: Vec<MasterScrape>,
    /// Names of masters that are waited for.
    pub waiting: Vec<String>,
    /// Masters that could not be read in this scrape.
    pub failures: u64,
    /// How long reading took.
    pub duration: Duration,
}

/// What is known of one master.
#[derive(Debug)]
pub struct MasterScrape {
    /// What `status` would say of it.
    pub status: MasterStatus,
    /// What the kernel counted of each child by its MAC, where it carries them alone.
    pub totals: BTreeMap<Mac, Totals>,
    /// Whether the device is administratively up.
    pub is_up: bool,
    /// How often another one has come to claim an address of a child.
    pub contests: u64,
    /// Children that the data path should know and does not.
    pub unadopted: usize,
    /// Children whose containers have not been asked for yet.
    pub unnamed: BTreeSet<Mac>,
    /// What its pins tell.
    pub reading: Reading,
    /// Frames that the kernel dropped on its receive side; `None` where it does not tell.
    pub rx_dropped: Option<u64>,
}

/// What the pins of a master tell.
#[derive(Debug)]
pub enum Reading {
    /// It has none: the kernel carries it alone.
    Unpinned,
    /// They could not be read, and why.
    Failed(String),
    /// Everything.
    Whole {
        /// All counters.
        counters: Box<Counters>,
        /// How full the maps are.
        usage: Vec<Usage>,
        /// How many addresses each child has on a wire that carries one MAC.
        wire_addresses: BTreeMap<Mac, usize>,
        /// What the programs have run.
        programs: Vec<ProgramRuns>,
        /// How many IP addresses two claim.
        contested: usize,
        /// The programs are those of this version of macvlan-ctl.
        is_current: bool,
    },
}

impl Scrape {
    /// Reads the maps of every master in `view`.
    ///
    /// A second master of the same name is left out, as a failure: a name can be between two devices
    /// for a moment, and two series of the same labels would cost the whole scrape.
    pub fn take(view: &Snapshot) -> Self {
        let mut snapshot = Self::default();
        let mut names = BTreeSet::new();
        for master in &view.masters {
            let MasterSnapshot { status, pins, totals, is_up, contests, unadopted, unnamed } = master.clone();
            if !names.insert(status.ifname.clone()) {
                snapshot.failures += 1;
                continue;
            }
            let reading = match pins {
                None => Reading::Unpinned,
                Some(pins) => read(&pins).unwrap_or_else(|error| {
                    snapshot.failures += 1;
                    Reading::Failed(format!("{error:#}"))
                }),
            };
            let rx_dropped = None;
            snapshot.masters.push(MasterScrape {
                status,
                totals,
                is_up,
                contests,
                unadopted,
                unnamed,
                reading,
                rx_dropped,
            });
        }
        let waiting = view.waiting.iter().map(|waiting| waiting.name.clone());
        snapshot.waiting = waiting.filter(|name| names.insert(name.clone())).collect();
        snapshot
    }
}

fn read(pins: &Path) -> Result<Reading> {
    let reader = Reader::open(pins)?;
    Ok(Reading::Whole {
        counters: Box::new(reader.counters()?),
        usage: reader.usage()?,
        wire_addresses: reader.wire_addresses()?,
        programs: reader.programs()?,
        contested: reader.contested()?,
        is_current: reader.is_current(),
    })
}
