//! Hears what changes.

use std::{collections::BTreeSet, time::Duration};

use anyhow::Result;
use macvlan_common::port::Half;
use tokio::time::{Instant, sleep_until, timeout};

use crate::{
    discovery::{access::Access, ports},
    follow::watch::{
        change::{self, Subject},
        device_move::DeviceMove,
        inventory::Inventory,
        mark_keeper::MarkKeeper,
        namespace_names::NamespaceNames,
    },
    kernel::{
        netlink::{
            Netlink,
            events::{
                changed::{DeviceKey, Events},
                listen::EventSocket,
            },
            link::Link,
        },
        netns::place::Place,
    },
    model::{child::Child, flood::FloodDevice, port::Port, shim::Shim},
    policy::home::Homes,
};

pub use crate::follow::watch::change::{Change, What};

/// Events come in bursts, a dozen for one container: waiting this long makes one job of them.
const BURST: Duration = Duration::from_millis(3);

/// How long a master's announcement may wait for the event that explains it. A child that is
/// removed is announced at its master first, and goes after an RCU grace period.
const GRACE: Duration = Duration::from_millis(25);

/// Every child of every master of one namespace, kept up to date.
pub struct Watcher {
    pub(crate) netlink: Netlink,
    pub(crate) strict: Netlink,
    socket: EventSocket,
    pub(crate) access: Access,
    pub(crate) inventory: Inventory,
    pub(crate) names: NamespaceNames,
    /// Whose the namespaces are, as far as somebody asked.
    pub homes: Homes,
    /// Announcements of masters less the changes that explain them, and since when.
    pub(crate) unexplained: Option<(i64, Instant)>,
    /// A child is known to be somewhere that nobody told of.
    pub(crate) lost: bool,
    /// Devices that left for another namespace, where to, and until when they may take.
    pub(crate) transit: Vec<DeviceMove>,
    pub(crate) next_look: Instant,
    /// When to look at everything again, after that failed.
    pub(crate) resync_due: Option<Instant>,
}

impl Watcher {
    /// Looks at everything in the namespace of the calling thread; from then on nothing is missed.
    ///
    /// # Errors
    ///
    /// Netlink does not list the devices, or its events are unavailable.
    pub async fn open(access: Access) -> Result<Self> {
        let netlink = Netlink::open()?;
        let mut watcher = Self {
            strict: Netlink::open_strict()?,
            // Before the first look: what changes meanwhile is heard.
            socket: EventSocket::open()?,
            access,
            inventory: Inventory::new(MarkKeeper::open(access)),
            names: NamespaceNames::default(),
            homes: Homes::default(),
            unexplained: None,
            lost: false,
            transit: Vec::new(),
            next_look: Instant::now(),
            resync_due: None,
            netlink,
        };
        // An earlier run may have given it one.
        watcher.ask_own_nsid().await;
        watcher.look_at_everything().await?;
        Ok(watcher)
    }

    /// Waits for events, or until something is due. May be dropped at any time without loss.
    ///
    /// # Errors
    ///
    /// When the socket is broken.
    pub async fn events(&mut self) -> Result<Events> {
        match self.due() {
            None => self.socket.next().await,
            Some(due) => tokio::select! {
                events = self.socket.next() => events,
                () = sleep_until(due) => Ok(Events::default()),
            },
        }
    }

    fn due(&self) -> Option<Instant> {
        let overdue = self.unexplained.map(|(_, since)| since + GRACE);
        let look = if self.lost { Some(self.next_look) } else { overdue.map(|due| due.max(self.next_look)) };
        let arrival = self.transit.iter().map(|device_move| device_move.until).min();
        look.into_iter().chain(arrival).chain(self.resync_due).min()
    }

    /// Brings everything up to date, and gives what changed. What the kernel cannot tell now, for
    /// its tables change too fast, is asked for again soon.
    ///
    /// # Errors
    ///
    /// When the socket is broken.
    pub async fn digest(&mut self, mut events: Events) -> Result<(Events, Vec<Change>)> {
        if events.count > 0
            && let Ok(more) = timeout(BURST, rest_of_burst(&mut self.socket)).await
        {
            events.merge(more?);
        }
        let now = Instant::now();
        if events.overrun || self.resync_due.is_some_and(|due| now >= due) {
            return Ok((events, self.resync().await));
        }
        self.depart(&events);
        let mut changes = Vec::new();
        for nsid in &events.gone {
            self.names.forget(*nsid);
            self.homes.forget(*nsid);
            changes.extend(self.inventory.namespace_gone(*nsid));
        }
        let mut dirty: BTreeSet<DeviceKey> = events.devices.clone();
        dirty.extend(self.inventory.addressed(&events.addresses));
        self.refresh(&dirty, &events, &mut changes).await;
        for nsid in &events.numbered {
            self.read_namespace(*nsid, &mut changes).await;
        }
        self.explain(&events, &changes);
        self.land(&mut changes).await;
        let overdue = self.unexplained.is_some_and(|(_, since)| now >= since + GRACE);
        if (self.lost || overdue) && now >= self.next_look {
            self.look(&mut changes).await;
            self.land(&mut changes).await;
        }
        Ok((events, change::join_moves(changes)))
    }

