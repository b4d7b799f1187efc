//! The text that all clients share.

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use anyhow::{Context, Result};
use bytes::Bytes;
use macvlan_core::{
    follow::snapshot::{Snapshot, Tallies, Tally},
    model::printable::Printable,
};
use tokio::sync::watch;

use crate::exporter::{
    devices::Devices,
    render::{OwnCounts, render},
    scrape::{Reading, Scrape},
};

/// How old a text may be that is served: so many clients a second cost no more than four.
const FRESH: Duration = Duration::from_millis(250);

/// Reads and renders when asked, and no oftener than is of use.
pub struct Collector {
    views: watch::Receiver<Arc<Snapshot>>,
    tallies: Arc<Tallies>,
    /// Clients hung up on in favour of later ones.
    pub evicted: Tally,
    last: Mutex<Last>,
    devices: Devices,
}

#[derive(Default)]
struct Last {
    text: Option<(Instant, Bytes)>,
    errors: u64,
    unreadable: BTreeSet<String>,
}

impl Collector {
    /// One of these views and tallies.
    pub fn new(views: watch::Receiver<Arc<Snapshot>>, tallies: Arc<Tallies>) -> Self {
        Self {
            views,
            tallies,
            evicted: Tally::default(),
            last: Mutex::default(),
            devices: Devices::default(),
        }
    }

    /// Whether somebody still follows the masters.
    pub fn is_followed(&self) -> bool {
        self.views.has_changed().is_ok()
    }

    /// The masters that are not there, not up or not attached to, each on a line with the reason; `None` when
    /// all are.
    pub fn not_ready(&self) -> Option<String> {
        let view = Arc::clone(&self.views.borrow());
        let lines: String = view
            .not_ready()
            .map(|(name, why)| format!("{}: {}\n", Printable(name), Printable(why)))
            .collect();
        Some(lines).filter(|lines| !lines.is_empty())
    }

    /// Asks the kernel for what [`text`](Self::text) cannot read itself. Gives the view that this was asked
    /// for, or nothing where the last text is fresh enough to be given again.
    pub async fn look(&self) -> Option<Arc<Snapshot>> {
        let is_fresh = {
            let last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
            last.text.as_ref().is_some_and(|(at, _)| at.elapsed() < FRESH)
        };
        if is_fresh {
            return None;
        }
        let view = Arc::clone(&self.views.borrow());
        self.devices.look(&view).await;
        Some(view)
    }

    /// The text of a scrape: of the view that was `looked` at, or else the last.
    ///
    /// # Errors
    ///
    /// When it cannot be written.
    pub fn text(&self, looked: Option<Arc<Snapshot>>) -> Result<Bytes> {
        // Whoever panicked while holding it left it as it was: the parts are set one by one, last.
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((at, text)) = &last.text
            && (looked.is_none() || at.elapsed() < FRESH)
        {
            return Ok(text.clone());
        }
        let start = Instant::now();
        let view = looked.unwrap_or_else(|| Arc::clone(&self.views.borrow()));
        let mut snapshot = Scrape::take(&view);
        for master in &mut snapshot.masters {
            master.rx_dropped = self.devices.rx_dropped(master.status.ifindex);
        }
        snapshot.duration = start.elapsed();
        last.note(&snapshot);
        let own = OwnCounts { errors: last.errors, evicted: self.evicted.get() };
        let text = render(&snapshot, &self.tallies, own).context("cannot write the metrics")?;
        let text = Bytes::from(text);
        last.text = Some((Instant::now(), text.clone()));
        Ok(text)
    }
}

impl Last {
    /// Counts failures; tells of each master once, until it can be read again.
    fn note(&mut self, snapshot: &Scrape) {
        self.errors += snapshot.failures;
        let mut unreadable = BTreeSet::new();
        for master in &snapshot.masters {
            if let Reading::Failed(reason) = &master.reading {
                let name = &master.status.ifname;
                if !self.unreadable.contains(name) {
                    log::warn!("cannot read the counters of {name:?}: {reason}");
                }
                unreadable.insert(name.clone());
            }
        }
        self.unreadable = unreadable;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn collector() -> (watch::Sender<Arc<Snapshot>>, Collector) {
        let (sender, views) = watch::channel(Arc::default());
        (sender, Collector::new(views, Arc::default()))
    }

    #[test]
    fn clients_share_a_text_for_a_while() {
        let (_sender, collector) = collector();
        let first = collector.text(Some(Arc::default())).unwrap();
        collector.tallies.events.count();
        let deadline = Instant::now() + Duration::from_secs(20);
        let mut same = 0;
        let other = loop {
            let text = collector.text(Some(Arc::default())).unwrap();
            if text != first {
                break text;
            }
            same += 1;
            assert!(text.as_ptr() == first.as_ptr() && Instant::now() < deadline);
        };
        assert!(same > 0);
        let other = String::from_utf8(other.to_vec()).unwrap();
        assert!(other.contains("\nmacvlan_follower_events_total 1\n"), "{other}");
    }

    #[test]
    fn a_follower_that_is_gone_is_noticed() {
        let (sender, collector) = collector();
        assert!(collector.is_followed());
        drop(sender);
        assert!(!collector.is_followed());
        assert!(collector.text(Some(Arc::default())).is_ok());
    }
}
