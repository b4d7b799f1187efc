//! One master that is followed: waited for, attached to, kept in step.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
    time::Duration,
};

use anyhow::{Context as _, Result};
use macvlan_common::{child::Policy, mac::Mac};
use tokio::time::Instant;

use super::{Note, Report, Wanted};
use crate::{
    apply::apply,
    attach,
    config::{Config, MasterConfig},
    datapath::{Datapath as _, Description, bpf, kernel::Kernel},
    detach,
    lock::Lock,
    master::Master,
    model::Child,
    netlink::Netlink,
    session::{self, Access, members},
    status,
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

struct Here {
    master: Master,
    /// What carries it, and whom that knows.
    description: Description,
    members: BTreeMap<Mac, Policy>,
    pins: Option<PathBuf>,
    /// Host access to be set with the next sync, whatever it was.
    overrides: BTreeMap<Mac, bool>,
    /// MACs that children had before those that they have now.
    former: BTreeMap<Mac, Mac>,
    /// Children whose rules are not known before their namespaces have names.
    nameless: BTreeSet<Mac>,
    /// When to bring the map to what the kernel has.
    due: Option<Instant>,
    /// The last thing that people were warned of: once is enough.
    warned: String,
}

impl Here {
    fn warn(&mut self, text: String, report: Report<'_>) {
        if self.warned != text {
            report(Note::Warning(text.clone()));
            self.warned = text;
        }
    }
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
        self.state = State::Here(Box::new(Here {
            overrides: overrides(&self.wanted, &watcher.children(master.index)),
            master,
            description: Kernel::new("not looked at yet").description().clone(),
            members: BTreeMap::new(),
            pins: None,
            former: BTreeMap::new(),
            nameless: BTreeSet::new(),
            due: Some(Instant::now()),
            warned: String::new(),
        }));
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
            Subject::Child { child, .. } => note_child(here, &self.wanted, &change.what, child),
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

    /// Looks without an event: a master that could not be attached to, a data path that changed.
    pub async fn check(&mut self, watcher: &Watcher, report: Report<'_>) {
        match &mut self.state {
            State::Waiting(_) => self.try_attach(watcher, report).await,
            State::Here(here) => here.due = Some(here.due.unwrap_or_else(Instant::now)),
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
        apply_late_rules(here, &self.wanted, watcher);
        let name = here.master.name.clone();
        match sync(here, watcher, report).await {
            Ok(Synced::Done) => here.due = None,
            Ok(Synced::Busy) => here.due = Some(Instant::now() + BUSY),
            Ok(Synced::Lost(reason)) => {
                here.warn(format!("{name}: attaching again: {reason}"), report);
                tallies.errors.count();
                if let Err(error) = self.attach(watcher, report).await {
                    report(Note::Warning(format!("{error:#}")));
                    self.state = State::Waiting(format!("{error:#}"));
                }
            }
            Err(error) => {
                tallies.errors.count();
                here.due = Some(Instant::now() + FAILED);
                here.warn(format!("{name}: {error:#}"), report);
            }
        }
    }

    /// Takes the data path off.
    pub async fn detach(&self) -> Result<()> {
        match &self.state {
            State::Here(here) => detach::detach(&here.master.name, false).await.map(drop),
            State::Waiting(_) => Ok(()),
        }
    }

    /// What onlookers see.
    pub fn view(&self, watcher: &Watcher) -> Option<MasterView> {
        let State::Here(here) = &self.state else { return None };
        let children = watcher.children(here.master.index);
        let status = status::compose(&here.master, None, &here.description, &here.members, &children);
        Some(MasterView { status, pins: here.pins.clone() })
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

/// Host access that the rules ask for.
fn overrides(wanted: &Wanted, children: &[&Child]) -> BTreeMap<Mac, bool> {
    let access = |child: &&Child| Some((child.mac, wanted.config.policies.host_access(child)?));
    children.iter().filter_map(access).collect()
}

/// A child that is new gets what the rules say; one that has another MAC keeps what it had.
fn note_child(here: &mut Here, wanted: &Wanted, what: &What, child: &Child) {
    match what {
        What::Added => {
            let access = wanted.config.policies.host_access(child);
            here.overrides.extend(access.map(|access| (child.mac, access)));
            if wanted.config.policies.ask_where() && child.place.nsid.is_some() && child.place.label.is_none()
            {
                here.nameless.insert(child.mac);
            }
        }
        What::Removed => {
            here.nameless.remove(&child.mac);
        }
        What::Readdressed(was) => {
            let first = here.former.remove(was).unwrap_or(*was);
            here.former.insert(child.mac, first);
        }
        _ => {}
    }
}

/// Rules about namespaces, for children whose namespaces have got their names since.
fn apply_late_rules(here: &mut Here, wanted: &Wanted, watcher: &Watcher) {
    if here.nameless.is_empty() {
        return;
    }
    for child in watcher.children(here.master.index) {
        if child.place.label.is_some() && here.nameless.remove(&child.mac) {
            let access = wanted.config.policies.host_access(child);
            here.overrides.extend(access.map(|access| (child.mac, access)));
        }
    }
}

/// Attaches, or brings the master and its children to what the configuration says; gives warnings.
async fn bring_about(wanted: &Wanted) -> Result<Vec<String>> {
    let MasterConfig { name, request, .. } = &wanted.config;
    if !wanted.configured {
        return Ok(attach::attach(name.as_str(), request).await?.warnings);
    }
    let config = Config { masters: vec![wanted.config.clone()], ..Config::default() };
    let mut outcome = apply(&config, Access::Change).await?;
    match outcome.failures.pop() {
        Some(failure) => Err(failure),
        None => Ok(outcome.warnings),
    }
}

enum Synced {
    /// The map is what the kernel has.
    Done,
    /// Another command is at work.
    Busy,
    /// The data path is of no use any more, and why.
    Lost(String),
}

async fn sync(here: &mut Here, watcher: &Watcher, report: Report<'_>) -> Result<Synced> {
    let Some(_lock) = Lock::try_take(&here.master)? else { return Ok(Synced::Busy) };
    let (attached, broken) = session::find_datapath(watcher.netlink(), &here.master).await;
    let mut bpf = match attached {
        Ok(bpf) => bpf,
        Err(reason) if broken => return Ok(Synced::Lost(reason)),
        Err(reason) => {
            if here.pins.take().is_some() {
                report(Note::Warning(format!("{}: another command has detached it", here.master.name)));
            }
            here.description = Kernel::new(reason).description().clone();
            here.members.clear();
            return Ok(Synced::Done);
        }
    };
    if bpf.is_traced_in_vain() {
        return Ok(Synced::Lost("a trace was killed and left its programs".into()));
    }
    let children = watcher.children(here.master.index);
    let present = bpf.members()?;
    for (now, was) in &here.former {
        if let Some(policy) = present.get(was) {
            here.overrides.entry(*now).or_insert(policy.host_access());
        }
    }
    let wanted = members(&children, &present, bpf.description().adopts, &here.overrides);
    let (wanted, left_out) = fit(wanted, &present, bpf.max_children() as usize);
    bpf.sync(&here.master, &wanted)?;
    here.overrides.clear();
    here.former.clear();
    if left_out > 0 {
        let text = format!(
            "{}: {left_out} children are beyond the maximum of {}: they run as plain kernel macvlan; \
             attach again with --max-children after a detach",
            here.master.name,
            bpf.max_children()
        );
        here.warn(text, report);
    }
    here.description = bpf.description().clone();
    here.pins = Some(bpf.pins().to_owned());
    here.members = wanted;
    Ok(Synced::Done)
}

/// As many as there is room for: those that are in already come first.
fn fit(
    wanted: BTreeMap<Mac, Policy>,
    present: &BTreeMap<Mac, Policy>,
    room: usize,
) -> (BTreeMap<Mac, Policy>, usize) {
    let left_out = wanted.len().saturating_sub(room);
    if left_out == 0 {
        return (wanted, 0);
    }
    let (old, new): (Vec<_>, Vec<_>) = wanted.into_iter().partition(|(mac, _)| present.contains_key(mac));
    (old.into_iter().chain(new).take(room).collect(), left_out)
}

/// Removes the pins of a master that is gone.
async fn clean_up(netlink: &Netlink, master: &Master) -> Result<()> {
    if let Some(_lock) = Lock::try_take(master)? {
        bpf::clean_up(netlink, master, true).await?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use macvlan_common::child::Mode;

    use super::*;

    #[test]
    fn where_room_is_short_those_inside_stay() {
        let policy = Policy::new(Mode::Bridge, true);
        let mac = |last| Mac::new([2, 0, 0, 0, 0, last]);
        let wanted: BTreeMap<Mac, Policy> = (1..=4).map(|last| (mac(last), policy)).collect();
        let present = BTreeMap::from([(mac(3), policy), (mac(4), policy)]);
        let (fitting, left_out) = fit(wanted.clone(), &present, 3);
        assert_eq!(fitting.into_keys().collect::<Vec<_>>(), [mac(1), mac(3), mac(4)]);
        assert_eq!(left_out, 1);
        assert_eq!(fit(wanted.clone(), &present, 4), (wanted, 0));
    }
}
