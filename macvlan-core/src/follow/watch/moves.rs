//! Devices on their way from one namespace to another: the events of leaving and of arriving come by
//! themselves, in either order, and with a time between when the device is nowhere.

use std::{collections::BTreeSet, time::Duration};

use tokio::time::Instant;

use crate::{
    follow::watch::{change::Change, device_move::DeviceMove, watcher::Watcher},
    kernel::netlink::events::changed::{DeviceKey, Events},
};

/// How long a device may be between two namespaces (`dev_change_net_namespace` waits for RCU).
const TRANSIT: Duration = Duration::from_secs(1);

/// How long the kernel may take to let go of a device that it said had left.
const DEPARTURE: Duration = Duration::from_millis(10);

impl Watcher {
    /// Takes note of who left, and forgets of whom the kernel has let go.
    pub(crate) fn depart(&mut self, events: &Events) {
        self.transit.retain(|device_move| !events.deleted.contains(&device_move.from));
        self.transit.extend(events.moved.iter().map(|(from, there)| {
            // The number of a third namespace is that of the one that the device left.
            if from.0.is_some() {
                return DeviceMove { there: Some(*there), ..DeviceMove::new(*from, None, DEPARTURE) };
            }
            self.inventory.departs(*from, *there);
            DeviceMove::new(*from, Some(*there), TRANSIT)
        }));
    }

    /// Takes the mark of a device that is ours along to a third namespace: once that has a number here, the kernel tells
    /// which device it is there.
    async fn arrive(&mut self, device_move: DeviceMove, changes: &mut Vec<Change>) {
        let (Some(left), Some((Some(nsid), index))) = (device_move.from.0, device_move.there) else { return };
        let Ok(numbers) = self.strict.nsids_of(left).await else { return };
        if let Some(here) = numbers.get(&nsid) {
            let to = (Some(*here), index);
            self.inventory.departs(device_move.from, to);
            self.refresh(&BTreeSet::from([to]), &Events::default(), changes).await;
        }
    }

    /// Whether a device that is not there will be accounted for later: it is on its way to another
    /// namespace, or the event that says where it went has not been read yet.
    pub(crate) fn is_leaving(&mut self, key: DeviceKey, events: &Events) -> bool {
        if self.transit.iter().any(|device_move| device_move.from == key) {
            return true;
        }
        let untold = self.inventory.holds(key) && !events.deleted.contains(&key);
        if untold {
            self.transit.push(DeviceMove::new(key, None, TRANSIT));
        }
        untold
    }

    /// Lets go of devices whose device_move to another namespace has ended, or takes too long. One that
    /// went nobody says where is looked for before.
    pub(crate) async fn land(&mut self, changes: &mut Vec<Change>) {
        let now = Instant::now();
        let mut landed = BTreeSet::new();
        for device_move in std::mem::take(&mut self.transit) {
            if self.inventory.has_arrived(device_move.from, device_move.to)
                || !self.inventory.holds(device_move.from)
            {
                self.arrive(device_move, changes).await;
                landed.insert(device_move.from);
            } else if now < device_move.until {
                self.transit.push(device_move);
            } else if device_move.searched {
                landed.insert(device_move.from);
            } else {
                self.lost = true;
                // On a busy machine looks are far apart: it is not given up before the next one.
                let until = self.next_look.max(now) + TRANSIT;
                self.transit.push(DeviceMove { until, searched: true, ..device_move });
            }
        }
        let told = Events { deleted: landed.clone(), ..Events::default() };
        self.refresh(&landed, &told, changes).await;
    }
}
