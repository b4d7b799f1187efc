//! The containers that changes are about.

use std::collections::BTreeMap;

use macvlan_common::mac::Mac;

use crate::{
    discovery::containers::Containers,
    follow::watch::change::{Change, Subject, What},
    model::{child::Child, container::Container},
};

/// Most children that are waited for: of more, those that came first have names.
const MOST_WAITING: usize = 4096;

/// Gives changes the containers of their children. An engine names a container some time after its
/// namespace came, so children without a name are kept in mind; and what is gone has the name it had.
#[derive(Debug, Default)]
pub struct ContainerNames {
    containers: Containers,
    known: BTreeMap<Key, Container>,
    waiting: BTreeMap<Key, Change>,
}

/// A child: its master, its MAC and the number of its namespace.
type Key = (u32, Mac, Option<i32>);

impl ContainerNames {
    /// Fills in the container of the child that a change is about. Takes two seconds at most, where an engine
    /// does not answer.
    pub async fn name(&mut self, change: &mut Change) {
        let Some((key, child)) = key_of(change) else { return };
        let is_gone = change.what == What::Removed;
        let container = match self.known.get(&key) {
            Some(container) => Some(container.clone()),
            None if is_gone => None,
            None => self.containers.of(&child.place).await,
        };
        self.waiting.remove(&key);
        match &container {
            _ if is_gone => drop(self.known.remove(&key)),
            Some(container) => drop(self.known.insert(key, container.clone())),
            None if key.2.is_some() && self.waiting.len() < MOST_WAITING => {
                self.waiting.insert(key, change.clone());
            }
            None => {}
        }
        self.fill(change, container);
    }

    /// Asks again for the containers of those that had none when a change was about them; each is a change
    /// that is told once.
    pub async fn news(&mut self) -> Vec<Change> {
        let mut news = Vec::new();
        for (key, mut change) in std::mem::take(&mut self.waiting) {
            let Some((_, child)) = key_of(&change) else { continue };
            match self.containers.of(&child.place).await {
                Some(container) => {
                    self.known.insert(key, container.clone());
                    change.what = What::Container;
                    self.fill(&mut change, Some(container));
                    news.push(change);
                }
                None => drop(self.waiting.insert(key, change)),
            }
        }
        news
    }

    fn fill(&self, change: &mut Change, container: Option<Container>) {
        if let Subject::Child { child, .. } = &mut change.subject {
            child.container = container;
        }
    }
}

fn key_of(change: &Change) -> Option<(Key, &Child)> {
    match &change.subject {
        Subject::Child { master, child, .. } => Some(((*master, child.mac, child.place.nsid), child)),
        Subject::Device(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::netns::place::Place;

    fn change(what: What) -> Change {
        let place = Place { nsid: Some(1), label: None };
        let child = Child { place, ..Child::example("eth0", Mac::new([2, 0, 0, 0, 0, 1])) };
        Change { what, subject: Subject::Child { master: 2, link: "eno1".into(), child: Box::new(child) } }
    }

    #[tokio::test]
    async fn a_child_that_is_gone_has_the_name_it_had_and_only_once() {
        let mut names = ContainerNames::default();
        let mut added = change(What::Added);
        names.name(&mut added).await;
        assert_eq!((names.known.len(), names.waiting.len()), (0, 1));
        let (key, _) = key_of(&added).unwrap();
        let container = Container { engine: "docker", id: "c0ffee".into(), name: Some("w\x1beb".into()) };
        names.known.insert(key, container);
        for expected in [
            "\"eth0\" in container docker:w\\u{1b}eb (02:00:00:00:00:01, bridge) removed",
            "\"eth0\" (02:00:00:00:00:01, bridge) removed",
        ] {
            let mut removed = change(What::Removed);
            names.name(&mut removed).await;
            assert_eq!(removed.to_string(), format!("eno1: child {expected}"));
        }
        assert!(names.waiting.is_empty() && names.news().await.is_empty());
    }
}
