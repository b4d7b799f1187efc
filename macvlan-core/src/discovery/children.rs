//! Finding every child of a master, in every network namespace.
//!
//! The kernel numbers a namespace (nsid) for the master's namespace when a device moves between
//! the two, but not when a child is made directly in it. So the namespaces that processes, `ip
//! netns` and container engines hold are asked one by one; one that holds a macvlan on a device of
//! the master's namespace is numbered then, and from there on answers like the others.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use anyhow::{Context, Result};
use macvlan_common::mac::Mac;

use crate::{
    datapath::bpf::hooks::child_pins::ChildPins,
    discovery::{access::Access, ports::HostEnds},
    kernel::{
        marks::Marks,
        netlink::{
            Netlink,
            link::{Link, ListOptions},
        },
        netns::{
            Netns, NetnsId,
            known::{Known, held_open, known},
            place::{Place, open_held},
        },
    },
    model::{child::Child, flood::FloodDevice, shim::Shim},
};

/// The children of every master in one namespace, and the way to theirs.
#[derive(Debug, Default)]
pub struct Observed {
    /// Children by the index of their master, in the order of their namespaces and indexes.
    pub children: BTreeMap<u32, Vec<Child>>,
    /// Our shims by the index of their master: no children of anybody's.
    pub shims: BTreeMap<u32, Vec<Shim>>,
    /// Our flood devices, likewise.
    pub floods: BTreeMap<u32, Vec<FloodDevice>>,
    places: BTreeMap<i32, Known>,
    /// Host ends of ports whose macvlans are gone.
    pub bereft: Vec<u32>,
}

impl Observed {
    /// The children of the master with this index.
    pub fn of(&self, master: u32) -> &[Child] {
        self.children.get(&master).map_or(&[], Vec::as_slice)
    }

    /// The shims of the master with this index: one, unless a run was killed.
    pub fn shims_of(&self, master: u32) -> &[Shim] {
        self.shims.get(&master).map_or(&[], Vec::as_slice)
    }

    /// The flood devices of the master with this index: one, unless a run was killed.
    pub fn floods_of(&self, master: u32) -> &[FloodDevice] {
        self.floods.get(&master).map_or(&[], Vec::as_slice)
    }

    /// Numbered namespaces that a path is known to.
    pub fn labels(&self) -> Vec<(i32, NetnsId, String)> {
        self.places.iter().map(|(nsid, known)| (*nsid, known.id, known.label.clone())).collect()
    }

    /// The namespace with this id, opened; `None` when no path to it is known.
    async fn open(&self, netlink: &Netlink, nsid: i32) -> Result<Option<Netns>> {
        match self.places.get(&nsid).and_then(|known| known.open().ok()) {
            Some(netns) => Ok(Some(netns)),
            None => open_held(netlink, nsid).await,
        }
    }

    /// A child's namespace, opened; `None` when no path to it is known.
    ///
    /// # Errors
    ///
    /// The namespace is gone, or may not be entered.
    pub async fn netns_at(&self, own: &Netlink, place: &Place) -> Result<Option<Netns>> {
        match place.nsid {
            None => Netns::current().map(Some),
            Some(nsid) => self.open(own, nsid).await,
        }
    }

    /// A socket in a child's namespace; `None` when no path to it is known.
    ///
    /// # Errors
    ///
    /// When the namespace cannot be entered.
    pub async fn netlink_at(&self, own: &Netlink, place: &Place) -> Result<Option<Netlink>> {
        match place.nsid {
            None => Ok(Some(own.clone())),
            Some(nsid) => self.open(own, nsid).await?.map(|netns| Netlink::open_in(&netns)).transpose(),
        }
    }
}

/// Stands for the id of a namespace that has none: negative as the kernel's own
/// (`NETNSA_NSID_NOT_ASSIGNED`), and another one for each.
fn stand_in(id: NetnsId) -> i32 {
    const MASK: u64 = (1 << 30) - 1;
    let low = i32::try_from(id.inode() & MASK).unwrap_or_default();
    -1 - low
}

