//! What is to be shown: a row for each child, made of one sample after the other.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use macvlan_common::{
    counters::{DropReason, Path},
    mac::Mac,
};
use macvlan_core::model::{
    known_by::{KnownBy, names},
    rates,
    stats::{BothWays, ChildStats, MasterStats, Pair},
    status::{ChildStatus, MasterStatus},
};

use crate::top::{feed::Sample, history::History};

/// How long a child is marked as new, and shown after it is gone.
pub const MARKED: Duration = Duration::from_secs(5);

/// What stays the same of a child while it lives.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Key {
    /// Name of its master.
    pub master: String,
    /// Its MAC.
    pub mac: Mac,
}

/// Where a child is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// It is there.
    Here,
    /// It came at this moment.
    New(Instant),
    /// It was missed first at this moment.
    Gone(Instant),
}

/// One child.
#[derive(Debug, Clone)]
pub struct Row {
    /// Which.
    pub key: Key,
    /// What people know it by.
    pub name: String,
    /// Who it is.
    pub about: ChildStatus,
    /// What was counted of it.
    pub total: ChildStats,
    /// The same per second.
    pub rate: ChildStats,
    /// Its rates before.
    pub history: History,
    /// Where it is in its life.
    pub phase: Phase,
}

/// One master.
#[derive(Debug, Clone)]
pub struct MasterRow {
    /// What it is, without its children.
    pub status: MasterStatus,
    /// How many children it has.
    pub children: usize,
    /// What its children received and sent per second; `None` where nothing is counted.
    pub traffic: Option<BothWays>,
    /// What was dropped per second, of children and of nobody in particular.
    pub drops: Option<Pair>,
    /// What was dropped in all.
    pub dropped: Option<Pair>,
    /// Unicast for nobody, per second.
    pub unknown_unicast: Option<Pair>,
}

/// Everything that there is to be shown.
#[derive(Debug, Clone, Default)]
pub struct Model {
    /// Masters, in the order of the last sample.
    pub masters: Vec<MasterRow>,
    /// Children.
    pub rows: BTreeMap<Key, Row>,
    /// Why the last reading failed.
    pub trouble: Option<String>,
    before: Option<(Instant, Vec<MasterStats>)>,
    has_begun: bool,
}

impl Model {
    /// Takes what was read.
    pub fn take(&mut self, sample: &Sample) {
        let rates = self.before.as_ref().map(|(then, before)| {
            rates::rates(&sample.stats, before, sample.at.saturating_duration_since(*then))
        });
        let has_rates = rates.is_some();
        let rates = rates.unwrap_or_else(|| rates::rates(&sample.stats, &[], Duration::ZERO));
        let mut old = std::mem::take(&mut self.rows);
        self.masters.clear();
        for ((status, total), rate) in sample.status.iter().zip(&sample.stats).zip(&rates) {
            self.take_children(&mut old, sample.at, status, (total, rate));
            self.masters.push(MasterRow::new(status, total, rate));
        }
        if has_rates {
            self.rows.values_mut().for_each(Row::remember);
        }
        for mut row in old.into_values() {
            row.leave(sample.at);
            self.rows.entry(row.key.clone()).or_insert(row);
        }
        self.name_rows();
        self.trouble = None;
        self.before = Some((sample.at, sample.stats.clone()));
        self.has_begun = true;
        self.expire(sample.at);
    }

    /// Takes that nothing could be read. Children pass for gone until they are seen again.
    pub fn fail(&mut self, at: Instant, error: String) {
        self.trouble = Some(error);
        self.before = None;
        self.masters.clear();
        self.rows.values_mut().for_each(|row| row.leave(at));
        self.expire(at);
    }

    /// Forgets marks and children whose time is over.
    pub fn expire(&mut self, now: Instant) {
        let is_over = |since: Instant| now.saturating_duration_since(since) >= MARKED;
        self.rows.retain(|_, row| !matches!(row.phase, Phase::Gone(since) if is_over(since)));
        for row in self.rows.values_mut() {
            if matches!(row.phase, Phase::New(since) if is_over(since)) {
                row.phase = Phase::Here;
            }
        }
    }

    /// Gives every row the name that people know it by.
    fn name_rows(&mut self) {
        let own: BTreeMap<&str, Option<&str>> =
            self.masters.iter().map(|row| (&*row.status.ifname, row.status.netns.as_deref())).collect();
        let known = self
            .rows
            .values()
            .map(|row| KnownBy::of(&row.about, own.get(row.key.master.as_str()).copied().flatten()));
        let names = names(known);
        for (row, name) in self.rows.values_mut().zip(names) {
            row.name = name;
        }
    }

