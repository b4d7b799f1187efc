//! Names of the namespaces that children are in.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    time::Duration,
};

use tokio::time::Instant;

use crate::kernel::{
    netlink::Netlink,
    netns::{
        Netns, NetnsId,
        known::{Known, known},
        place::Place,
    },
};

/// Looking through all namespaces may take this share of the time at most.
const SHARE: u32 = 10;

/// A namespace without a name is looked for again after this.
const AGAIN: Duration = Duration::from_secs(5);

/// What is known of numbered namespaces.
#[derive(Debug, Default)]
pub struct NamespaceNames {
    numbers: HashMap<NetnsId, i32>,
    labels: BTreeMap<i32, String>,
    /// Looked for in vain, and when.
    nameless: BTreeMap<i32, Instant>,
    not_before: Option<Instant>,
}

impl NamespaceNames {
    /// The namespace with this id, and its name where one is known.
    pub fn of(&self, nsid: Option<i32>) -> Place {
        let label = nsid.and_then(|nsid| self.labels.get(&nsid)).cloned();
        Place { nsid, label }
    }

    /// A namespace is gone; its number may be given to another.
    pub fn forget(&mut self, nsid: i32) {
        self.numbers.retain(|_, number| *number != nsid);
        self.labels.remove(&nsid);
        self.nameless.remove(&nsid);
    }

    /// These namespaces have these names.
    pub fn learn(&mut self, named: impl IntoIterator<Item = (i32, NetnsId, String)>) {
        for (nsid, id, label) in named {
            self.numbers.insert(id, nsid);
            self.nameless.remove(&nsid);
            self.labels.insert(nsid, label);
        }
    }

    /// These namespaces have these names, and nothing else is known: events that told of numbers given to
    /// other namespaces may have been lost.
    pub fn replace(&mut self, named: impl IntoIterator<Item = (i32, NetnsId, String)>) {
        self.numbers.clear();
        self.labels.clear();
        self.nameless.clear();
        self.learn(named);
    }

    /// Those whose names lead nowhere, or that were looked for in vain, are looked for again as soon as that may be.
    pub fn hope(&mut self, nsids: &[i32]) {
        for nsid in nsids {
            self.labels.remove(nsid);
            self.nameless.remove(nsid);
        }
    }

    /// Whether one of these has no name and is worth a search now.
    pub fn wants_names(&self, mut nsids: impl Iterator<Item = i32>) -> bool {
        let now = Instant::now();
        let allowed = self.not_before.is_none_or(|instant| now >= instant);
        allowed && nsids.any(|nsid| !self.labels.contains_key(&nsid) && self.is_due(nsid, now))
    }

    fn is_due(&self, nsid: i32, now: Instant) -> bool {
        self.nameless.get(&nsid).is_none_or(|since| now >= *since + AGAIN)
    }

    /// Looks through all namespaces that have a path for the numbered ones.
    pub async fn find_names(&mut self, netlink: &Netlink) {
        let began = Instant::now();
        for known in off_thread(known).await {
            if let Some(nsid) = self.number_of(netlink, &known).await {
                self.labels.insert(nsid, known.label);
            }
        }
        self.not_before = Some(Instant::now() + began.elapsed() * SHARE);
        let unnamed: Vec<i32> = self.numbers.values().copied().collect();
        for nsid in unnamed.into_iter().filter(|nsid| !self.labels.contains_key(nsid)) {
            self.nameless.insert(nsid, began);
        }
    }

    async fn number_of(&mut self, netlink: &Netlink, known: &Known) -> Option<i32> {
        if let Some(nsid) = self.numbers.get(&known.id) {
            return Some(*nsid);
        }
        let netns = known.open().ok()?;
        let nsid = netlink.nsid_of(&netns).await.ok().flatten()?;
        self.numbers.insert(known.id, nsid);
        Some(nsid)
    }

    /// Numbers every namespace that `find` gives and that has no number, so that its events are heard;
    /// gives the new numbers, and whether a namespace could not be opened any more.
    pub async fn number_unnumbered(
        &mut self,
        netlink: &Netlink,
        find: fn() -> Vec<Known>,
    ) -> (Vec<i32>, bool) {
        let mut escaped = false;
        let mut seen: HashSet<NetnsId> = Netns::current().iter().map(Netns::id).collect();
        let mut numbered = Vec::new();
        for known in off_thread(find).await {
            if !seen.insert(known.id) {
                continue;
            }
            // Asked each time: the inode number of one that died is soon another's.
            self.numbers.remove(&known.id);
            if self.number_of(netlink, &known).await.is_some() {
                continue;
            }
            let Ok(netns) = known.open() else {
                escaped = true;
                continue;
            };
            // One that vanishes meanwhile holds no child.
            if let Ok(Some(nsid)) = netlink.assign_nsid(&netns).await {
                self.learn([(nsid, known.id, known.label)]);
                numbered.push(nsid);
            }
        }
        (numbered, escaped)
    }
}

/// Looking through all processes takes long on a machine with many: not on this thread.
async fn off_thread(find: fn() -> Vec<Known>) -> Vec<Known> {
    tokio::task::spawn_blocking(find).await.unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn after_lost_events_nothing_is_known_but_what_is_there_now() {
        let mut names = NamespaceNames::default();
        names
            .learn([(1, NetnsId::example(11), "web".to_owned()), (2, NetnsId::example(12), "db".to_owned())]);
        names.nameless.insert(3, Instant::now());

        // "web" is gone, its number is another's, and so is its inode number.
        names.replace([
            (1, NetnsId::example(13), "cache".to_owned()),
            (4, NetnsId::example(11), "mail".to_owned()),
        ]);

        assert_eq!(names.of(Some(1)).label.as_deref(), Some("cache"));
        assert_eq!(names.of(Some(2)).label, None);
        assert_eq!(names.numbers, HashMap::from([(NetnsId::example(13), 1), (NetnsId::example(11), 4)]));
        assert!(names.wants_names([3].into_iter()), "it may be another namespace: worth a search");
    }
}
