//! The devices as they were last seen, and what is different about them now.

use std::collections::{BTreeMap, BTreeSet};

use macvlan_common::{
    mac::Mac,
    port::{Half, other_half, port_of},
};

use crate::{
    discovery::children::Observed,
    follow::watch::{
        change::{Change, Subject, What, differences},
        mark_keeper::MarkKeeper,
        namespace_names::NamespaceNames,
    },
    kernel::{
        netlink::{events::changed::DeviceKey, ipnet::IpNet, link::Link},
        netns::place::Place,
    },
    model::{child::Child, flood::FloodDevice, shim::Shim},
};

/// Devices of one namespace, and the children on them in all namespaces.
#[derive(Debug, Default)]
pub struct Inventory {
    /// The number by which answers about other namespaces name this one.
    pub own_nsid: Option<i32>,
    /// What tells which children are ours.
    marks: MarkKeeper,
    children: BTreeMap<DeviceKey, (u32, Child)>,
    devices: BTreeMap<u32, Link>,
    /// By their own index: our shims and the indexes of their masters.
    shims: BTreeMap<u32, (u32, Shim)>,
    /// Our flood devices, likewise.
    floods: BTreeMap<u32, (u32, FloodDevice)>,
}

impl Inventory {
    /// One that knows of nothing yet.
    pub fn new(marks: MarkKeeper) -> Self {
        Self { marks, ..Self::default() }
    }

    /// The macvlan that a device belongs to as part of a port, whichever it is.
    pub fn macvlan_of_port(&self, (nsid, index): DeviceKey) -> Option<u32> {
        let is_end = |child: &&Child| (child.place.nsid, child.index) == (nsid, index);
        let known = self.children.values().map(|(_, child)| child).filter(|child| child.port.is_some());
        match port_of(index).filter(|_| nsid.is_none()) {
            Some((_, Half::HostEnd)) => Some(other_half(index)),
            _ => known.clone().find(is_end).map(|port| port.key().1),
        }
    }

    /// A port is now so.
    pub fn set_port(&mut self, master: u32, port: Child) -> Vec<Change> {
        let key = port.key();
        let moved =
            |(_, before): &(u32, Child)| (before.place.nsid, before.index) != (port.place.nsid, port.index);
        let removed = if self.children.get(&key).is_some_and(moved) { self.remove_child(key) } else { None };
        removed.into_iter().chain(self.set_child(key, master, port)).collect()
    }

    /// A device is now as `link` says, or gone; gives what changed.
    pub fn set(&mut self, key: DeviceKey, link: Option<Link>, place: Place, own: Option<i32>) -> Vec<Change> {
        let (nsid, index) = key;
        if nsid.is_none() {
            self.shims.remove(&index);
        }
        let flood = link
            .as_ref()
            .filter(|_| nsid.is_none())
            .and_then(|link| link.lower.zip(FloodDevice::from_link(link)));
        if nsid.is_none() && (flood.is_some() || self.floods.contains_key(&index)) {
            return self.set_flood(index, flood);
        }
        let Some(link) = link else {
            let device = if nsid.is_none() { self.remove_device(index) } else { None };
            return device.into_iter().chain(self.remove_child(key)).collect();
        };
        if !link.is_child() {
            // An index may be used anew by a device of another kind.
            let mut changes: Vec<Change> = self.remove_child(key).into_iter().collect();
            if nsid.is_none() {
                changes.extend(self.set_device(link));
            }
            return changes;
        }
        let is_ours = match nsid {
            None => link.lower_nsid.is_none(),
            Some(nsid) => own.is_some() && own != Some(nsid) && link.lower_nsid == own,
        };
        if nsid.is_none()
            && let Some(shim) = link.lower.zip(Shim::from_link(&link))
        {
            self.shims.insert(index, shim);
            return self.remove_child(key).into_iter().collect();
        }
        match link.lower.filter(|_| is_ours).zip(Child::from_link(link, place)) {
            Some((master, mut child)) => {
                let before = self.children.get(&key).filter(|(above, _)| *above == master);
                self.marks.prove(master, &mut child, before.map(|(_, before)| before));
                self.set_child(key, master, child)
            }
            None => self.remove_child(key).into_iter().collect(),
        }
    }