/// Every macvlan and macvtap on a device of the calling thread's namespace. With
/// [`Access::Change`], namespaces that hold one are numbered.
///
/// # Errors
///
/// Netlink does not list the devices of this namespace; another one that vanishes meanwhile is passed over.
pub async fn find_children(netlink: &Netlink, access: Access) -> Result<Observed> {
    let own = Netns::current()?;
    let observed = look(netlink, &own, &known(), access).await?;
    if !observed.misses_some_of(&netlink.unicast_filters().await?) {
        return observed.proven(netlink).await;
    }
    // Somebody receives on a master and was not found: its namespace has neither a number nor a
    // name nor a process in it. It may still be held open.
    let namespaces: Vec<Known> = known().into_iter().chain(held_open()).collect();
    look(netlink, &own, &namespaces, access).await?.proven(netlink).await
}

async fn look(netlink: &Netlink, own: &Netns, namespaces: &[Known], access: Access) -> Result<Observed> {
    let mut observed = Observed::default();
    observed.visit(netlink, own, namespaces, access).await?;

    let mut host_ends = HostEnds::default();
    for link in netlink.links(ListOptions::default()).await? {
        host_ends.note(&link);
        // A master in the same namespace is told by its index alone.
        if link.lower_nsid.is_none() {
            observed.add(link, Place::default());
        }
    }
    for nsid in netlink.nsids().await? {
        let known = observed.places.get(&nsid);
        let place = Place { nsid: Some(nsid), label: known.map(|known| known.label.clone()) };
        // Asked about another namespace, the kernel numbers ours; asked inside it, nothing changes.
        let inside = match access {
            Access::Read => observed.open(netlink, nsid).await?,
            Access::Change => None,
        };
        let links = match inside {
            Some(netns) => children_inside(&netns, own).await.ok(),
            None => None,
        };
        let links = match links {
            Some(links) => links,
            // Also where we may not go inside; gone since it was listed, it holds nobody.
            None => children_of(netlink, own, nsid).await.unwrap_or_default(),
        };
        for link in links {
            observed.add(link, place.clone());
        }
    }
    let Observed { children, places, .. } = &mut observed;
    let label = |nsid| places.get(&nsid).map(|known| known.label.clone());
    host_ends.join(netlink, children.values_mut().flatten(), label).await;
    let ports = children.values().flatten().filter(|child| child.port.is_some());
    let macvlans = ports.map(|port| port.key().1).collect();
    observed.bereft = host_ends.bereft(netlink, &macvlans).await?;
    Ok(observed)
}

impl Observed {
    /// Whether a device lets a MAC in that is none of its known children's.
    fn misses_some_of(&self, filters: &BTreeMap<u32, Vec<Mac>>) -> bool {
        filters.iter().any(|(index, macs)| {
            let known = |mac: &Mac| {
                self.of(*index).iter().any(|child| child.mac == *mac)
                    || self.shims_of(*index).iter().any(|shim| shim.mac == *mac)
                    || self.floods_of(*index).iter().any(|flood| flood.mac == *mac)
            };
            !macs.iter().all(known)
        })
    }

    /// Tells which children are ours, and which are held to another MAC than their devices have.
    async fn proven(mut self, netlink: &Netlink) -> Result<Self> {
        let marks = Marks::open()?;
        let marked: BTreeSet<i32> =
            marks.all().unwrap_or_default().keys().filter_map(|(nsid, _)| *nsid).collect();
        let tags = self.tags(netlink, marked).await;
        for (master, children) in &mut self.children {
            for child in children.iter_mut() {
                let tag = child.place.nsid.and_then(|nsid| tags.get(&nsid));
                child.prove(&marks, *master, tag.map(String::as_str));
            }
            ChildPins::of(*master)?.hold(children);
        }
        Ok(self)
    }