    fn take_children(
        &mut self,
        old: &mut BTreeMap<Key, Row>,
        at: Instant,
        status: &MasterStatus,
        (total, rate): (&MasterStats, &MasterStats),
    ) {
        // Where a child lives is told apart by number alone: the master's own namespace may have a name.
        let about: BTreeMap<(Mac, &str, Option<i32>), &ChildStatus> = status
            .children
            .iter()
            .map(|child| ((child.address, child.ifname.as_str(), child.netnsid), child))
            .collect();
        for (total, rate) in total.children.iter().zip(&rate.children) {
            let key = (total.address, total.ifname.as_str(), total.netnsid);
            let Some(about) = about.get(&key) else { continue };
            let key = Key { master: status.ifname.clone(), mac: total.address };
            if let Some(twin) = self.rows.get_mut(&key) {
                // Of two with one MAC the one that is up has the traffic (`macvlan_addr_busy`).
                if !twin.about.up {
                    twin.about = (*about).clone();
                }
                continue;
            }
            let (history, phase) = match old.remove(&key) {
                Some(Row { history, phase: phase @ Phase::New(_), .. }) => (history, phase),
                Some(Row { history, .. }) => (history, Phase::Here),
                None if self.has_begun => (History::default(), Phase::New(at)),
                None => (History::default(), Phase::Here),
            };
            let (about, total, rate) = ((*about).clone(), total.clone(), rate.clone());
            let name = String::new();
            self.rows.insert(key.clone(), Row { key, name, about, total, rate, history, phase });
        }
    }
}

impl Row {
    /// Its rates on one path or, without one, on all.
    pub fn rate(&self, path: Option<Path>) -> Option<BothWays> {
        on(&self.rate, path)
    }

    /// What was counted on one path or, without one, on all.
    pub fn total(&self, path: Option<Path>) -> Option<BothWays> {
        on(&self.total, path)
    }

    /// Drops per second for one reason or, without one, for all.
    pub fn drop_rate(&self, reason: Option<DropReason>) -> Option<Pair> {
        dropped(self.rate.drops.as_ref(), reason)
    }

    /// Drops for one reason or, without one, for all.
    pub fn drop_total(&self, reason: Option<DropReason>) -> Option<Pair> {
        dropped(self.total.drops.as_ref(), reason)
    }

    fn remember(&mut self) {
        if let Some(both) = self.rate(None) {
            self.history.push(bits(both.rx), bits(both.tx));
        }
    }

    fn leave(&mut self, at: Instant) {
        if !matches!(self.phase, Phase::Gone(_)) {
            self.phase = Phase::Gone(at);
        }
        let Row { rate, .. } = self;
        (rate.wire, rate.host, rate.sibling, rate.drops, rate.stats64) = (None, None, None, None, None);
    }
}

impl MasterRow {
    fn new(status: &MasterStatus, total: &MasterStats, rate: &MasterStats) -> Self {
        let children = || rate.children.iter().filter_map(|child| on(child, None));
        let drops = |stats: &MasterStats| {
            let own = dropped(stats.drops.as_ref(), None)?;
            let children = stats.children.iter().filter_map(|child| dropped(child.drops.as_ref(), None));
            Some(children.fold(own, plus))
        };
        let counted = rate.drops.is_some() || rate.children.iter().any(|child| child.stats64.is_some());
        Self {
            status: MasterStatus { children: Vec::new(), ..status.clone() },
            children: status.children.iter().filter(|child| child.adopted).count(),
            traffic: counted.then(|| children().fold(BothWays::default(), both_plus)),
            drops: drops(rate),
            dropped: drops(total),
            unknown_unicast: rate.unknown_unicast,
        }
    }
}

/// Bits of the bytes.
pub fn bits(pair: Pair) -> u64 {
    pair.bytes.saturating_mul(8)
}

fn on(stats: &ChildStats, path: Option<Path>) -> Option<BothWays> {
    match path {
        Some(Path::Wire) => stats.wire,
        Some(Path::Host) => stats.host,
        Some(Path::Sibling) => stats.sibling,
        None => {
            let paths = [stats.wire, stats.host, stats.sibling];
            stats.stats64.or_else(|| paths.into_iter().flatten().reduce(both_plus))
        }
    }
}

fn dropped(drops: Option<&BTreeMap<&'static str, Pair>>, reason: Option<DropReason>) -> Option<Pair> {
    match reason {
        Some(reason) => drops?.get(reason.as_str()).copied(),
        None => Some(drops?.values().copied().fold(Pair::default(), plus)),
    }
}

fn plus(a: Pair, b: Pair) -> Pair {
    Pair { packets: a.packets.saturating_add(b.packets), bytes: a.bytes.saturating_add(b.bytes) }
}

fn both_plus(a: BothWays, b: BothWays) -> BothWays {
    BothWays { rx: plus(a.rx, b.rx), tx: plus(a.tx, b.tx) }
}
