//! What a command has done so far, and the way back: all of it or nothing.
//!
//! Whoever acts on children notes each step right before it is taken, as a request of which no answer came
//! may have been heeded. How the data path and the shims were is remembered when the journal begins: they
//! come back last, once the children are those of before. What cannot be taken back is done after the
//! journal is [closed](Journal::close).

use std::collections::{BTreeSet, HashMap};

use anyhow::{Context, Error, Result};

use crate::{
    datapath::{
        Datapath as _,
        bpf::step_back::Before,
        shim::{self, Remembered},
    },
    discovery::locked_master::LockedMaster,
    kernel::{
        marks::{DeviceKey, Mark, Marks},
        netlink::{Netlink, holdings::Holdings, ipnet::IpNet, kind::Kind, macvlan::Change, sockets::Sockets},
        netns::{Netns, NetnsId},
    },
    model::child::Child,
};

/// The steps of one command on one master.
pub struct Journal {
    /// The last one last.
    steps: Vec<Undo>,
    /// Devices that were made, by their namespace.
    made: HashMap<NetnsId, (Netlink, Vec<u32>)>,
    /// Devices that are marked as ours, and the mark that each had: made ones have none.
    marked: Vec<(DeviceKey, Option<Mark>)>,
    /// What namespaces held before something in them was changed.
    held: HashMap<NetnsId, Held>,
    sockets: Sockets,
    datapath: Option<Before>,
    shims: Remembered,
}

/// The way back of one step.
enum Undo {
    Change { inside: Netlink, index: u32, kind: Kind, was: Change },
    Address { inside: Netlink, index: u32, net: IpNet },
}

struct Held {
    inside: Netlink,
    before: Holdings,
    /// Devices that may have lost something.
    devices: BTreeSet<u32>,
}

impl Journal {
    /// Begins to write down what is done to a master, of which nothing has been changed yet.
    ///
    /// # Errors
    ///
    /// The kernel does not tell how the data path or a shim is.
    pub async fn begin(locked: &LockedMaster) -> Result<Self> {
        let datapath = match &locked.attached {
            Ok(bpf) => Some(bpf.remember()?),
            Err(_) => None,
        };
        Ok(Self {
            steps: Vec::new(),
            made: HashMap::new(),
            marked: Vec::new(),
            held: HashMap::new(),
            sockets: Sockets::default(),
            datapath,
            shims: shim::remember(locked.shims()).await?,
        })
    }

    /// A socket in a namespace, the same for all who ask.
    ///
    /// # Errors
    ///
    /// The namespace cannot be entered.
    pub fn socket(&mut self, netns: &Netns) -> Result<Netlink> {
        self.sockets.at(netns)
    }

    /// A device was made.
    pub(crate) fn made(&mut self, netns: &Netns, inside: &Netlink, index: u32) {
        self.made.entry(netns.id()).or_insert_with(|| (inside.clone(), Vec::new())).1.push(index);
    }

    /// A device with this mark, or none, is about to be marked as ours.
    pub(crate) fn marks(&mut self, key: DeviceKey, was: Option<Mark>) {
        self.marked.push((key, was));
    }

    /// A device of a child, the one with this index, is about to be changed.
    ///
    /// # Errors
    ///
    /// The kernel does not tell what its namespace holds.
    pub(crate) async fn changes(
        &mut self,
        netns: &Netns,
        index: u32,
        child: &Child,
        change: &Change,
    ) -> Result<()> {
        self.remember(netns).await?.devices.insert(index);
        let inside = self.sockets.at(netns)?;
        let was = change_back(child, change);
        self.steps.push(Undo::Change { inside, index, kind: child.kind, was });
        Ok(())
    }

    /// A child that was there before is about to get an address.
    ///
    /// # Errors
    ///
    /// Its namespace cannot be entered.
    pub(crate) fn adds_address(&mut self, netns: &Netns, index: u32, net: IpNet) -> Result<()> {
        let inside = self.sockets.at(netns)?;
        self.steps.push(Undo::Address { inside, index, net });
        Ok(())
    }

