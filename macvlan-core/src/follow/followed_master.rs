//! One master that is followed: waited for, attached to, kept in step.

use std::{collections::BTreeSet, time::Duration};

use anyhow::{Context as _, Result};
use tokio::time::Instant;

use crate::{
    commands::detach,
    discovery::{
        access::Access,
        masters::{find_link, find_master, missing},
    },
    follow::{
        attached_master::{AttachedMaster, Synced},
        attaching::{bring_about, obstacle, remove_pins},
        notes::{Note, Report},
        settings::WantedMaster,
        snapshot::{MasterSnapshot, Tallies, Waiting},
        watch::{
            change::{Change, Subject, What},
            watcher::Watcher,
        },
    },
    kernel::{
        lock::{Busy, Lock},
        netlink::events::changed::DeviceKey,
        netns::place::Place,
    },
    model::master_name::MasterName,
};

/// How long to leave a master to another command before trying again.
const BUSY: Duration = Duration::from_millis(10);

/// How long to leave a master that is to be attached to: that asks the kernel for more.
const BUSY_ATTACHING: Duration = Duration::from_millis(50);

/// How long to wait after a failure.
const FAILED: Duration = Duration::from_secs(1);

/// A master, there or not.
pub struct FollowedMaster {
    wanted: WantedMaster,
    /// The name of the device that is meant, once it was found: what is asked for may be the default route's, or another
    /// name of the device. It is kept to until it is gone, wherever that route leads meanwhile.
    found: Option<String>,
    state: State,
    /// When to attach as wanted, which another command was in the way of.
    held_up: Option<Instant>,
    /// The device, by its key, that no other run follows meanwhile.
    alone: Option<(String, Lock)>,
}

enum State {
    /// It is not there, is down, or cannot be attached to, and why.
    Waiting(String),
    /// It is there.
    Attached(Box<AttachedMaster>),
}

impl FollowedMaster {
    /// One that is not there yet.
    pub fn waiting(wanted: WantedMaster) -> Self {
        Self { wanted, found: None, state: State::Waiting(String::new()), held_up: None, alone: None }
    }

    /// Attaches, if the device is there and up.
    ///
    /// # Errors
    ///
    /// When it is, and cannot be attached to.
    pub async fn start(wanted: WantedMaster, watcher: &Watcher, report: Report<'_>) -> Result<Self> {
        let mut followed = Self::waiting(wanted);
        match followed.obstacle(watcher).await {
            Some(why) => followed.wait(why, report),
            None => match followed.attach(watcher, report).await {
                Err(error) if error.is::<Busy>() => followed.wait(format!("{error:#}"), report),
                other => other?,
            },
        }
        Ok(followed)
    }

    /// What it is asked for by.
    pub fn asked_for(&self) -> &MasterName {
        &self.wanted.config.name
    }

    /// The name of its device or, where that is not found, what it is asked for by.
    pub fn name(&self) -> &str {
        self.found.as_deref().unwrap_or(self.asked_for().as_str())
    }

    /// Whether its rules ask where children live, or whose.
    pub fn asks_where(&self) -> bool {
        let State::Attached(attached) = &self.state else { return false };
        let policies = &self.wanted.config.policies;
        policies.ask_where() || attached.asks_whose(policies)
    }

    /// Whether programs belong on devices of its children, now or once they come back.
    pub fn guards(&self) -> bool {
        matches!(&self.state, State::Attached(attached) if attached.guards())
    }

    /// Whether its wire carries one MAC.
    pub fn is_single(&self) -> bool {
        matches!(&self.state, State::Attached(attached) if attached.is_single())
    }

    /// Namespaces of children whose settings hang on whose they are.
    pub fn homes_wanted(&self, watcher: &Watcher) -> Vec<Place> {
        match &self.state {
            State::Attached(attached) if attached.asks_whose(&self.wanted.config.policies) => {
                let children = watcher.children(attached.master.index).into_iter();
                let others = children.filter(|child| child.place.nsid.is_some());
                others.map(|child| child.place.clone()).collect()
            }
            _ => Vec::new(),
        }
    }

    /// Takes notice of whose a namespace is.
    pub fn note_home(&mut self, nsid: i32, watcher: &Watcher) {
        if let State::Attached(attached) = &mut self.state {
            attached.note_home(&self.wanted.config.policies, nsid, watcher);
        }
    }

    /// Takes notice of why not everybody told whose namespaces are.
    pub fn note_silence(&mut self, why: Option<&str>) {
        if let State::Attached(attached) = &mut self.state {
            attached.silent = why.map(str::to_owned);
        }
    }

    /// Its index, while it is there.
    pub fn index(&self) -> Option<u32> {
        match &self.state {
            State::Attached(attached) => Some(attached.master.index),
            State::Waiting(_) => None,
        }
    }

