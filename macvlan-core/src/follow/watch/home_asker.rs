//! Asking whose namespaces are, beside everything else: an engine may take its time, or never answer.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use futures_util::future::LocalBoxFuture;
use tokio::time::{Instant, sleep_until};

use crate::{
    discovery::{
        containers::Containers,
        homes::{self, Told},
    },
    kernel::{netlink::Netlink, netns::place::Place},
    policy::home::{Home, Homes},
};

/// How long a namespace may be that of a container in the making, though nobody tells: its engine knows it once it
/// has started.
const MAKING: Duration = Duration::from_secs(5);

/// How long it is asked about whose nobody's namespace is, should its container have been slow.
const LATE: Duration = Duration::from_secs(60);

/// Shortest and longest time between two questions.
const PAUSES: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(30));

/// Asks, one question at a time.
pub struct HomeAsker {
    netlink: Netlink,
    /// `None` while a question is open.
    containers: Option<Containers>,
    question: Option<LocalBoxFuture<'static, (Containers, Told)>>,
    /// Since when each namespace is wondered about.
    since: BTreeMap<i32, Instant>,
    /// Since when everybody who knows answers, and names no container for it.
    nobodys: BTreeMap<i32, Instant>,
    wanted: Vec<Place>,
    next: Option<Instant>,
}

impl HomeAsker {
    /// One that has nothing to ask.
    pub fn new(netlink: Netlink) -> Self {
        Self {
            netlink,
            containers: Some(Containers::default()),
            question: None,
            since: BTreeMap::new(),
            nobodys: BTreeMap::new(),
            wanted: Vec::new(),
            next: None,
        }
    }

    /// These are the namespaces to wonder about, of which so much is known.
    pub fn wonder(&mut self, places: Vec<Place>, homes: &Homes) {
        let now = Instant::now();
        let is_there = |nsid: &i32| places.iter().any(|place| place.nsid == Some(*nsid));
        self.since.retain(|nsid, _| is_there(nsid));
        self.nobodys.retain(|nsid, _| is_there(nsid));
        let mut is_new = false;
        for nsid in places.iter().filter_map(|place| place.nsid) {
            self.since.entry(nsid).or_insert_with(|| {
                is_new = true;
                now
            });
        }
        let age = |place: &Place| self.since.get(&place.nsid.unwrap_or_default()).map(Instant::elapsed);
        let is_open = |place: &Place| match homes.of(place) {
            Home::Nobody => age(place).is_some_and(|age| age < LATE),
            home => !home.is_whole(),
        };
        self.wanted = places.into_iter().filter(is_open).collect();
        let youngest = self.wanted.iter().filter_map(|place| self.since.get(&place.nsid?)).max();
        let pause = youngest.map(|since| (since.elapsed() / 4).clamp(PAUSES.0, PAUSES.1));
        let due = pause.map(|pause| if is_new { now } else { now + pause });
        self.next = match (self.next, due) {
            (Some(next), Some(due)) if !is_new => Some(next.min(due)),
            (_, due) => due,
        };
    }

    /// Waits for the answers to what is to be asked next. May be dropped at any time without loss.
    pub async fn answers(&mut self) -> Told {
        loop {
            if let Some(question) = &mut self.question {
                let (containers, mut answers) = question.await;
                (self.question, self.containers) = (None, Some(containers));
                let nobodys = answers.homes.iter().filter(|(_, home)| *home == Home::Nobody);
                let nobodys: BTreeSet<i32> = nobodys.map(|(nsid, _)| *nsid).collect();
                self.nobodys.retain(|nsid, _| nobodys.contains(nsid));
                for nsid in nobodys {
                    self.nobodys.entry(nsid).or_insert_with(Instant::now);
                }
                answers.homes.retain(|(nsid, home)| *home != Home::Nobody || self.is_sure(*nsid));
                return answers;
            }
            match self.next {
                None => std::future::pending().await,
                Some(next) => sleep_until(next).await,
            }
            self.next = None;
            let (netlink, places) = (self.netlink.clone(), self.wanted.clone());
            let mut containers = self.containers.take().unwrap_or_default();
            self.question = Some(Box::pin(async move {
                let told = homes::ask(&mut containers, &netlink, places).await;
                (containers, told)
            }));
        }
    }

    fn is_sure(&self, nsid: i32) -> bool {
        self.nobodys.get(&nsid).is_some_and(|since| since.elapsed() >= MAKING)
    }
}
