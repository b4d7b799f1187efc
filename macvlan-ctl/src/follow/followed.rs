//! One master that is followed: waited for, attached to, kept in step.

use std::{collections::BTreeSet, time::Duration};

use anyhow::{Context as _, Result};
use tokio::time::Instant;

use super::{
    Note, Report, Wanted,
    here::{Here, Synced},
};
use crate::{
    apply::apply,
    attach,
    config::Config,
    datapath::bpf,
    detach,
    lock::Lock,
    master::Master,
    netlink::{Netlink, events::DeviceKey},
    session::Access,
    view::{MasterView, Tallies},
    watch::{Change, Watcher, What, change::Subject},
};

/// How long to leave a master to another command before trying again.
const BUSY: Duration = Duration::from_millis(10);

/// How long to wait after a failure.
const FAILED: Duration = Duration::from_secs(1);

/// A master, there or not.
pub struct Followed {
    wanted: Wanted,
    state: State,
}

enum State {
    /// It is not there, is down, or cannot be attached to, and why.
    Waiting(String),
    /// It is there.
    Here(Box<Here>),
}

impl Followed {
    /// One that is not there yet.
    pub fn waiting(wanted: Wanted) -> Self {
        Self { wanted, state: State::Waiting(String::new()) }
    }

    /// Attaches, if the device is there and up.
    ///
    /// # Errors
    ///
    /// When it is, and cannot be attached to.
    pub async fn start(wanted: Wanted, watcher: &Watcher, report: Report<'_>) -> Result<Self> {
        let mut followed = Self::waiting(wanted);
        match obstacle(watcher, followed.name()) {
            Some(why) => followed.wait(why, report),
            None => followed.attach(watcher, report).await?,
        }
        Ok(followed)
    }

    /// Its name, as asked for.
    pub fn name(&self) -> &str {
        self.wanted.config.name.as_str()
    }

    /// Whether its rules ask where children live.
    pub fn asks_where(&self) -> bool {
        self.wanted.config.policies.ask_where()
    }

    /// Its index, while it is there.
    pub fn index(&self) -> Option<u32> {
        match &self.state {
            State::Here(here) => Some(here.master.index),
            State::Waiting(_) => None,
        }
    }

    /// When the next sync is due that no event leads to.
    pub fn retry_at(&self) -> Option<Instant> {
        match &self.state {
            State::Here(here) => here.due,
            State::Waiting(_) => None,
        }
    }

    /// Whether a sync is due.
    pub fn needs_sync(&self, now: Instant) -> bool {
        self.retry_at().is_some_and(|due| now >= due)
    }

    fn wait(&mut self, why: String, report: Report<'_>) {
        if !matches!(&self.state, State::Waiting(before) if *before == why) {
            report(Note::Info(format!("{}: waiting: {why}", self.name())));
        }
        self.state = State::Waiting(why);
    }

    async fn attach(&mut self, watcher: &Watcher, report: Report<'_>) -> Result<()> {
        let name = self.name();
        for warning in bring_about(&self.wanted).await? {
            report(Note::Warning(format!("{name}: {warning}")));
        }
        let master = Master::find(watcher.netlink(), name).await;
        let master = master.with_context(|| format!("cannot follow {name:?}"))?;
        report(Note::Info(format!("{name}: attached")));
        let adopts = !self.wanted.config.request.options.no_adopt;
        let here = Here::new(master, &self.wanted.config.policies, adopts, watcher)?;
        self.state = State::Here(Box::new(here));
        Ok(())
    }

    /// Attaches, if the device is there and up; else, or if it fails, goes on waiting.
    async fn try_attach(&mut self, watcher: &Watcher, report: Report<'_>) {
        if let Some(why) = obstacle(watcher, self.name()) {
            self.wait(why, report);
        } else if let Err(error) = self.attach(watcher, report).await {
            let why = format!("{error:#}");
            if !matches!(&self.state, State::Waiting(before) if *before == why) {
                report(Note::Warning(why.clone()));
            }
            self.state = State::Waiting(why);
        }
    }

    /// Takes notice of a change.
    pub async fn note(&mut self, change: &Change, watcher: &Watcher, report: Report<'_>) {
        let State::Here(here) = &mut self.state else {
            if let Subject::Device(link) = &change.subject
                && link.name == self.wanted.config.name.as_str()
            {
                self.try_attach(watcher, report).await;
            }
            return;
        };
        if here.master.index != change.master() {
            return;
        }
        here.due = Some(Instant::now());
        match &change.subject {
            Subject::Child { child, .. } => {
                here.addresses.forget(child.place.nsid);
                here.note_child(&self.wanted.config.policies, &change.what, child);
            }
            Subject::Device(_) if change.what == What::Removed => {
                let master = std::mem::replace(&mut self.state, State::Waiting(String::new()));
                if let State::Here(here) = master
                    && let Err(error) = clean_up(watcher.netlink(), &here.master).await
                {
                    report(Note::Warning(format!("{error:#}")));
                }
                // Another device may bear the name already.
                self.try_attach(watcher, report).await;
            }
            Subject::Device(link) => {
                here.master.name.clone_from(&link.name);
                here.master.mac = link.mac.unwrap_or(here.master.mac);
                here.master.mtu = link.mtu;
                here.master.up = link.up;
            }
        }
    }