    /// When the next sync is due that no event leads to.
    pub fn retry_at(&self) -> Option<Instant> {
        let due = match &self.state {
            State::Attached(attached) => attached.due,
            State::Waiting(_) => None,
        };
        due.into_iter().chain(self.held_up).min()
    }

    /// Whether a sync is due.
    pub fn needs_sync(&self, now: Instant) -> bool {
        self.retry_at().is_some_and(|due| now >= due)
    }

    /// Finds its device. Gives why it cannot be attached to now, though it may later.
    async fn obstacle(&mut self, watcher: &Watcher) -> Option<String> {
        if self.found.is_none() {
            let link = match find_link(watcher.netlink(), self.asked_for()).await {
                Ok(link) => link,
                Err(error) => return Some(format!("{error:#}")),
            };
            let Some(link) = link else { return Some(missing(self.asked_for()).into()) };
            self.found = Some(link.name);
        }
        obstacle(watcher, self.name())
    }

    fn wait(&mut self, why: String, report: Report<'_>) {
        if !matches!(&self.state, State::Waiting(before) if *before == why) {
            report(Note::Info(format!("{}: waiting: {why}", self.name())));
        }
        self.state = State::Waiting(why);
    }

    /// Makes sure that no other run follows the device of this name.
    async fn claim(&mut self, watcher: &Watcher) -> Result<()> {
        let name = self.name();
        // Attaching says what is wrong with it.
        let Ok(master) = find_master(watcher.netlink(), name).await else { return Ok(()) };
        let key = master.key.to_string();
        if self.alone.as_ref().is_none_or(|(claimed, _)| *claimed != key) {
            let lock = Lock::take_for_run(&master.key, name);
            let lock = lock.with_context(|| format!("cannot follow {name:?}"))?;
            self.alone = Some((key, lock));
        }
        Ok(())
    }

    async fn attach(&mut self, watcher: &Watcher, report: Report<'_>) -> Result<()> {
        self.claim(watcher).await?;
        let brought = bring_about(&self.wanted, self.name()).await;
        let is_busy = brought.as_ref().is_err_and(anyhow::Error::is::<Busy>);
        self.held_up = is_busy.then(|| Instant::now() + BUSY_ATTACHING);
        let name = self.name();
        for warning in brought? {
            report(Note::Warning(warning));
        }
        let master = find_master(watcher.netlink(), name).await;
        let master = master.with_context(|| format!("cannot follow {name:?}"))?;
        let asked_for = self.asked_for().as_str();
        let as_what = if name == asked_for { String::new() } else { format!(" as {asked_for:?}") };
        report(Note::Info(format!("{name}: attached{as_what}")));
        let request = &self.wanted.config.request;
        let adopts = request.options.over(request.at_first).adopt;
        let attached = AttachedMaster::new(master, &self.wanted.config.policies, adopts, watcher)?;
        self.state = State::Attached(Box::new(attached));
        Ok(())
    }

    /// Attaches, if the device is there and up; else, or if it fails, goes on waiting.
    async fn try_attach(&mut self, watcher: &Watcher, report: Report<'_>) {
        let was_held_up = self.held_up.take().is_some();
        if let Some(why) = self.obstacle(watcher).await {
            self.wait(why, report);
        } else if let Err(error) = self.attach(watcher, report).await {
            let why = format!("{error:#}");
            if error.is::<Busy>() && !was_held_up {
                return self.wait(why, report);
            }
            let is_told = matches!(&self.state, State::Waiting(before) if *before == why);
            if !is_told && !error.is::<Busy>() {
                report(Note::Warning(why.clone()));
            }
            self.state = State::Waiting(why);
        }
    }

    /// The same, for whatever device is meant by now.
    async fn find_and_attach(&mut self, watcher: &Watcher, report: Report<'_>) {
        self.found = None;
        self.try_attach(watcher, report).await;
    }

    /// Takes notice of a change.
    pub async fn note(&mut self, change: &Change, watcher: &Watcher, report: Report<'_>) {
        let State::Attached(attached) = &mut self.state else {
            if let Subject::Device(link) = &change.subject
                && link.name == self.name()
            {
                self.find_and_attach(watcher, report).await;
            }
            return;
        };
        if attached.master.index != change.master() {
            return;
        }
        attached.due = Some(Instant::now());
        match &change.subject {
            Subject::Child { child, .. } => {
                attached.addresses.forget(child.place.nsid);
                attached.note_child(&self.wanted.config.policies, &change.what, child, watcher);
            }
            Subject::Device(_) if change.what == What::Removed => {
                let master = std::mem::replace(&mut self.state, State::Waiting(String::new()));
                self.alone = None;
                if let State::Attached(attached) = master
                    && let Err(error) = remove_pins(watcher.netlink(), &attached.master).await
                {
                    report(Note::Warning(format!("{error:#}")));
                }
                // Another device may bear the name already.
                self.find_and_attach(watcher, report).await;
            }
            Subject::Device(link) => {
                attached.master.name.clone_from(&link.name);
                if self.wanted.config.name.is_default_route() {
                    self.found = Some(link.name.clone());
                }
                attached.master.mac = link.mac.unwrap_or(attached.master.mac);
                attached.master.mtu = link.mtu;
                attached.master.up = link.up;
                attached.master.carrier = link.carrier;
            }
        }
    }

