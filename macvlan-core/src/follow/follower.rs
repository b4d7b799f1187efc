//! Follows masters until it is told to stop.

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant as Clock},
};

use anyhow::{Result, bail};
use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    sync::watch,
    time::{Instant, MissedTickBehavior, interval, sleep_until},
};

use crate::{
    commands::work::Work,
    discovery::{access::Access, homes::Told, masters::find_link},
    follow::{
        followed_master::FollowedMaster,
        notes::{Note, Report},
        privileges,
        service::ServiceManager,
        settings::{Reload, Settings, WantedMaster},
        snapshot::{Snapshot, Tallies},
        watch::{
            change::{Change, Subject},
            home_asker::HomeAsker,
            watcher::Watcher,
        },
    },
    kernel::{
        lock,
        netlink::{Netlink, events::changed::Events},
    },
};

/// How often to look whether everything is as it should be, without an event.
const CHECK: Duration = Duration::from_secs(5);

/// How long other commands are waited for in all before the data paths are taken off at the end: less than
/// whoever stops the service waits before it kills (systemd 90 s, Kubernetes 30 s, Docker 10 s).
const PARTING: Duration = Duration::from_secs(8);

/// Follows masters until it is told to stop.
pub struct Follower {
    watcher: Watcher,
    masters: Vec<FollowedMaster>,
    settings: Settings,
    tallies: Arc<Tallies>,
    views: watch::Sender<Arc<Snapshot>>,
    asker: HomeAsker,
}

