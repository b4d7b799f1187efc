//! Where a child lives, as its master's namespace knows it, and the way there.

use anyhow::Result;

use crate::kernel::{
    netlink::Netlink,
    netns::{
        Netns, NetnsRef,
        known::{Known, held_open},
    },
};

/// A namespace as the master's namespace knows it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct Place {
    /// The id there; `None` is the master's own namespace.
    pub nsid: Option<i32>,
    /// A name or path, where one is known.
    pub label: Option<String>,
}

impl Place {
    /// The id that the kernel gave; `None` also where it gave none yet.
    pub fn number(&self) -> Option<i32> {
        self.nsid.filter(|nsid| *nsid >= 0)
    }

    /// How the namespace may be opened; `None` for the master's own, or where no path is known.
    pub fn netns(&self) -> Option<NetnsRef> {
        let label = self.label.as_ref()?;
        // Not parsed: a namespace may be named like a process id.
        match label.contains('/') {
            true => Some(NetnsRef::Path(label.into())),
            false => Some(NetnsRef::Name(label.clone())),
        }
    }
}

/// The namespace with this id, found among those that processes keep open.
pub(crate) async fn open_held(netlink: &Netlink, nsid: i32) -> Result<Option<Netns>> {
    for netns in held_open().iter().filter_map(open) {
        if netlink.nsid_of(&netns).await? == Some(nsid) {
            return Ok(Some(netns));
        }
    }
    Ok(None)
}

/// The namespace of a child of a master in the namespace of the calling thread; `None` when no path
/// to it is known.
///
/// # Errors
///
/// When it cannot be opened.
pub async fn open_place(netlink: &Netlink, place: &Place) -> Result<Option<Netns>> {
    match (place.nsid, place.netns()) {
        (None, _) => Netns::current().map(Some),
        (Some(_), Some(netns)) => netns.open().map(Some),
        (Some(nsid), None) => open_held(netlink, nsid).await,
    }
}

/// It may be gone by now, or another may be mounted at its name.
pub(crate) fn open(known: &Known) -> Option<Netns> {
    NetnsRef::Path(known.path.clone()).open().ok().filter(|netns| netns.id() == known.id)
}