    /// Takes notice of addresses that changed.
    pub fn note_addresses(&mut self, changed: &BTreeSet<DeviceKey>, watcher: &Watcher) {
        if let State::Attached(attached) = &mut self.state {
            attached.note_addresses(changed, watcher);
        }
    }

    /// Looks without an event: a master that could not be attached to, a data path that changed.
    pub async fn check(&mut self, watcher: &Watcher, report: Report<'_>) {
        match &mut self.state {
            State::Waiting(_) => self.find_and_attach(watcher, report).await,
            State::Attached(attached) => {
                // Of an address that a child had before anybody watched, no event told.
                attached.addresses.forget_all();
                attached.due = Some(attached.due.unwrap_or_else(Instant::now));
            }
        }
    }

    /// Follows with other settings.
    pub async fn change(&mut self, wanted: WantedMaster, watcher: &Watcher, report: Report<'_>) {
        self.wanted = wanted;
        if let State::Attached(attached) = &self.state
            && attached.master.name != self.name()
        {
            report(Note::Info(format!("{}: named {:?} now", self.name(), attached.master.name)));
            return;
        }
        self.attach_as_wanted(watcher, report).await;
    }

    /// Attaches, or tries to; what is attached goes on as it was where that fails.
    async fn attach_as_wanted(&mut self, watcher: &Watcher, report: Report<'_>) {
        let before = std::mem::replace(&mut self.state, State::Waiting(String::new()));
        if matches!(before, State::Waiting(_)) {
            return self.find_and_attach(watcher, report).await;
        }
        self.try_attach(watcher, report).await;
        if let (State::Waiting(_), State::Attached(attached)) = (&self.state, before) {
            self.state = State::Attached(attached);
        }
    }

    /// Brings the map to what the kernel has.
    pub async fn sync(&mut self, watcher: &Watcher, tallies: &Tallies, report: Report<'_>) {
        if self.held_up.is_some_and(|until| Instant::now() >= until) {
            self.attach_as_wanted(watcher, report).await;
        }
        let State::Attached(attached) = &mut self.state else { return };
        tallies.syncs.count();
        attached.apply_late_rules(&self.wanted.config.policies, watcher);
        let name = attached.master.name.clone();
        match attached.sync(&self.wanted.config.policies, watcher, report).await {
            Ok(Synced::Done) => attached.due = attached.due_again(),
            Ok(Synced::Unwanted) => {
                attached.due = attached.due_again();
                self.attach_as_wanted(watcher, report).await;
            }
            Ok(Synced::Busy) => attached.due = Some(Instant::now() + BUSY),
            Ok(Synced::Lost(reason)) => {
                attached.warn(format!("{name}: attaching again: {reason}"), report);
                tallies.errors.count();
                self.attach_again(watcher, report).await;
            }
            Err(error) => {
                tallies.errors.count();
                attached.due = Some(Instant::now() + FAILED);
                attached.warn(format!("{name}: {error:#}"), report);
            }
        }
    }

    /// Attaches where the data path is of no use any more. Where that fails, most likely because the
    /// device is gone and nobody has said so yet, its pins are removed and it is waited for.
    async fn attach_again(&mut self, watcher: &Watcher, report: Report<'_>) {
        let Err(error) = self.attach(watcher, report).await else { return };
        if error.is::<Busy>() {
            if let State::Attached(attached) = &mut self.state {
                attached.due = Some(Instant::now() + BUSY_ATTACHING);
            }
            return;
        }
        report(Note::Warning(format!("{error:#}")));
        let before = std::mem::replace(&mut self.state, State::Waiting(format!("{error:#}")));
        if let State::Attached(attached) = before
            && let Err(error) = remove_pins(watcher.netlink(), &attached.master).await
        {
            report(Note::Warning(format!("{error:#}")));
        }
    }

    /// Takes the data path off; gives the settings that are forgotten with it.
    ///
    /// # Errors
    ///
    /// Another command is at work on the master, or something does not come off.
    pub async fn detach(&self) -> Result<Vec<String>> {
        let State::Attached(attached) = &self.state else { return Ok(Vec::new()) };
        Ok(detach::detach(&attached.master.name, false, Access::Change).await?.forgotten)
    }

    /// What onlookers see: of one that is not there, why.
    pub fn view(&self, watcher: &Watcher) -> Result<MasterSnapshot, Waiting> {
        match &self.state {
            State::Attached(attached) => Ok(attached.view(watcher)),
            State::Waiting(why) => Err(Waiting { name: self.name().to_owned(), why: why.clone() }),
        }
    }
}
