//! Looking for what no event tells: children in namespaces without a number, and everything anew.

use std::time::Duration;

use anyhow::Result;
use tokio::time::Instant;

use crate::{
    discovery::{access::Access, children::find_children},
    follow::watch::{
        change::{self, Change},
        watcher::Watcher,
    },
    kernel::{
        netlink::link::ListOptions,
        netns::known::{Known, held_open, known},
    },
    policy::home::Homes,
};

/// How soon to look at everything again, after that failed.
const AGAIN: Duration = Duration::from_millis(100);

/// A look for unnumbered namespaces may take this share of the time at most.
const LOOK_SHARE: u32 = 10;

impl Watcher {
    /// Looks for children in namespaces that nobody has numbered.
    pub(crate) async fn look(&mut self, changes: &mut Vec<Change>) {
        self.unexplained = None;
        self.lost = false;
        let began = Instant::now();
        match self.access {
            Access::Change => {
                let before = self.inventory.len();
                self.look_into(known, changes).await;
                if self.inventory.len() == before && self.look_into(held_open, changes).await {
                    // A descriptor that was passed on or closed: it may be held by another now.
                    self.lost = true;
                }
            }
            Access::Read => changes.extend(self.resync().await),
        }
        self.next_look = Instant::now() + began.elapsed() * LOOK_SHARE;
    }

    /// Reads the namespaces without a number that `find` gives; says whether one escaped.
    pub(crate) async fn look_into(&mut self, find: fn() -> Vec<Known>, changes: &mut Vec<Change>) -> bool {
        let (numbered, escaped) = self.names.number_unnumbered(&self.netlink, find).await;
        for nsid in numbered {
            self.read_namespace(nsid, changes).await;
        }
        escaped
    }

    /// Whether a master lets a MAC in that is none of its known children's.
    pub(crate) async fn misses_some(&self) -> Result<bool> {
        let filters = self.netlink.unicast_filters().await?;
        Ok(self.inventory.misses_some_of(&filters))
    }

    /// Reads all devices of a namespace; one that is gone by now holds none.
    pub(crate) async fn read_namespace(&mut self, nsid: i32, changes: &mut Vec<Change>) {
        let options = ListOptions { nsid: Some(nsid) };
        for link in self.netlink.links(options).await.unwrap_or_default() {
            let place = self.names.of(Some(nsid));
            let link = Some(link);
            let own = self.own_nsid(&link).await;
            let key = (Some(nsid), link.as_ref().map_or(0, |link| link.index));
            changes.extend(self.inventory.set(key, link, place, own));
        }
    }

    /// Looks at everything anew, and gives what changed; tries again soon where that fails.
    pub async fn resync(&mut self) -> Vec<Change> {
        match self.look_at_everything().await {
            Ok(changes) => {
                self.resync_due = None;
                changes
            }
            Err(_) => {
                self.resync_due = Some(Instant::now() + AGAIN);
                Vec::new()
            }
        }
    }

    pub(crate) async fn look_at_everything(&mut self) -> Result<Vec<Change>> {
        self.unexplained = None;
        self.transit.clear();
        let observed = find_children(&self.netlink, self.access).await?;
        let links = self.netlink.links(ListOptions::default()).await?;
        self.names.replace(observed.labels());
        // Their numbers may be others' by now.
        self.homes = Homes::default();
        Ok(change::join_moves(self.inventory.replace(observed, links)))
    }

    /// Looks whether anything was missed; gives what changed.
    pub async fn check(&mut self) -> Vec<Change> {
        // While the tables change too fast to be read, events tell enough.
        if self.misses_some().await.unwrap_or(false) { self.resync().await } else { Vec::new() }
    }
}
