//! Finding the child that a person means.

use std::net::IpAddr;

use anyhow::{Result, anyhow, bail};
use macvlan_common::mac::Mac;

use crate::{
    discovery::{containers::Containers, locked_master::LockedMaster, neighbours::Addresses},
    kernel::netns::{Netns, NetnsRef},
    model::{child::Child, child_name::ChildName, container::Container, printable::printable},
};

/// As many digits of a container's id as engines show.
const SHORT_ID: usize = 12;

/// The child that `name` names, by whatever it is known: its container (`web`, `docker:web`, or an id), its MAC,
/// one of its IP addresses, or its interface. `netns` tells between several: a namespace or a container.
///
/// # Errors
///
/// No child of the master is named so, or several are: then the error lists them.
pub async fn find_named(locked: &LockedMaster, name: &ChildName, netns: Option<&NetnsRef>) -> Result<Child> {
    let master = locked.master.name.as_str();
    let known = Known::of(locked, name.as_str()).await;
    let mut found: Vec<&Candidate<'_>> =
        known.candidates.iter().filter(|candidate| candidate.is_named(name.as_str())).collect();
    if let Some(netns) = netns {
        let place = known.place(locked, netns).await?;
        found.retain(|candidate| candidate.child.place.nsid == place);
    }
    match found.as_slice() {
        [one] => Ok(one.child.clone()),
        [] => bail!("{master:?} has no such child; see: macvlan-ctl child list {master}"),
        several => {
            let each: Vec<String> = several.iter().map(|candidate| candidate.describe()).collect();
            bail!(
                "{} children have that name; say which by its MAC, or with netns=: {}",
                several.len(),
                each.join("; ")
            )
        }
    }
}

/// The children of a master, and what they are known by.
struct Known<'locked> {
    candidates: Vec<Candidate<'locked>>,
}

struct Candidate<'locked> {
    child: &'locked Child,
    container: Option<Container>,
    addresses: Vec<IpAddr>,
}

impl<'locked> Known<'locked> {
    /// Addresses are looked up only where `text` is one.
    async fn of(locked: &'locked LockedMaster, text: &str) -> Self {
        let mut containers = Containers::default();
        let asked: Option<IpAddr> = text.parse().ok();
        let mut known = asked.and_then(|_| Addresses::open().ok());
        let mut candidates = Vec::new();
        for child in locked.children() {
            let nets = match &mut known {
                Some(known) => known.of_child(child).await,
                None => Vec::new(),
            };
            let addresses = nets.into_iter().map(|net| net.address).collect();
            let container = containers.of(&child.place).await;
            candidates.push(Candidate { child, container, addresses });
        }
        Self { candidates }
    }

    /// The id of the namespace that `netns` names, by itself or as a container's.
    async fn place(&self, locked: &LockedMaster, netns: &NetnsRef) -> Result<Option<i32>> {
        let master = locked.master.name.as_str();
        let opened = match netns.open() {
            Ok(opened) => opened,
            Err(error) => {
                let NetnsRef::Name(name) = netns else { return Err(error) };
                let of_container = |candidate: &&Candidate<'_>| candidate.is_in_container(name);
                let found = self.candidates.iter().find(of_container);
                return found.map(|candidate| candidate.child.place.nsid).ok_or(error);
            }
        };
        if opened.id() == Netns::current()?.id() {
            return Ok(None);
        }
        let nsid = locked.netlink.nsid_of(&opened).await?;
        nsid.map(Some).ok_or_else(|| anyhow!("no child of {master:?} is in that namespace"))
    }
}

impl Candidate<'_> {
    fn is_named(&self, text: &str) -> bool {
        self.child.name == text
            || text.parse::<Mac>().is_ok_and(|mac| mac == self.child.mac)
            || text.parse::<IpAddr>().is_ok_and(|address| self.addresses.contains(&address))
            || self.is_in_container(text)
    }

    fn is_in_container(&self, text: &str) -> bool {
        let Some(Container { engine, id, name }) = &self.container else { return false };
        let text = match text.split_once(':') {
            Some((prefix, rest)) if prefix == *engine => rest,
            _ => text,
        };
        name.as_deref() == Some(text) || text.len() >= SHORT_ID && id.starts_with(text)
    }

    /// "eth0 (02:00:00:00:00:01, docker:web)"; what a container chose cannot talk to the terminal.
    fn describe(&self) -> String {
        let Child { name, mac, place, .. } = self.child;
        let home = match (&self.container, &place.label) {
            (Some(container), _) => container.with_engine(),
            (None, Some(label)) => format!("namespace {}", printable(label)),
            (None, None) => "the master's namespace".to_owned(),
        };
        format!("{} ({mac}, {home})", printable(name))
    }
}