    /// Asks for these devices as they are now.
    pub(crate) async fn refresh(
        &mut self,
        keys: &BTreeSet<DeviceKey>,
        events: &Events,
        changes: &mut Vec<Change>,
    ) {
        let with_addresses: BTreeSet<Option<i32>> =
            keys.iter().filter(|key| events.addresses.contains(key)).map(|(nsid, _)| *nsid).collect();
        let of_port = |key: &DeviceKey| self.inventory.macvlan_of_port(*key).map(|macvlan| (None, macvlan));
        let ports: BTreeSet<DeviceKey> = keys.iter().filter_map(of_port).collect();
        for key in keys.union(&ports) {
            let (nsid, index) = *key;
            // A namespace that is gone answers with an error; its devices went with it.
            let link = self.netlink.link_by_index(index, nsid).await.unwrap_or_default();
            if link.is_none() && self.is_leaving(*key, events) {
                continue;
            }
            let place = self.names.of(nsid);
            if let Some((master, port)) = self.port(nsid, &link).await {
                changes.extend(self.inventory.set_port(master, port));
                continue;
            }
            let own = self.own_nsid(&link).await;
            changes.extend(self.inventory.set(*key, link, place, own));
        }
        for nsid in with_addresses {
            let addresses = self.strict.addresses(nsid).await.unwrap_or_default();
            changes.extend(self.inventory.set_addresses(nsid, &addresses, keys));
        }
    }

    /// The port whose macvlan a link is, with its master.
    async fn port(&self, nsid: Option<i32>, link: &Option<Link>) -> Option<(u32, Child)> {
        let link = link.as_ref().filter(|_| nsid.is_none())?;
        let host_end = Port::of_macvlan(link)?.index_of(Half::HostEnd);
        let (master, mut child) = (link.lower?, Child::from_link(link.clone(), Place::default())?);
        let host_end = self.netlink.link_by_index(host_end, None).await.unwrap_or_default();
        ports::join(&self.netlink, &mut child, host_end.as_ref(), |nsid| self.names.of(Some(nsid)).label)
            .await;
        Some((master, child))
    }

    /// The number by which a numbered namespace's devices name ours. The kernel gives it when it
    /// first answers about such a device.
    pub(crate) async fn own_nsid(&mut self, link: &Option<Link>) -> Option<i32> {
        if self.inventory.own_nsid.is_none() && link.as_ref().is_some_and(|link| link.lower_nsid.is_some()) {
            self.ask_own_nsid().await;
        }
        self.inventory.own_nsid
    }

    async fn ask_own_nsid(&mut self) {
        let Ok(own) = crate::kernel::netns::Netns::current() else { return };
        self.inventory.own_nsid = self.netlink.nsid_of(&own).await.ok().flatten();
        self.socket.know_own(self.inventory.own_nsid);
    }

    /// Sets announcements of masters against the changes that explain them.
    fn explain(&mut self, events: &Events, changes: &[Change]) {
        let announced = events.announced.iter().filter(|index| self.inventory.is_master(**index)).count();
        let explained = changes.iter().filter(|change| change.explains_announcement()).count();
        let (balance, since) = self.unexplained.unwrap_or((0, Instant::now()));
        let balance = balance + announced as i64 - explained as i64;
        self.unexplained = (balance > 0).then_some((balance, since));
    }

    /// Finds names for the namespaces of children, where there are any yet without one.
    pub async fn name_places(&mut self) {
        if self.names.wants_names(self.inventory.nsids()) {
            self.names.find_names(&self.netlink).await;
            self.inventory.rename_places(&self.names);
        }
    }

    /// The same for these, also where none was found a moment ago, or one that leads nowhere now: something waits
    /// for it.
    pub async fn name_places_anew(&mut self, nsids: &[i32]) {
        self.names.hope(nsids);
        self.name_places().await;
    }

    /// The children of the master with this index.
    pub fn children(&self, master: u32) -> Vec<&Child> {
        self.inventory.children(master)
    }

    /// The devices of the watcher's own namespace that have children.
    pub fn masters(&self) -> impl Iterator<Item = &Link> {
        self.inventory.masters()
    }

    /// The shims of the master with this index: one, unless a run was killed.
    pub fn shims(&self, master: u32) -> Vec<Shim> {
        self.inventory.shims(master)
    }

    /// The flood devices of the master with this index: one, unless a run was killed.
    pub fn floods(&self, master: u32) -> Vec<FloodDevice> {
        self.inventory.floods(master)
    }

    /// The device of this index in the watcher's own namespace.
    pub fn device(&self, index: u32) -> Option<&Link> {
        self.inventory.device(index)
    }

    /// The device of this name in the watcher's own namespace.
    pub fn device_named(&self, name: &str) -> Option<&Link> {
        self.inventory.device_named(name)
    }

    /// A change with the name of the namespace it happened in, where that is known by now.
    pub fn named(&self, change: &Change) -> Change {
        let mut change = change.clone();
        if let Subject::Child { child, .. } = &mut change.subject
            && child.place.label.is_none()
        {
            child.place = self.names.of(child.place.nsid);
        }
        change
    }

    /// A socket in the watcher's own namespace.
    pub fn netlink(&self) -> &Netlink {
        &self.netlink
    }
}

/// Everything that comes within the time the caller gives.
async fn rest_of_burst(socket: &mut EventSocket) -> Result<Events> {
    tokio::time::sleep(BURST / 2).await;
    socket.next().await
}