    /// It had that address: nothing was done.
    pub(crate) fn had_address(&mut self) {
        if let Some(Undo::Address { .. }) = self.steps.last() {
            self.steps.pop();
        }
    }

    /// A default route through a device that was there before is about to be set, whichever it replaces.
    ///
    /// # Errors
    ///
    /// The kernel does not tell what its namespace holds.
    pub(crate) async fn sets_default_route(&mut self, netns: &Netns, index: u32) -> Result<()> {
        self.remember(netns).await?.devices.insert(index);
        Ok(())
    }

    /// The same through a device that was made: what that holds goes with it.
    ///
    /// # Errors
    ///
    /// The kernel does not tell what its namespace holds.
    pub(crate) async fn sets_first_default_route(&mut self, netns: &Netns) -> Result<()> {
        self.remember(netns).await.map(drop)
    }

    /// Ends the journal: forgets the way back or, where the command failed, takes it. What could not be
    /// taken back is told with the error.
    ///
    /// # Errors
    ///
    /// The command failed.
    pub async fn close<T>(self, locked: &mut LockedMaster, outcome: Result<T>) -> Result<T> {
        match outcome {
            Ok(done) => Ok(done),
            Err(error) => Err(self.take_back(locked, error).await),
        }
    }

    async fn take_back(self, locked: &mut LockedMaster, error: Error) -> Error {
        let mut failed: Vec<Error> = Vec::new();
        for undo in self.steps.into_iter().rev() {
            failed.extend(undo.take().await.err());
        }
        for (inside, indexes) in self.made.into_values() {
            failed.extend(inside.delete_links(&indexes).await.err());
        }
        let unmark = |marks: Marks| {
            self.marked.iter().rev().try_for_each(|(key, was)| match was {
                Some(mark) => marks.set(*key, mark),
                None => marks.remove(*key),
            })
        };
        failed.extend(Marks::open().and_then(unmark).err());
        for Held { inside, before, devices } in self.held.into_values() {
            failed.extend(inside.give_back(&before, &devices).await);
        }
        match locked.observe().await {
            // One that was made, but no answer came.
            Ok(()) => failed.extend(locked.remove_unfinished().await.err()),
            Err(error) => failed.push(error),
        }
        let LockedMaster { netlink, master, observed, attached, .. } = locked;
        let children: Vec<&Child> = observed.of(master.index).iter().collect();
        match (attached, self.datapath) {
            (Ok(bpf), Some(before)) => failed.extend(bpf.step_back(master, &children, before).await),
            (Ok(bpf), None) => failed.extend(bpf.detach(master).await.err()),
            (Err(_), _) => {}
        }
        let put_back = shim::put_back(netlink, master, observed.shims_of(master.index), self.shims).await;
        failed.extend(put_back.err());
        if failed.is_empty() {
            return error;
        }
        let failed: Vec<String> = failed.iter().map(|error| format!("{error:#}")).collect();
        error.context(format!("not everything is as before ({})", failed.join("; ")))
    }

    async fn remember(&mut self, netns: &Netns) -> Result<&mut Held> {
        use std::collections::hash_map::Entry;
        match self.held.entry(netns.id()) {
            Entry::Occupied(entry) => Ok(entry.into_mut()),
            Entry::Vacant(entry) => {
                let inside = self.sockets.at(netns)?;
                let before = inside.holdings().await?;
                Ok(entry.insert(Held { inside, before, devices: BTreeSet::new() }))
            }
        }
    }
}

impl Undo {
    async fn take(self) -> Result<()> {
        match self {
            Self::Change { inside, index, kind, was } => {
                let changed = inside.change_child(index, kind, &was).await;
                changed.context("cannot change a child back")
            }
            Self::Address { inside, index, net } => inside.remove_address_if_there(index, net).await,
        }
    }
}

fn change_back(child: &Child, change: &Change) -> Change {
    Change {
        mode: change.mode.and(Some(child.mode)),
        mac: change.mac.and(Some(child.device_mac())),
        mtu: change.mtu.and(Some(child.mtu)),
        bcqueuelen: change.bcqueuelen.and(child.bcqueuelen),
        up: change.up.and(Some(child.up)),
    }
}
