//! What a command will do about children: everything is checked before anything is done.

use std::{collections::BTreeMap, net::IpAddr};

use anyhow::{Context, Result, bail};
use macvlan_common::{child::Mode, mac::Mac};

use crate::{
    addressing::Addressing,
    change,
    model::{Child, ChildSpec, Kind, Settings},
    netlink::{Netlink, address::IpNet, macvlan::Change, sockets::Sockets},
    netns::Netns,
    policy::PolicyChange,
    session::Session,
};

/// Smallest MTU of an Ethernet device (`ETH_MIN_MTU`).
const LEAST_MTU: u32 = 68;

/// A child that is to be there afterwards.
#[derive(Debug)]
pub struct PlannedChild {
    /// Its name.
    pub name: String,
    /// macvlan or macvtap.
    pub kind: Kind,
    /// Its mode.
    pub mode: Mode,
    /// What else was asked for.
    pub settings: Settings,
    /// Where it is to be.
    pub netns: Netns,
    /// How the master's namespace knows that one.
    pub target: Target,
    /// The child as it is already.
    pub existing: Option<Child>,
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
    fn holds(self, child: &Child, netns: &Netns) -> bool {
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
    /// There already, and as it is to be.
    pub fn is_kept(&self) -> bool {
        self.existing.is_some()
            && self.change.is_empty()
            && self.addresses.is_empty()
            && self.gateways.is_empty()
    }
}

/// Checks every specification against the master, its children and each other.
///
/// # Errors
///
/// The first that cannot be, by its name.
pub async fn plan_children(
    session: &Session,
    specs: &[ChildSpec],
    differing: Differing,
) -> Result<Vec<PlannedChild>> {
    let mut planned: Vec<PlannedChild> = Vec::new();
    let mut addressing = Addressing::new(differing);
    let mut sockets = Sockets::default();
    for spec in specs {
        let checked = async {
            let mut child = plan_child(session, spec, &planned, differing, &mut sockets).await?;
            addressing.narrow(&mut child, &mut sockets).await?;
            Ok(child)
        };
        let verb = if differing == Differing::Refuse { "add" } else { "have" };
        let child: Result<PlannedChild> = checked.await;
        planned.push(child.with_context(|| format!("cannot {verb} child {:?}", spec.name.as_str()))?);
    }
    Ok(planned)
}

/// Plans the changes of children that are there. One of which nothing but the policy changes is not among
/// the planned.
///
/// # Errors
///
/// The first that cannot be changed so, by its name.
pub async fn plan_changes(session: &Session, wanted: &[(Child, &Settings)]) -> Result<Vec<PlannedChild>> {
    let mut planned: Vec<PlannedChild> = Vec::new();
    let mut addressing = Addressing::new(Differing::Refuse);
    let mut sockets = Sockets::default();
    for (child, settings) in wanted {
        let checked = async {
            let Some(mut change) = plan_change(session, child, settings, &planned).await? else {
                return Ok(None);
            };
            addressing.narrow(&mut change, &mut sockets).await?;
            Ok(Some(change))
        };
        let change: Result<Option<PlannedChild>> = checked.await;
        planned.extend(change.with_context(|| format!("cannot change child {:?}", child.name))?);
    }
    Ok(planned)
}

async fn plan_change(
    session: &Session,
    child: &Child,
    settings: &Settings,
    planned: &[PlannedChild],
) -> Result<Option<PlannedChild>> {
    let change = change::check(session, child, settings)?;
    check_unplanned(change.mac, planned)?;
    if change.is_empty() && settings.addresses.is_empty() && settings.gateways.is_empty() {
        return Ok(None);
    }
    let netns = session.observed.netns_at(&session.netlink, &child.place).await?;
    Ok(Some(PlannedChild {
        name: child.name.clone(),
        kind: child.kind,
        mode: child.mode,
        settings: settings.clone(),
        netns: netns.context("no path to its network namespace is known")?,
        target: child.place.nsid.map_or(Target::Own, |_| Target::Other(child.place.number())),
        existing: Some(child.clone()),
        change,
        addresses: settings.addresses.clone(),
        gateways: settings.gateways.clone(),
    }))
}

async fn plan_child(
    session: &Session,
    spec: &ChildSpec,
    planned: &[PlannedChild],
    differing: Differing,
    sockets: &mut Sockets,
) -> Result<PlannedChild> {
    let settings = &spec.settings;
    let netns = match &settings.netns {
        Some(netns) => netns.open()?,
        None => Netns::current()?,
    };
    let target = target(session, &netns).await?;
    let name = spec.name.as_str();
    if planned.iter().any(|other| other.name == name && other.netns.id() == netns.id()) {
        bail!("it is given twice");
    }
    let is_it = |child: &&Child| child.name == name && target.holds(child, &netns);
    let found = session.children().iter().find(is_it);
    let existing = found.filter(|child| !child.unfinished);
    let mut change = Change::default();
    if let Some(child) = existing {
        match differing {
            Differing::Refuse => check_same(child, settings)?,
            Differing::Change => {
                change = change::check(session, child, settings)?;
                check_unplanned(change.mac, planned)?;
            }
        }
    } else {
        if found.is_none() {
            check_name(name, &sockets.at(&netns)?).await?;
        }
        check_mac(session, settings, planned)?;
        check_mtu(session, settings.mtu)?;
        check_mode(session, settings, planned)?;
    }
    Ok(PlannedChild {
        name: name.to_owned(),
        kind: existing.map_or(settings.kind.unwrap_or_default(), |child| child.kind),
        mode: existing.map_or(settings.mode.unwrap_or(Mode::Bridge), |child| child.mode),
        settings: settings.clone(),
        netns,
        target,
        existing: existing.cloned(),
        change,
        addresses: settings.addresses.clone(),
        gateways: settings.gateways.clone(),
    })
}

/// The children that no killed run left half made: those are removed before anything is made.
fn finished(session: &Session) -> impl Iterator<Item = &Child> {
    session.children().iter().filter(|child| !child.unfinished)
}

async fn target(session: &Session, netns: &Netns) -> Result<Target> {
    if netns.id() == session.master.netns.id() {
        return Ok(Target::Own);
    }
    Ok(Target::Other(session.netlink.nsid_of(netns).await?))
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

async fn check_name(name: &str, inside: &Netlink) -> Result<()> {
    if inside.link_by_name(name).await?.is_some() {
        bail!("another device of that name is in its namespace; choose another name");
    }
    Ok(())
}

fn check_mac(session: &Session, settings: &Settings, planned: &[PlannedChild]) -> Result<()> {
    let Some(mac) = settings.mac else { return Ok(()) };
    if settings.mode == Some(Mode::Passthru) {
        if mac != session.master.mac {
            bail!(
                "MAC {mac} cannot be a passthru child's, which bears that of {:?}; leave it out",
                session.master.name
            );
        }
        return Ok(());
    }
    if mac == session.master.mac {
        bail!("MAC {mac} is that of {:?}; a child needs its own", session.master.name);
    }
    if let Some(other) = finished(session).find(|child| child.mac == mac) {
        bail!("MAC {mac} belongs to child {} already", other.title());
    }
    check_unplanned(Some(mac), planned)
}

fn check_unplanned(mac: Option<Mac>, planned: &[PlannedChild]) -> Result<()> {
    let Some(mac) = mac else { return Ok(()) };
    if let Some(other) = planned.iter().find(|other| other.settings.mac == Some(mac)) {
        bail!("MAC {mac} is also asked for by child {:?}", other.name);
    }
    Ok(())
}

/// Refuses an MTU that a child of this master cannot have.
///
/// # Errors
///
/// When it is one.
pub fn check_mtu(session: &Session, mtu: Option<u32>) -> Result<()> {
    let master = &session.master;
    match mtu {
        Some(mtu) if mtu > master.mtu => {
            bail!("MTU {mtu} is above the {} of {:?}; raise that first", master.mtu, master.name)
        }
        Some(mtu) if mtu < LEAST_MTU => bail!("MTU {mtu} is below the least of {LEAST_MTU}"),
        _ => Ok(()),
    }
}

/// A passthru child suffers no sibling.
fn check_mode(session: &Session, settings: &Settings, planned: &[PlannedChild]) -> Result<()> {
    let master = &session.master.name;
    let siblings = finished(session).map(|child| child.mode).chain(planned.iter().map(|child| child.mode));
    let siblings: Vec<Mode> = siblings.collect();
    if siblings.contains(&Mode::Passthru) {
        bail!("{master:?} has a passthru child, which suffers no sibling; delete that first");
    }
    if settings.mode == Some(Mode::Passthru) && !siblings.is_empty() {
        bail!("a passthru child suffers no sibling, and {master:?} has {}", siblings.len());
    }
    Ok(())
}

/// What was asked for of each child's policy, by MAC, once every planned child is there.
///
/// # Errors
///
/// When the kernel refuses to tell of a namespace.
pub async fn policies(session: &Session, planned: &[PlannedChild]) -> Result<BTreeMap<Mac, PolicyChange>> {
    let mut policies = BTreeMap::new();
    for wanted in planned {
        let policy = wanted.settings.policy;
        if policy.is_empty() {
            continue;
        }
        let target = target(session, &wanted.netns).await?;
        let child = session
            .children()
            .iter()
            .find(|child| child.name == wanted.name && target.holds(child, &wanted.netns));
        policies.extend(child.map(|child| (child.mac, policy)));
    }
    Ok(policies)
}