    /// What tells these namespaces from others, for those that can be entered.
    async fn tags(&self, netlink: &Netlink, mut nsids: BTreeSet<i32>) -> BTreeMap<i32, String> {
        let mut tags = BTreeMap::new();
        let tag = |netns: Netns| netns.run(Netns::current_tag).ok();
        nsids.retain(|nsid| match self.places.get(nsid).and_then(|known| known.open().ok()) {
            Some(netns) => {
                tags.extend(tag(netns).map(|tag| (*nsid, tag)));
                false
            }
            None => true,
        });
        if nsids.is_empty() {
            return tags;
        }
        for netns in held_open().iter().filter_map(|known| known.open().ok()) {
            // It may be gone by now.
            let nsid = netlink.nsid_of(&netns).await.ok().flatten();
            if let Some(nsid) = nsid.filter(|nsid| nsids.remove(nsid)) {
                tags.extend(tag(netns).map(|tag| (nsid, tag)));
            }
        }
        tags
    }

    fn add(&mut self, link: Link, place: Place) {
        let Some(master) = link.lower else { return };
        if place.nsid.is_none()
            && let Some(shim) = Shim::from_link(&link)
        {
            self.shims.entry(master).or_default().push(shim);
        } else if place.nsid.is_none()
            && let Some(flood) = FloodDevice::from_link(&link)
        {
            self.floods.entry(master).or_default().push(flood);
        } else if let Some(child) = Child::from_link(link, place) {
            self.children.entry(master).or_default().push(child);
        }
    }
}

impl Observed {
    /// Finds the way to numbered namespaces, and children in those without a number.
    async fn visit(
        &mut self,
        netlink: &Netlink,
        own: &Netns,
        namespaces: &[Known],
        access: Access,
    ) -> Result<()> {
        let mut seen = HashSet::from([own.id()]);
        for known in namespaces.iter().filter(|known| seen.insert(known.id)) {
            let Ok(netns) = known.open() else { continue };
            let mut nsid = netlink.nsid_of(&netns).await?;
            if nsid.is_none() {
                let inside = match children_inside(&netns, own).await {
                    Ok(inside) if inside.is_empty() => continue,
                    Ok(inside) => inside,
                    // Where we may not go inside, its number lets us look from outside.
                    Err(_) if access == Access::Change => Vec::new(),
                    Err(_) => continue,
                };
                if access == Access::Change {
                    nsid = netlink.assign_nsid(&netns).await?;
                } else {
                    let place = Place { nsid: Some(stand_in(known.id)), label: Some(known.label.clone()) };
                    inside.into_iter().for_each(|link| self.add(link, place.clone()));
                }
            }
            self.places.extend(nsid.map(|nsid| (nsid, known.clone())));
        }
        Ok(())
    }
}

/// Children of masters in `own` that live in the namespace with this id.
async fn children_of(netlink: &Netlink, own: &Netns, nsid: i32) -> Result<Vec<Link>> {
    let mut links = netlink.links(ListOptions { nsid: Some(nsid) }).await?;
    // Asked only now: the first device that names our namespace gives it an id, if it had none.
    let own_id = netlink.nsid_of(own).await?;
    links.retain(|link| own_id.is_some() && own_id != Some(nsid) && link.lower_nsid == own_id);
    Ok(links)
}

/// Children of masters in `own` that live in a namespace, asked from inside it.
async fn children_inside(netns: &Netns, own: &Netns) -> Result<Vec<Link>> {
    let inside = Netlink::open_in(netns).context("cannot look into a namespace")?;
    let mut links = inside.links(ListOptions::default()).await?;
    links.retain(|link| link.is_child() && link.lower_nsid.is_some());
    if !links.is_empty() {
        let above = inside.nsid_of(own).await?;
        links.retain(|link| above.is_some() && link.lower_nsid == above);
    }
    Ok(links)
}
