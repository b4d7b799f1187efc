//! What is to be there afterwards.

use std::{net::IpAddr, sync::Arc};

use macvlan_common::child::Mode;

use crate::{
    kernel::{
        netlink::{
            ipnet::IpNet,
            kind::Kind,
            macvlan::{Change, NewChild},
        },
        netns::Netns,
    },
    model::{child::Child, spec::Settings},
};

/// A child that is to be there afterwards.
#[derive(Debug)]
pub struct PlannedChild {
    /// Its name.
    pub name: String,
    /// Its kind.
    pub kind: Kind,
    /// Its mode.
    pub mode: Mode,
    /// What else was asked for.
    pub settings: Settings,
    /// Where it is to be.
    pub netns: Arc<Netns>,
    /// How the master's namespace knows that one.
    pub target: Target,
    /// The child as it is already.
    pub existing: Option<Child>,
    /// Its alias alone says that we made it: who names it confirms that.
    pub confirms: bool,
    /// What of the existing device is to change.
    pub change: Change,
    /// The addresses that it lacks.
    pub addresses: Vec<IpNet>,
    /// The gateways of the default routes that it lacks.
    pub gateways: Vec<IpAddr>,
}

/// Everything that is to be done about the children of one master.
#[derive(Debug, Default)]
pub struct Plan {
    /// Those that are to be there.
    pub children: Vec<PlannedChild>,
    /// Those of ours that are to go.
    pub doomed: Vec<Child>,
}

/// What to do about a child that is there, but not as asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Differing {
    /// Refuse.
    Refuse,
    /// Change it, when it is ours and the kernel can do that in place.
    Change,
}

/// A namespace as the master's namespace knows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Target {
    /// The master's own.
    Own,
    /// Another one, with its id; without one it holds no child yet.
    Other(Option<i32>),
}

impl Target {
    /// Whether `child` is in this namespace, which is `netns`.
    pub(crate) fn holds(self, child: &Child, netns: &Netns) -> bool {
        match (self, child.place.nsid) {
            (Self::Own, None) => true,
            (Self::Other(Some(id)), Some(nsid)) => id == nsid,
            (Self::Other(None), Some(_)) if child.place.number().is_none() => {
                child.place.netns().and_then(|own| own.id()) == Some(netns.id())
            }
            _ => false,
        }
    }
}

impl PlannedChild {
    /// The device that is to be made for it on the master with this index.
    pub fn device(&self, master: u32) -> NewChild<'_> {
        NewChild {
            master,
            name: &self.name,
            kind: self.kind,
            mode: self.mode,
            mac: self.settings.mac,
            mtu: self.settings.mtu,
            bcqueuelen: self.settings.bcqueuelen,
        }
    }

    /// Whether it is up and is to be down.
    pub fn is_taken_down(&self) -> bool {
        self.change.up == Some(false)
    }

    /// There already, and as it is to be.
    pub fn is_kept(&self) -> bool {
        self.existing.is_some()
            && !self.confirms
            && self.change.is_empty()
            && self.addresses.is_empty()
            && self.gateways.is_empty()
    }
}

/// Whether `child` is the one that is planned.
pub fn is_planned(planned: &PlannedChild, child: &Child) -> bool {
    planned.existing.as_ref().is_some_and(|existing| existing.is_same(child))
}