    /// A flood device is now so, or gone: its master is to be looked at.
    fn set_flood(&mut self, index: u32, flood: Option<(u32, FloodDevice)>) -> Vec<Change> {
        let before = match flood.clone() {
            Some(flood) => self.floods.insert(index, flood),
            None => self.floods.remove(&index),
        };
        let masters: BTreeSet<u32> = match before == flood {
            true => BTreeSet::new(),
            false => before.iter().chain(&flood).map(|(master, _)| *master).collect(),
        };
        let links = masters.iter().filter_map(|master| self.devices.get(master));
        let about =
            |link: &Link| Change { what: What::Marked, subject: Subject::Device(Box::new(link.clone())) };
        links.map(about).collect()
    }

    fn set_child(&mut self, key: DeviceKey, master: u32, mut child: Child) -> Vec<Change> {
        self.take_number(key, master, child.mac);
        let before = self.children.get(&key).filter(|(above, _)| *above == master).map(|(_, child)| child);
        let Some(before) = before else {
            let mut changes: Vec<Change> = self.remove_child(key).into_iter().collect();
            self.children.insert(key, (master, child.clone()));
            changes.push(self.about(What::Added, master, child));
            return changes;
        };
        // What was finished once is: a container could shed its settings otherwise.
        child.unfinished &= before.unfinished || child.port.is_some();
        child.addresses.clone_from(&before.addresses);
        child.place.label = child.place.label.or_else(|| before.place.label.clone());
        let differences = differences(before, &child);
        self.children.insert(key, (master, child.clone()));
        differences.into_iter().map(|what| self.about(what, master, child.clone())).collect()
    }

    /// A child that was known in a namespace without a number is the same in one that has one now.
    fn take_number(&mut self, key: DeviceKey, master: u32, mac: Mac) {
        let unnumbered = self.children.range((Some(i32::MIN), 0)..(Some(0), 0));
        let is_same = |index: u32, above: u32, child: &Child| {
            (index, above, child.mac) == (key.1, master, mac) && key.0.is_some_and(|nsid| nsid >= 0)
        };
        let same = unnumbered.into_iter().find(|((_, index), (above, child))| is_same(*index, *above, child));
        if let Some(old) = same.map(|(old, _)| *old)
            && let Some((above, mut child)) = self.children.remove(&old)
        {
            child.place.nsid = key.0;
            self.children.insert(key, (above, child));
        }
    }

    fn remove_child(&mut self, key: DeviceKey) -> Option<Change> {
        let (master, child) = self.children.remove(&key)?;
        self.marks.forget(&child);
        Some(self.about(What::Removed, master, child))
    }

    fn set_device(&mut self, link: Link) -> Vec<Change> {
        let before = self.devices.insert(link.index, link.clone());
        let about = |what| Change { what, subject: Subject::Device(Box::new(link.clone())) };
        let Some(before) = before else { return vec![about(What::Added)] };
        let mut changes = Vec::new();
        if before.name != link.name {
            changes.push(about(What::Renamed(before.name.clone())));
        }
        if let Some(mac) = before.mac.filter(|mac| Some(*mac) != link.mac) {
            changes.push(about(What::Readdressed(mac)));
        }
        if before.mtu != link.mtu {
            changes.push(about(What::Mtu(before.mtu)));
        }
        if before.up != link.up {
            changes.push(about(if link.up { What::Up } else { What::Down }));
        }
        if before.carrier != link.carrier {
            changes.push(about(What::Marked));
        }
        changes
    }

    fn remove_device(&mut self, index: u32) -> Option<Change> {
        let link = self.devices.remove(&index)?;
        Some(Change { what: What::Removed, subject: Subject::Device(Box::new(link)) })
    }

    fn about(&self, what: What, master: u32, child: Child) -> Change {
        let link = self.devices.get(&master).map_or_else(|| format!("if{master}"), |link| link.name.clone());
        Change { what, subject: Subject::Child { master, link, child: Box::new(child) } }
    }

