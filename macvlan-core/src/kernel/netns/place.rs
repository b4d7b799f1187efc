//! Where a child lives, as its master's namespace knows it, and the way there.

use anyhow::Result;

use crate::kernel::{
    netlink::Netlink,
    netns::{
        Netns, NetnsRef,
        known::{held_open, known},
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

/// How often to look for a namespace that is on its way from one process to another.
const TRIES: usize = 3;

/// The namespace with this id, found among those that have a name or a process, and those that processes keep open.
pub(crate) async fn open_held(netlink: &Netlink, nsid: i32) -> Result<Option<Netns>> {
    for _ in 0..TRIES {
        let mut escaped = false;
        for find in [known, held_open] {
            for known in find() {
                let Ok(netns) = known.open() else {
                    escaped = true;
                    continue;
                };
                if netlink.nsid_of(&netns).await? == Some(nsid) {
                    return Ok(Some(netns));
                }
            }
        }
        if !escaped {
            break;
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
    let Some(nsid) = place.nsid else { return Netns::current().map(Some) };
    match place.netns().map(|netns| netns.open()) {
        Some(Ok(netns)) => Ok(Some(netns)),
        // Who led there is gone; another may.
        Some(Err(error)) => open_held(netlink, nsid).await?.map_or(Err(error), |netns| Ok(Some(netns))),
        None => open_held(netlink, nsid).await,
    }
}
