//! Devices on their way from one namespace to another: the events of leaving and of arriving come by
//! themselves, in either order, and with a time between when the device is nowhere.

use std::{collections::BTreeSet, time::Duration};

use tokio::time::Instant;

use super::{Watcher, change::Change};
use crate::netlink::events::{DeviceKey, Events};

/// How long a device may be between two namespaces (`dev_change_net_namespace` waits for RCU).
const TRANSIT: Duration = Duration::from_secs(1);

/// How long the kernel may take to let go of a device that it said had left.
const DEPARTURE: Duration = Duration::from_millis(10);

/// A device that left for another namespace.
#[derive(Debug, Clone, Copy)]
pub(super) struct Journey {
    pub(super) from: DeviceKey,
    /// Where to, if somebody said so.
    to: Option<DeviceKey>,
    /// How long it may take.
    pub(super) until: Instant,
    /// It was looked for.
    searched: bool,
}

impl Journey {
    fn new(from: DeviceKey, to: Option<DeviceKey>, patience: Duration) -> Self {
        Self { from, to, until: Instant::now() + patience, searched: to.is_some() }
    }
}

impl Watcher {
    /// Takes note of who left, and forgets of whom the kernel has let go.
    pub(super) fn depart(&mut self, events: &Events) {
        self.transit.retain(|journey| !events.deleted.contains(&journey.from));
        self.transit.extend(events.moved.iter().map(|(from, to)| {
            let patience = if to.is_some() { TRANSIT } else { DEPARTURE };
            Journey::new(*from, *to, patience)
        }));
    }

    /// Whether a device that is not there will be accounted for later: it is on its way to another
    /// namespace, or the event that says where it went has not been read yet.
    pub(super) fn is_leaving(&mut self, key: DeviceKey, events: &Events) -> bool {
        if self.transit.iter().any(|journey| journey.from == key) {
            return true;
        }
        let untold = self.world.holds(key) && !events.deleted.contains(&key);
        if untold {
            self.transit.push(Journey::new(key, None, TRANSIT));
        }
        untold
    }

    /// Lets go of devices whose journey to another namespace has ended, or takes too long. One that
    /// went nobody says where is looked for before.
    pub(super) async fn land(&mut self, changes: &mut Vec<Change>) {
        let now = Instant::now();
        let mut landed = BTreeSet::new();
        for journey in std::mem::take(&mut self.transit) {
            if self.world.has_arrived(journey.from, journey.to) || !self.world.holds(journey.from) {
                landed.insert(journey.from);
            } else if now < journey.until {
                self.transit.push(journey);
            } else if journey.searched {
                landed.insert(journey.from);
            } else {
                self.lost = true;
                // On a busy machine looks are far apart: it is not given up before the next one.
                let until = self.next_look.max(now) + TRANSIT;
                self.transit.push(Journey { until, searched: true, ..journey });
            }
        }
        let told = Events { deleted: landed.clone(), ..Events::default() };
        self.refresh(&landed, &told, changes).await;
    }
}