    /// A device leaves for another namespace: what is ours stays ours.
    pub fn departs(&self, from: DeviceKey, to: DeviceKey) {
        if let Some((master, child)) = self.children.get(&from) {
            self.marks.carry(*master, child, to);
        }
    }

    /// Every child of a namespace is gone.
    pub fn namespace_gone(&mut self, nsid: i32) -> Vec<Change> {
        let keys: Vec<DeviceKey> = self.children.keys().filter(|key| key.0 == Some(nsid)).copied().collect();
        keys.into_iter().filter_map(|key| self.remove_child(key)).collect()
    }

    /// Everything is now as observed.
    pub fn replace(&mut self, observed: Observed, links: Vec<Link>) -> Vec<Change> {
        let mut changes = Vec::new();
        let devices: BTreeSet<u32> = links.iter().map(|link| link.index).collect();
        for link in links.into_iter().filter(|link| !link.is_child()) {
            changes.extend(self.set_device(link));
        }
        let shims = observed.shims.into_iter();
        let shims = shims.flat_map(|(master, shims)| shims.into_iter().map(move |shim| (master, shim)));
        self.shims = shims.map(|(master, shim)| (shim.index, (master, shim))).collect();
        let floods = observed.floods.into_iter();
        let floods = floods.flat_map(|(master, all)| all.into_iter().map(move |flood| (master, flood)));
        let floods: BTreeMap<u32, _> = floods.map(|(master, flood)| (flood.index, (master, flood))).collect();
        let known: BTreeSet<u32> = self.floods.keys().chain(floods.keys()).copied().collect();
        for index in known {
            changes.extend(self.set_flood(index, floods.get(&index).cloned()));
        }
        let mut present = BTreeSet::new();
        for (master, children) in observed.children {
            for mut child in children {
                // What the kernel says, as events do.
                child.mac = child.device_mac();
                (child.other_mac, child.usurps, child.program_mac) = (None, false, None);
                child.is_deaf = false;
                let key = child.key();
                present.insert(key);
                // The number may be another namespace's by now: the old name says nothing.
                if let Some((_, before)) = self.children.get_mut(&key) {
                    before.place.label = None;
                }
                changes.extend(self.set_child(key, master, child));
            }
        }
        let gone: Vec<DeviceKey> =
            self.children.keys().filter(|key| !present.contains(key)).copied().collect();
        changes.extend(gone.into_iter().filter_map(|key| self.remove_child(key)));
        let lost: Vec<u32> = self.devices.keys().filter(|index| !devices.contains(index)).copied().collect();
        changes.extend(lost.into_iter().filter_map(|index| self.remove_device(index)));
        changes
    }

    /// Which of these devices are children.
    pub fn addressed<'a>(&'a self, keys: &'a BTreeSet<DeviceKey>) -> impl Iterator<Item = DeviceKey> + 'a {
        let is_of_port = |key: &DeviceKey| self.macvlan_of_port(*key).is_some();
        keys.iter().filter(move |key| self.children.contains_key(key) || is_of_port(key)).copied()
    }

    /// The children among `keys` in a namespace have these addresses now.
    pub fn set_addresses(
        &mut self,
        nsid: Option<i32>,
        addresses: &BTreeMap<u32, Vec<IpNet>>,
        keys: &BTreeSet<DeviceKey>,
    ) -> Vec<Change> {
        let mut changed = Vec::new();
        let is_one = |child: &Child| child.place.nsid == nsid && keys.contains(&(nsid, child.index));
        for (master, child) in self.children.values_mut().filter(|(_, child)| is_one(child)) {
            let now = addresses.get(&child.index).cloned().unwrap_or_default();
            if now != child.addresses {
                child.addresses = now;
                changed.push((*master, child.clone()));
            }
        }
        changed.into_iter().map(|(master, child)| self.about(What::Addresses, master, child)).collect()
    }

    /// How many children there are.
    pub fn len(&self) -> usize {
        self.children.len()
    }

