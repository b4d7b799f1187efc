//! Finding every child of a master, in every network namespace.
//!
//! The kernel numbers a namespace (nsid) for the master's namespace when a device moves between
//! the two, but not when a child is made directly in it. So the namespaces that processes, `ip
//! netns` and container engines hold are asked one by one; one that holds a macvlan on a device of
//! the master's namespace is numbered then, and from there on answers like the others.

use std::collections::{BTreeMap, HashSet};

use anyhow::{Context, Result};

use macvlan_common::mac::Mac;

use crate::{
    model::{Child, Place},
    netlink::{
        Netlink,
        link::{Link, ListOptions},
    },
    netns::{Known, Netns, NetnsRef, held_open, known},
};

/// The children of every master in one namespace, and the way to theirs.
#[derive(Debug, Default)]
pub struct Observed {
    /// Children by the index of their master, in the order of their namespaces and indexes.
    pub children: BTreeMap<u32, Vec<Child>>,
    places: BTreeMap<i32, Known>,
}

impl Observed {
    /// The children of the master with this index.
    pub fn of(&self, master: u32) -> &[Child] {
        self.children.get(&master).map_or(&[], Vec::as_slice)
    }

    /// The namespace with this id, opened; `None` when no path to it is known.
    pub fn open(&self, nsid: i32) -> Option<Netns> {
        let known = self.places.get(&nsid)?;
        NetnsRef::Path(known.path.clone()).open().ok().filter(|netns| netns.id() == known.id)
    }

    /// A socket in a child's namespace; `None` when no path to it is known.
    ///
    /// # Errors
    ///
    /// When the namespace cannot be entered.
    pub fn netlink_at(&self, own: &Netlink, place: &Place) -> Result<Option<Netlink>> {
        match place.nsid {
            None => Ok(Some(own.clone())),
            Some(nsid) => self.open(nsid).map(|netns| Netlink::open_in(&netns)).transpose(),
        }
    }
}

/// Every macvlan and macvtap on a device of the calling thread's namespace.
///
/// # Errors
///
/// When the kernel refuses to tell of that namespace itself; another one that vanishes meanwhile
/// is passed over.
pub async fn children(netlink: &Netlink, stats: bool) -> Result<Observed> {
    let own = Netns::current()?;
    let observed = look(netlink, &own, &known(), stats).await?;
    if !observed.misses_some_of(&netlink.unicast_filters().await?) {
        return Ok(observed);
    }
    // Somebody receives on a master and was not found: its namespace has neither a number nor a
    // name nor a process in it. It may still be held open.
    let namespaces: Vec<Known> = known().into_iter().chain(held_open()).collect();
    look(netlink, &own, &namespaces, stats).await
}

async fn look(netlink: &Netlink, own: &Netns, namespaces: &[Known], stats: bool) -> Result<Observed> {
    let places = number_namespaces(netlink, own, namespaces).await?;
    let mut observed = Observed { places, ..Observed::default() };

    for link in netlink.links(ListOptions { nsid: None, stats }).await? {
        // A master in the same namespace is told by its index alone.
        if link.lower_nsid.is_none() {
            observed.add(link, Place::default());
        }
    }
    for nsid in netlink.nsids().await? {
        let Ok(links) = netlink.links(ListOptions { nsid: Some(nsid), stats }).await else { continue };
        // Asked only now: the first device that names our namespace gives it an id, if it had none.
        let own_id = netlink.nsid_of(own).await?;
        if own_id == Some(nsid) {
            continue;
        }
        let label = observed.places.get(&nsid).map(|known| known.label.clone());
        let place = Place { nsid: Some(nsid), label };
        for link in links {
            if own_id.is_some() && link.lower_nsid == own_id {
                observed.add(link, place.clone());
            }
        }
    }
    Ok(observed)
}

impl Observed {
    /// Whether a device lets a MAC in that is none of its known children's.
    fn misses_some_of(&self, filters: &BTreeMap<u32, Vec<Mac>>) -> bool {
        filters.iter().any(|(index, macs)| {
            let children = self.of(*index);
            macs.iter().any(|mac| children.iter().all(|child| child.mac != *mac))
        })
    }

    fn add(&mut self, link: Link, place: Place) {
        if let Some(master) = link.lower
            && let Some(child) = Child::from_link(link, place)
        {
            self.children.entry(master).or_default().push(child);
        }
    }
}

/// The namespaces that have a number and a path; numbers those that hold a child and have none.
async fn number_namespaces(
    netlink: &Netlink,
    own: &Netns,
    namespaces: &[Known],
) -> Result<BTreeMap<i32, Known>> {
    let mut numbered = BTreeMap::new();
    let mut seen = HashSet::from([own.id()]);
    for known in namespaces {
        if !seen.insert(known.id) {
            continue;
        }
        // It may be gone by now, or another may be mounted at its name.
        let Ok(netns) = NetnsRef::Path(known.path.clone()).open() else { continue };
        if netns.id() != known.id {
            continue;
        }
        let nsid = match netlink.nsid_of(&netns).await? {
            Some(nsid) => Some(nsid),
            None if holds_child(&netns, own).await.unwrap_or(false) => netlink.assign_nsid(&netns).await?,
            None => None,
        };
        numbered.extend(nsid.map(|nsid| (nsid, known.clone())));
    }
    Ok(numbered)
}

/// Whether a namespace without a number holds a child of a master in `own`, asked from inside it.
async fn holds_child(netns: &Netns, own: &Netns) -> Result<bool> {
    let inside = Netlink::open_in(netns).context("cannot look into a namespace")?;
    let links = inside.links(ListOptions::default()).await?;
    let below: HashSet<i32> =
        links.into_iter().filter(Link::is_child).filter_map(|link| link.lower_nsid).collect();
    if below.is_empty() {
        return Ok(false);
    }
    Ok(inside.nsid_of(own).await?.is_some_and(|id| below.contains(&id)))
}