    /// Takes notice of addresses that changed.
    pub fn note_addresses(&mut self, changed: &BTreeSet<DeviceKey>, watcher: &Watcher) {
        if let State::Here(here) = &mut self.state {
            here.note_addresses(changed, watcher);
        }
    }

    /// Looks without an event: a master that could not be attached to, a data path that changed.
    pub async fn check(&mut self, watcher: &Watcher, report: Report<'_>) {
        match &mut self.state {
            State::Waiting(_) => self.try_attach(watcher, report).await,
            State::Here(here) => {
                // Of an address that a child had before anybody watched, no event told.
                here.addresses.forget_all();
                here.due = Some(here.due.unwrap_or_else(Instant::now));
            }
        }
    }

    /// Follows with other settings.
    pub async fn change(&mut self, wanted: Wanted, watcher: &Watcher, report: Report<'_>) {
        self.wanted = wanted;
        if let State::Here(here) = &self.state
            && here.master.name != self.wanted.config.name.as_str()
        {
            report(Note::Info(format!("{}: named {:?} now", self.wanted.config.name, here.master.name)));
            return;
        }
        let before = std::mem::replace(&mut self.state, State::Waiting(String::new()));
        self.try_attach(watcher, report).await;
        if let (State::Waiting(_), State::Here(here)) = (&self.state, before) {
            // What is attached goes on as it was.
            self.state = State::Here(here);
        }
    }

    /// Brings the map to what the kernel has.
    pub async fn sync(&mut self, watcher: &Watcher, tallies: &Tallies, report: Report<'_>) {
        let State::Here(here) = &mut self.state else { return };
        tallies.syncs.count();
        here.apply_late_rules(&self.wanted.config.policies, watcher);
        let name = here.master.name.clone();
        match here.sync(watcher, report).await {
            Ok(Synced::Done) => here.due = None,
            Ok(Synced::Busy) => here.due = Some(Instant::now() + BUSY),
            Ok(Synced::Lost(reason)) => {
                here.warn(format!("{name}: attaching again: {reason}"), report);
                tallies.errors.count();
                self.attach_again(watcher, report).await;
            }
            Err(error) => {
                tallies.errors.count();
                here.due = Some(Instant::now() + FAILED);
                here.warn(format!("{name}: {error:#}"), report);
            }
        }
    }

    /// Attaches where the data path is of no use any more. Where that fails, most likely because the
    /// device is gone and nobody has said so yet, its pins are removed and it is waited for.
    async fn attach_again(&mut self, watcher: &Watcher, report: Report<'_>) {
        let Err(error) = self.attach(watcher, report).await else { return };
        report(Note::Warning(format!("{error:#}")));
        let before = std::mem::replace(&mut self.state, State::Waiting(format!("{error:#}")));
        if let State::Here(here) = before
            && let Err(error) = clean_up(watcher.netlink(), &here.master).await
        {
            report(Note::Warning(format!("{error:#}")));
        }
    }

    /// Takes the data path off.
    pub async fn detach(&self) -> Result<()> {
        match &self.state {
            State::Here(here) => detach::detach(&here.master.name, false, Access::Change).await.map(drop),
            State::Waiting(_) => Ok(()),
        }
    }

    /// What onlookers see.
    pub fn view(&self, watcher: &Watcher) -> Option<MasterView> {
        let State::Here(here) = &self.state else { return None };
        Some(here.view(watcher))
    }
}

/// Why a device cannot be attached to now, though it may later.
fn obstacle(watcher: &Watcher, name: &str) -> Option<String> {
    match watcher.device_named(name) {
        None => Some("no such device".into()),
        Some(link) if !link.up => Some("it is down".into()),
        Some(_) => None,
    }
}

/// Attaches, or brings the master and its children to what the configuration says; gives warnings.
async fn bring_about(wanted: &Wanted) -> Result<Vec<String>> {
    let mut master = wanted.config.clone();
    master.request.follows = true;
    if !wanted.configured {
        return Ok(attach::attach(master.name.as_str(), &master.request).await?.warnings);
    }
    let config = Config { masters: vec![master], ..Config::default() };
    let mut outcome = apply(&config, Access::Change).await?;
    match outcome.failures.pop() {
        Some(failure) => Err(failure),
        None => Ok(outcome.warnings),
    }
}

/// Removes the pins of a master that is gone.
async fn clean_up(netlink: &Netlink, master: &Master) -> Result<()> {
    if let Some(_lock) = Lock::try_take(master)?
        && bpf::incompatible(master).is_none()
    {
        bpf::clean_up(netlink, master, true).await?;
    }
    Ok(())
}