    /// Whether this device is a known child.
    pub fn holds(&self, key: DeviceKey) -> bool {
        self.children.contains_key(&key)
    }

    /// Whether this device has children, or could have.
    pub fn is_master(&self, index: u32) -> bool {
        self.devices.get(&index).is_some_and(|link| !link.loopback && link.mac.is_some())
    }

    /// Whether a child that left is known where it went to or, if nobody said where, anywhere else.
    pub fn has_arrived(&self, from: DeviceKey, to: Option<DeviceKey>) -> bool {
        if let Some(to) = to {
            return self.holds(to);
        }
        let Some((master, child)) = self.children.get(&from) else { return false };
        let is_same = |key: DeviceKey, above: u32, other: &Child| {
            key != from && above == *master && other.mac == child.mac
        };
        self.children.iter().any(|(key, (above, other))| is_same(*key, *above, other))
    }

    /// The children of the master with this index.
    pub fn children(&self, master: u32) -> Vec<&Child> {
        self.children.values().filter(|(above, _)| *above == master).map(|(_, child)| child).collect()
    }

    /// The devices that have children.
    pub fn masters(&self) -> impl Iterator<Item = &Link> {
        let indexes: BTreeSet<u32> = self.children.values().map(|(master, _)| *master).collect();
        self.devices.values().filter(move |link| indexes.contains(&link.index))
    }

    /// The shims of the master with this index.
    pub fn shims(&self, master: u32) -> Vec<Shim> {
        self.shims.values().filter(|(above, _)| *above == master).map(|(_, shim)| shim.clone()).collect()
    }

    /// The flood devices of the master with this index.
    pub fn floods(&self, master: u32) -> Vec<FloodDevice> {
        self.floods.values().filter(|(above, _)| *above == master).map(|(_, flood)| flood.clone()).collect()
    }

    /// The device of this index.
    pub fn device(&self, index: u32) -> Option<&Link> {
        self.devices.get(&index)
    }

    /// The device of this name.
    pub fn device_named(&self, name: &str) -> Option<&Link> {
        self.devices.values().find(|link| link.name == name)
    }

    /// Whether a device lets a MAC in that is none of its known children's.
    pub fn misses_some_of(&self, filters: &BTreeMap<u32, Vec<Mac>>) -> bool {
        filters.iter().filter(|(index, _)| self.is_master(**index)).any(|(index, macs)| {
            let shims = self.shims(*index);
            let children = self.children(*index).into_iter().map(|child| child.mac);
            let floods = self.floods(*index).into_iter().map(|flood| flood.mac);
            let known: BTreeSet<Mac> =
                children.chain(shims.iter().map(|shim| shim.mac)).chain(floods).collect();
            macs.iter().any(|mac| !known.contains(mac))
        })
    }

    /// Namespaces that children are in.
    pub fn nsids(&self) -> impl Iterator<Item = i32> {
        self.children.values().filter_map(|(_, child)| child.place.nsid)
    }

    /// Gives children the names of their namespaces.
    pub fn rename_places(&mut self, names: &NamespaceNames) {
        for (_, child) in self.children.values_mut() {
            child.place = names.of(child.place.nsid);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_that_is_another_namespaces_after_lost_events_keeps_no_name() {
        let key = (Some(1), 7);
        let place = |label: Option<&str>| Place { nsid: Some(1), label: label.map(str::to_owned) };
        let child = |label| Child {
            index: 7,
            place: place(label),
            ..Child::example("web", Mac::new([2, 0, 0, 0, 0, 1]))
        };
        let observed = |label| {
            let mut observed = Observed::default();
            observed.children.insert(3, vec![child(label)]);
            observed
        };
        let mut inventory = Inventory::default();
        inventory.replace(observed(Some("web")), Vec::new());
        assert_eq!(inventory.children(3)[0].place, place(Some("web")));

        let changes = inventory.replace(observed(None), Vec::new());

        assert!(inventory.holds(key) && changes.is_empty());
        assert_eq!(inventory.children(3)[0].place, place(None));
    }
}
