//! Reading masters, children and counters again and again, at little cost.
//!
//! Counters are read each time. Who the children are is asked anew when something hints at a
//! change, and now and then: that takes a walk through all namespaces.

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};
use macvlan_common::mac::Mac;
use macvlan_core::{
    commands::{stats, status},
    datapath::{Datapath, bpf::attached},
    discovery::{
        access::Access,
        children::{Observed, find_children},
        containers::Containers,
        datapath::{datapath_of, find_datapath},
        masters,
        neighbours::Addresses,
    },
    kernel::netlink::Netlink,
    model::{description::Description, master::Master, stats::MasterStats, status::MasterStatus},
};

/// How old what we know of the children may be when nothing hints at a change: of names, modes,
/// host access, and children that are down.
const IDENTITY_AGE: Duration = Duration::from_secs(5);

/// What was read at one moment.
#[derive(Debug, Clone)]
pub struct Sample {
    /// When the counters were read.
    pub at: Instant,
    /// Masters and who their children are.
    pub status: Arc<Vec<MasterStatus>>,
    /// What they counted, masters in the same order.
    pub stats: Vec<MasterStats>,
}

/// Reads one master, or all.
pub struct Feed {
    name: Option<String>,
    netlink: Netlink,
    containers: Containers,
    addresses: Addresses,
    known: Option<Known>,
    /// Why masters have no programs, by their keys: that is slow to find out.
    refusals: BTreeMap<String, String>,
}

/// What stays between two looks at everything.
struct Known {
    since: Instant,
    filters: BTreeMap<u32, Vec<Mac>>,
    observed: Observed,
    masters: Vec<Master>,
    status: Arc<Vec<MasterStatus>>,
}

impl Feed {
    /// A feed of the master with this name in the namespace of the calling thread or, without a
    /// name, of every master with a data path or children.
    ///
    /// # Errors
    ///
    /// A netlink socket cannot be opened.
    pub fn open(name: Option<&str>) -> Result<Self> {
        Ok(Self {
            name: name.map(str::to_owned),
            netlink: Netlink::open()?,
            containers: Containers::default(),
            addresses: Addresses::open()?,
            known: None,
            refusals: BTreeMap::new(),
        })
    }

    /// Reads once.
    ///
    /// # Errors
    ///
    /// There is no such master, or its maps cannot be read. The next call tries afresh.
    pub async fn read(&mut self) -> Result<Sample> {
        let read = self.read_unnamed().await;
        if read.is_err() {
            self.known = None;
        }
        match &self.name {
            Some(name) => read.with_context(|| format!("cannot tell of {name:?}")),
            None => read,
        }
    }

    async fn read_unnamed(&mut self) -> Result<Sample> {
        let filters = self.netlink.unicast_filters().await?;
        if let Some(known) = self.known.take_if(|known| known.is_current(&filters))
            && known.has_its_masters(&self.netlink).await?
        {
            let sample = self.count(&known).await?;
            if sample.is_consistent() {
                self.known = Some(Known { status: sample.status.clone(), ..known });
                return Ok(sample);
            }
        }
        let known = self.look(filters).await?;
        let sample = self.count(&known).await?;
        self.known = Some(known);
        Ok(sample)
    }

    /// Finds masters and children, and who they are.
    async fn look(&mut self, filters: BTreeMap<u32, Vec<Mac>>) -> Result<Known> {
        self.addresses.forget_all();
        let observed = find_children(&self.netlink, Access::Read).await?;
        let masters = masters::masters(&self.netlink, &observed, self.name.as_deref()).await?;
        self.refusals.retain(|key, _| masters.iter().any(|master| master.key.to_string() == *key));
        let mut all = Vec::new();
        for master in &masters {
            let children = observed.of(master.index);
            let datapath = self.datapath(master, &observed).await?;
            let mut status = status::describe(master, datapath.as_ref(), children);
            status::identify(&mut status, children, &mut self.containers, &mut self.addresses).await;
            all.push(status);
        }
        Ok(Known { since: Instant::now(), filters, observed, masters, status: Arc::new(all) })
    }

    async fn count(&mut self, known: &Known) -> Result<Sample> {
        let mut status = known.status.clone();
        let mut stats = Vec::new();
        for (index, master) in known.masters.iter().enumerate() {
            let datapath = self.datapath(master, &known.observed).await?;
            let Description { carrier, demux, hairpin, degraded, .. } = datapath.description();
            let shown = &status[index];
            if (shown.datapath, shown.demux, shown.hairpin, &shown.degraded)
                != (*carrier, *demux, *hairpin, degraded)
            {
                let shown = &mut Arc::make_mut(&mut status)[index];
                (shown.datapath, shown.demux, shown.hairpin) = (*carrier, *demux, *hairpin);
                shown.degraded.clone_from(degraded);
            }
            stats.push(stats::describe(&master.name, datapath.as_ref(), known.observed.of(master.index))?);
        }
        Ok(Sample { at: Instant::now(), status, stats })
    }

    /// The data path as it is now: another command may have put another one in place.
    async fn datapath(&mut self, master: &Master, observed: &Observed) -> Result<Box<dyn Datapath>> {
        let key = master.key.to_string();
        if let Some(reason) = self.refusals.get(&key)
            && !attached::is_pinned(master)
        {
            return datapath_of(&self.netlink, master, Err(reason.clone()), observed).await;
        }
        let (attached, is_broken) = find_datapath(&self.netlink, master).await;
        match &attached {
            Err(reason) if !is_broken => self.refusals.insert(key, reason.clone()),
            _ => self.refusals.remove(&key),
        };
        datapath_of(&self.netlink, master, attached, observed).await
    }
}

impl Known {
    /// Whether nothing hints at a change of the children.
    fn is_current(&self, filters: &BTreeMap<u32, Vec<Mac>>) -> bool {
        self.since.elapsed() < IDENTITY_AGE && self.filters == *filters
    }

    /// Whether every master is there under its name.
    async fn has_its_masters(&self, netlink: &Netlink) -> Result<bool> {
        for master in &self.masters {
            let link = netlink.link_by_index(master.index, None).await?;
            if link.is_none_or(|link| link.name != master.name || Some(master.mac) != link.mac) {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

impl Sample {
    /// Whether the children that are counted are those that are known.
    fn is_consistent(&self) -> bool {
        self.status.iter().zip(&self.stats).all(|(status, stats)| {
            let known = status.children.iter().filter(|child| child.adopted).map(|child| child.address);
            let counted = stats.children.iter().map(|child| child.address);
            known.eq(counted)
        })
    }
}