impl Follower {
    /// Attaches to every master that is there and up; the others are waited for.
    ///
    /// # Errors
    ///
    /// A device that is there and up cannot be attached to, or netlink events are unavailable.
    pub fn start(settings: Settings, tallies: Arc<Tallies>, report: Report<'_>) -> Work<'_, Self> {
        Box::pin(Self::attach_all(settings, tallies, report))
    }

    async fn attach_all(settings: Settings, tallies: Arc<Tallies>, report: Report<'_>) -> Result<Self> {
        let watcher = Watcher::open(Access::Change).await?;
        let (views, _) = watch::channel(Arc::default());
        // A socket of its own, for questions that are open beside others.
        let asker = HomeAsker::new(Netlink::open()?);
        let mut follower = Self { watcher, masters: Vec::new(), settings, tallies, views, asker };
        refuse_twins(follower.watcher.netlink(), &follower.settings.masters).await?;
        for wanted in follower.settings.masters.clone() {
            follower.masters.push(FollowedMaster::start(wanted, &follower.watcher, report).await?);
        }
        // What attaching changed is known before anybody asks.
        let changes = follower.watcher.resync().await;
        follower.apply(&changes, report).await;
        Ok(follower)
    }

    /// Whether programs belong on devices of children, now or once they come back.
    pub fn guards(&self) -> bool {
        self.masters.iter().any(FollowedMaster::guards)
    }

    /// Whether the wire of a master carries one MAC.
    pub fn is_single(&self) -> bool {
        self.masters.iter().any(FollowedMaster::is_single)
    }

    /// What is known at any moment.
    pub fn views(&self) -> watch::Receiver<Arc<Snapshot>> {
        let views = self.views.subscribe();
        self.publish();
        views
    }

    /// Follows until SIGTERM or SIGINT.
    ///
    /// # Errors
    ///
    /// The socket of netlink events is broken.
    pub fn run<'a>(&'a mut self, reload: Reload<'a>, report: Report<'a>) -> Work<'a, ()> {
        Box::pin(self.follow_all(reload, report))
    }

    async fn follow_all(&mut self, reload: Reload<'_>, report: Report<'_>) -> Result<()> {
        let mut signals = Signals::catch()?;
        let mut check = interval(CHECK);
        check.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut manager = ServiceManager::new();
        manager.ready(self.summary());
        loop {
            let retry = self.masters.iter().filter_map(FollowedMaster::retry_at).min();
            tokio::select! {
                events = self.watcher.events() => self.follow(events?, report).await?,
                () = until(retry) => self.sync(report).await,
                told = self.asker.answers() => self.learn(told, report).await,
                _ = check.tick() => self.check(report).await,
                () = manager.watchdog() => {}
                _ = signals.reload.recv() => self.reload(reload, &manager, report).await,
                _ = signals.terminate.recv() => break,
                _ = signals.interrupt.recv() => break,
            }
        }
        manager.stopping();
        Ok(())
    }

    /// Takes the data path off every master, if that is wanted, and tells what is forgotten with it.
    ///
    /// # Errors
    ///
    /// The last failure, after all were tried: another command does not end, or something does not come off.
    /// Those before are warnings.
    pub fn stop(self, report: Report<'_>) -> Work<'_, ()> {
        Box::pin(self.detach_all(report))
    }

    async fn detach_all(self, report: Report<'_>) -> Result<()> {
        if !self.settings.detach_on_exit {
            return Ok(());
        }
        let deadline = Clock::now() + PARTING;
        let mut failure = None;
        for followed in &self.masters {
            match lock::until(deadline, followed.detach()).await {
                Ok(forgotten) if forgotten.is_empty() => {}
                Ok(forgotten) => report(Note::Forgotten(&forgotten)),
                Err(error) => {
                    if let Some(before) = failure.replace(error) {
                        report(Note::Warning(format!("{before:#}")));
                    }
                }
            }
        }
        failure.map_or(Ok(()), Err)
    }

    async fn follow(&mut self, events: Events, report: Report<'_>) -> Result<()> {
        let (events, changes) = self.watcher.digest(events).await?;
        self.tallies.events.add(events.count);
        self.tallies.malformed.add(events.malformed);
        if events.overrun {
            self.tallies.overruns.count();
            self.tallies.resyncs.count();
            report(Note::Warning(
                "the kernel had more events than could be held: looked at everything".into(),
            ));
        }
        if !events.addresses.is_empty() {
            self.masters
                .iter_mut()
                .for_each(|followed| followed.note_addresses(&events.addresses, &self.watcher));
        }
        self.apply(&changes, report).await;
        Ok(())
    }

    /// Brings every master to what changed, tells people, and shows it to onlookers.
    async fn apply(&mut self, changes: &[Change], report: Report<'_>) {
        for change in changes {
            for followed in &mut self.masters {
                followed.note(change, &self.watcher, report).await;
            }
        }
        if self.masters.iter().any(FollowedMaster::asks_where) {
            self.watcher.name_places().await;
        }
        self.sync(report).await;
        self.watcher.name_places().await;
        for change in changes {
            if self.concerns_us(change) {
                report(Note::Change(&self.watcher.named(change)));
            }
        }
    }

    fn concerns_us(&self, change: &Change) -> bool {
        let name = match &change.subject {
            Subject::Child { link, .. } => link,
            Subject::Device(link) => &link.name,
        };
        self.masters
            .iter()
            .any(|followed| followed.index() == Some(change.master()) || followed.name() == name)
    }

    /// Syncs every master that needs it.
    async fn sync(&mut self, report: Report<'_>) {
        let now = Instant::now();
        for followed in &mut self.masters {
            if followed.needs_sync(now) {
                followed.sync(&self.watcher, &self.tallies, report).await;
            }
        }
        let places = self.masters.iter().flat_map(|followed| followed.homes_wanted(&self.watcher)).collect();
        self.asker.wonder(places, &self.watcher.homes);
        self.publish();
    }

    /// Takes note of whose namespaces are, and settles what children may do by it.
    async fn learn(&mut self, told: Told, report: Report<'_>) {
        for (nsid, home) in told.homes {
            if self.watcher.homes.learn(nsid, home) {
                for followed in &mut self.masters {
                    followed.note_home(nsid, &self.watcher);
                }
            }
        }
        if !told.lost.is_empty() {
            self.watcher.name_places_anew(&told.lost).await;
        }
        for followed in &mut self.masters {
            followed.note_silence(told.silent.as_deref());
        }
        self.sync(report).await;
    }

    /// Looks whether anything went wrong without an event: programs taken off, map changed, children
    /// missed, masters that could not be attached to.
    async fn check(&mut self, report: Report<'_>) {
        let changes = self.watcher.check().await;
        for followed in &mut self.masters {
            followed.check(&self.watcher, report).await;
        }
        self.apply(&changes, report).await;
    }

    async fn reload(&mut self, reload: Reload<'_>, manager: &ServiceManager, report: Report<'_>) {
        manager.reloading();
        match reload() {
            Ok(settings) => {
                if privileges::lacks(&settings) {
                    let text = "children in other namespaces can be made after a restart only: \
                                the right to enter these was given up";
                    report(Note::Warning(text.into()));
                }
                self.take(settings, report).await;
            }
            Err(error) => report(Note::Warning(format!("the configuration stays as it was: {error:#}"))),
        }
        manager.ready(self.summary());
    }

    async fn take(&mut self, settings: Settings, report: Report<'_>) {
        let mut before = std::mem::take(&mut self.masters);
        for wanted in &settings.masters {
            let index = before.iter().position(|followed| *followed.asked_for() == wanted.config.name);
            let mut followed = match index {
                Some(index) => before.remove(index),
                None => FollowedMaster::waiting(wanted.clone()),
            };
            followed.change(wanted.clone(), &self.watcher, report).await;
            self.masters.push(followed);
        }
        for left in before {
            report(Note::Info(format!("{}: followed no more; its data path stays", left.name())));
        }
        self.settings = settings;
        self.sync(report).await;
    }

    fn summary(&self) -> String {
        let following = self.masters.iter().filter(|followed| followed.index().is_some()).count();
        format!("following {following} of {} devices", self.masters.len())
    }

    fn publish(&self) {
        if self.views.receiver_count() > 0 {
            let mut view = Snapshot::default();
            for followed in &self.masters {
                match followed.view(&self.watcher) {
                    Ok(master) => view.masters.push(master),
                    Err(waiting) => view.waiting.push(waiting),
                }
            }
            self.views.send_replace(Arc::new(view));
        }
    }
}

/// Refuses two names of one device: each would undo what the other one's settings say.
async fn refuse_twins(netlink: &Netlink, wanted: &[WantedMaster]) -> Result<()> {
    let mut by_index = BTreeMap::new();
    for name in wanted.iter().map(|wanted| &wanted.config.name) {
        if let Some(link) = find_link(netlink, name).await?
            && let Some(other) = by_index.insert(link.index, name)
        {
            bail!("cannot follow {name:?}: it is the same device as {other:?}");
        }
    }
    Ok(())
}

struct Signals {
    terminate: Signal,
    interrupt: Signal,
    reload: Signal,
}

impl Signals {
    fn catch() -> Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            reload: signal(SignalKind::hangup())?,
        })
    }
}

/// Until an instant; forever without one.
async fn until(instant: Option<Instant>) {
    match instant {
        Some(instant) => sleep_until(instant).await,
        None => std::future::pending().await,
    }
}
