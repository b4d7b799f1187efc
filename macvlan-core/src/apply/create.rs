//! Making planned children: a namespace at a time is looked into, not a child at a time, and requests do
//! not wait for each other's answers.

use std::collections::HashMap;

use anyhow::{Context as _, Result};
use nix::errno::Errno;

use crate::{
    apply::{create_port::create_ports, journal::Journal},
    discovery::locked_master::LockedMaster,
    kernel::{
        marks::{Mark, Marks},
        netlink::{
            Netlink, kernel_errno,
            kind::Kind,
            link::{Link, ListOptions},
            macvlan::{OWNER_ALIAS, UNFINISHED_GROUP},
        },
        netns::{Netns, NetnsId},
    },
    plan::planned::{PlannedChild, Target},
};

/// So many new devices of a namespace are looked for one by one: more, and all of it are listed.
const FEW: usize = 4;

/// Makes every planned child that is not there, and gives each its addresses.
///
/// # Errors
///
/// A name is taken, or the kernel refuses a child, an address or a gateway. What was made is in the
/// journal.
pub async fn create_all(
    locked: &LockedMaster,
    journal: &mut Journal,
    planned: &[PlannedChild],
) -> Result<()> {
    let children: Vec<&PlannedChild> = planned.iter().filter(|child| child.existing.is_none()).collect();
    let numbers = number_namespaces(locked, &children).await?;
    let (ports, children): (Vec<_>, Vec<_>) =
        children.into_iter().partition(|child| child.kind == Kind::Port);
    create_ports(locked, journal, &ports).await?;
    create(locked, journal, &children).await?;
    let mut by_namespace: HashMap<NetnsId, Vec<&PlannedChild>> = HashMap::new();
    let mut order = Vec::new();
    for child in children {
        let here = by_namespace.entry(child.netns.id()).or_insert_with(|| {
            order.push(child.netns.id());
            Vec::new()
        });
        here.push(child);
    }
    for (id, children) in order.iter().filter_map(|id| by_namespace.get_key_value(id)) {
        complete(locked, journal, children, numbers.get(id).copied()).await?;
    }
    Ok(())
}

/// So that children are found again, whoever holds their namespaces. Gives the numbers.
async fn number_namespaces(
    locked: &LockedMaster,
    children: &[&PlannedChild],
) -> Result<HashMap<NetnsId, i32>> {
    let mut numbered = HashMap::new();
    for child in children {
        if child.target != Target::Own && !numbered.contains_key(&child.netns.id()) {
            let number = locked.netlink.assign_nsid(&child.netns).await;
            let number = number.with_context(|| cannot_add(child))?;
            numbered.extend(number.map(|number| (child.netns.id(), number)));
        }
    }
    Ok(numbered)
}

async fn create(locked: &LockedMaster, journal: &mut Journal, children: &[&PlannedChild]) -> Result<()> {
    let wanted = children.iter().map(|child| (child.device(locked.master.index), child.netns.as_ref()));
    let mut wanted: Vec<_> = wanted.collect();
    while !wanted.is_empty() {
        let answers = locked.netlink.create_children(&wanted).await;
        let asked = answers.len();
        for ((new, netns), answer) in wanted.iter().zip(answers) {
            let Err(error) = answer else { continue };
            let cannot = || format!("cannot add child {:?}", new.name);
            if kernel_errno(&error) != Some(Errno::EEXIST) {
                return Err(error).with_context(cannot);
            }
            // The name may only be taken where the master is.
            let inside = journal.socket(netns)?;
            locked.netlink.create_child(new, netns, &inside).await.with_context(cannot)?;
        }
        // After one that was refused, the rest was not asked for.
        wanted.drain(..asked);
    }
    Ok(())
}

/// Finishes the children that were made in one namespace: marked before anybody takes them for finished.
async fn complete(
    locked: &LockedMaster,
    journal: &mut Journal,
    children: &[&PlannedChild],
    nsid: Option<i32>,
) -> Result<()> {
    let Some(first) = children.first() else { return Ok(()) };
    let netns = &first.netns;
    let inside = journal.socket(netns)?;
    let links = find(locked, &inside, children).await?;
    let indexes: Vec<u32> = links.iter().map(|link| link.index).collect();
    for index in &indexes {
        journal.made(netns, &inside, *index);
    }
    if nsid.is_some() {
        let (marks, namespace) = (Marks::open()?, netns.run(Netns::current_tag).ok());
        for link in &links {
            let (namespace, master) = (namespace.clone(), locked.master.index);
            let mac = link.mac.context("it has no MAC")?;
            let mark = Mark { namespace, master, mac, maker: OWNER_ALIAS.to_owned() };
            journal.marks((nsid, link.index), None);
            marks.set((nsid, link.index), &mark)?;
        }
    }
    let of = |index: u32| {
        let child = indexes.iter().zip(children).find(|(other, _)| **other == index);
        child.map_or_else(String::new, |(_, child)| cannot_add(child))
    };
    let wanted: Vec<_> = indexes
        .iter()
        .zip(children)
        .map(|(index, child)| (*index, child.settings.up.unwrap_or(true)))
        .collect();
    for (child, answer) in children.iter().zip(inside.finish_children(&wanted, OWNER_ALIAS).await) {
        answer.with_context(|| cannot_add(child))?;
    }
    let addresses = indexes.iter().zip(children);
    let addresses = addresses.flat_map(|(index, child)| child.addresses.iter().map(|net| (*index, *net)));
    let added = inside.add_addresses(&addresses.collect::<Vec<_>>()).await;
    added.map_err(|(index, error)| error.context(of(index)))?;
    for (index, child) in indexes.iter().zip(children) {
        for gateway in &child.gateways {
            journal.sets_first_default_route(netns).await?;
            inside.set_default_route(*index, *gateway).await.with_context(|| cannot_add(child))?;
        }
    }
    Ok(())
}

/// The devices that were just made.
async fn find(locked: &LockedMaster, inside: &Netlink, children: &[&PlannedChild]) -> Result<Vec<Link>> {
    let mut found: HashMap<String, Link> = HashMap::new();
    if children.len() > FEW {
        let ours = inside.links(ListOptions::default()).await?.into_iter().filter(|link| {
            link.is_child() && link.lower == Some(locked.master.index) && link.group == UNFINISHED_GROUP
        });
        found.extend(ours.map(|link| (link.name.clone(), link)));
    } else {
        for child in children {
            let link = inside.link_by_name(&child.name).await?;
            found.extend(link.map(|link| (link.name.clone(), link)));
        }
    }
    let mut link = |child: &&PlannedChild| {
        let link = found.remove(&child.name);
        link.context("it vanished while it was made").with_context(|| cannot_add(child))
    };
    children.iter().map(&mut link).collect()
}

fn cannot_add(child: &PlannedChild) -> String {
    format!("cannot add child {:?}", child.name)
}
