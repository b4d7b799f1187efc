//! Planning children: everything is checked before anything is done.

use std::{
    collections::{HashMap, HashSet, hash_map::Entry},
    sync::Arc,
};

use anyhow::{Context, Result, bail};
use macvlan_common::child::Mode;

use crate::{
    discovery::locked_master::LockedMaster,
    kernel::{
        netlink::{macvlan::Change, sockets::Sockets},
        netns::{Netns, NetnsId, NetnsRef},
    },
    model::{
        child::Child,
        options::Isolation,
        spec::{ChildSpec, Settings},
    },
    plan::{
        addressing::Addressing,
        checks::{
            self, NAME_IS_TAKEN, check_kind, check_mac, check_mode, check_mtu, check_name, check_unplanned,
        },
        planned::{Differing, PlannedChild, Target},
    },
};

/// Checks every specification against the master, its children and each other. On a master whose isolation is strict, a
/// child that is to be made is strict unless it says what it is.
///
/// # Errors
///
/// The first that cannot be, by its name.
pub async fn plan_children(
    locked: &LockedMaster,
    specs: &[ChildSpec],
    differing: Differing,
    isolation: Isolation,
) -> Result<Vec<PlannedChild>> {
    let mut planned: Vec<PlannedChild> = Vec::new();
    let mut addressing = Addressing::new(differing);
    let mut namespaces = Namespaces::of(specs);
    for spec in specs {
        let checked = async {
            let mut child =
                plan_child(locked, spec, &planned, (differing, isolation), &mut namespaces).await?;
            addressing.narrow(&mut child, &mut namespaces.sockets).await?;
            Ok(child)
        };
        let verb = if differing == Differing::Refuse { "add" } else { "have" };
        let child: Result<PlannedChild> = checked.await;
        planned.push(child.with_context(|| format!("cannot {verb} child {:?}", spec.name.as_str()))?);
    }
    Ok(planned)
}

async fn plan_child(
    locked: &LockedMaster,
    spec: &ChildSpec,
    planned: &[PlannedChild],
    (differing, isolation): (Differing, Isolation),
    namespaces: &mut Namespaces,
) -> Result<PlannedChild> {
    let mut settings = spec.settings.clone();
    let netns = namespaces.open(settings.netns.as_ref())?;
    let target = namespaces.target(locked, &netns).await?;
    let name = spec.name.as_str();
    if planned.iter().any(|other| other.name == name && other.netns.id() == netns.id()) {
        bail!("it is given twice");
    }
    let is_it = |child: &&Child| child.name == name && target.holds(child, &netns);
    let found = locked.children().iter().find(is_it);
    let mut existing = found.filter(|child| !child.unfinished).cloned();
    let confirms = existing.as_ref().is_some_and(Child::only_claims);
    if let Some(child) = &mut existing {
        child.owned |= confirms;
    }
    let existing = existing.as_ref();
    let mut change = Change::default();
    if let Some(child) = existing {
        match differing {
            Differing::Refuse => check_same(child, &settings)?,
            Differing::Change => {
                change = checks::check(locked, child, &settings)?;
                check_unplanned(change.mac, planned)?;
            }
        }
    } else {
        if found.is_none() {
            namespaces.check_name(name, &netns).await?;
        }
        if isolation == Isolation::Strict && settings.say_nothing_of_isolation() {
            settings.isolate()?;
        }
        check_kind(&settings)?;
        check_mac(locked, &settings, planned)?;
        check_mtu(locked, settings.mtu)?;
        check_mode(locked, &settings, planned)?;
    }
    Ok(PlannedChild {
        name: name.to_owned(),
        kind: existing.map_or(settings.kind.unwrap_or_default(), |child| child.kind),
        mode: existing.map_or(settings.mode.unwrap_or(Mode::Bridge), |child| child.mode),
        netns,
        target,
        existing: existing.cloned(),
        confirms,
        change,
        addresses: settings.addresses.clone(),
        gateways: settings.gateways.clone(),
        settings,
    })
}

/// So many names of devices are looked for one by one: more, and all of a namespace are listed.
const FEW: usize = 4;

/// What is known of the namespaces of children: each is asked once.
#[derive(Default)]
struct Namespaces {
    sockets: Sockets,
    open: HashMap<Option<NetnsRef>, Arc<Netns>>,
    targets: HashMap<NetnsId, Target>,
    names: HashMap<NetnsId, HashSet<String>>,
    are_many: bool,
}

impl Namespaces {
    fn of(specs: &[ChildSpec]) -> Self {
        Self { are_many: specs.len() > FEW, ..Self::default() }
    }

    /// The namespace that a specification names: once, as a process may have a thousand files open and no more.
    fn open(&mut self, named: Option<&NetnsRef>) -> Result<Arc<Netns>> {
        if let Some(netns) = self.open.get(&named.cloned()) {
            return Ok(Arc::clone(netns));
        }
        let netns = Arc::new(named.map_or_else(Netns::current, NetnsRef::open)?);
        self.open.insert(named.cloned(), Arc::clone(&netns));
        Ok(netns)
    }

    async fn target(&mut self, locked: &LockedMaster, netns: &Netns) -> Result<Target> {
        if let Some(target) = self.targets.get(&netns.id()) {
            return Ok(*target);
        }
        let target = target(locked, netns).await?;
        self.targets.insert(netns.id(), target);
        Ok(target)
    }

    async fn check_name(&mut self, name: &str, netns: &Netns) -> Result<()> {
        let inside = self.sockets.at(netns)?;
        if !self.are_many {
            return check_name(name, &inside).await;
        }
        let names = match self.names.entry(netns.id()) {
            Entry::Occupied(entry) => entry.into_mut(),
            Entry::Vacant(entry) => entry.insert(inside.names().await?),
        };
        if names.contains(name) {
            bail!(NAME_IS_TAKEN);
        }
        Ok(())
    }
}

pub(crate) async fn target(locked: &LockedMaster, netns: &Netns) -> Result<Target> {
    if netns.id() == locked.master.netns.id() {
        return Ok(Target::Own);
    }
    Ok(Target::Other(locked.netlink.nsid_of(netns).await?))
}

/// One that is there already is kept, if it is what was asked for.
fn check_same(child: &Child, settings: &Settings) -> Result<()> {
    let differs = |what: &str, is: String, wanted: String| -> Result<()> {
        bail!("it exists with {what} {is}, not {wanted}; change it with: child set")
    };
    if let Some(kind) = settings.kind.filter(|kind| *kind != child.kind) {
        bail!("it exists as {}, not {}", child.kind.as_str(), kind.as_str());
    }
    if let Some(mode) = settings.mode.filter(|mode| *mode != child.mode) {
        return differs("mode", child.mode.as_str().into(), mode.as_str().into());
    }
    if let Some(mac) = settings.mac.filter(|mac| *mac != child.mac) {
        return differs("MAC", child.mac.to_string(), mac.to_string());
    }
    if let Some(mtu) = settings.mtu.filter(|mtu| *mtu != child.mtu) {
        return differs("MTU", child.mtu.to_string(), mtu.to_string());
    }
    if let Some(len) = settings.bcqueuelen
        && let Some(is) = child.bcqueuelen.filter(|is| *is != len)
    {
        return differs("bcqueuelen", is.to_string(), len.to_string());
    }
    if let Some(up) = settings.up.filter(|up| *up != child.up) {
        let word = |up| if up { "up" } else { "down" }.to_owned();
        return differs("state", word(child.up), word(up));
    }
    Ok(())
}
