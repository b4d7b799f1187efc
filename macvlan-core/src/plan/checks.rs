//! What a child can be on a master, beside the other children.

use anyhow::{Result, bail};
use macvlan_common::{child::Mode, mac::Mac};

use crate::{
    discovery::locked_master::LockedMaster,
    kernel::netlink::{Netlink, kind::Kind, macvlan::Change},
    model::{child::Child, spec::Settings},
    plan::planned::PlannedChild,
};

/// Smallest MTU of an Ethernet device (`ETH_MIN_MTU`).
const LEAST_MTU: u32 = 68;

/// The children that no killed run left half made: those are removed before anything is made.
fn finished(locked: &LockedMaster) -> impl Iterator<Item = &Child> {
    locked.children().iter().filter(|child| !child.unfinished)
}

/// Why a child cannot have a name.
pub(crate) const NAME_IS_TAKEN: &str = "another device of that name is in its namespace; choose another name";

pub(crate) async fn check_name(name: &str, inside: &Netlink) -> Result<()> {
    if inside.link_by_name(name).await?.is_some() {
        bail!(NAME_IS_TAKEN);
    }
    Ok(())
}

pub(crate) fn check_mac(locked: &LockedMaster, settings: &Settings, planned: &[PlannedChild]) -> Result<()> {
    let Some(mac) = settings.mac else { return Ok(()) };
    if settings.mode == Some(Mode::Passthru) {
        if mac != locked.master.mac {
            bail!(
                "MAC {mac} cannot be a passthru child's, which bears that of {:?}; leave it out",
                locked.master.name
            );
        }
        return Ok(());
    }
    if mac == locked.master.mac {
        bail!("MAC {mac} is that of {:?}; a child needs its own", locked.master.name);
    }
    if let Some(other) = finished(locked).find(|child| child.mac == mac) {
        bail!("MAC {mac} belongs to child {} already", other.title());
    }
    check_unplanned(Some(mac), planned)
}

pub(crate) fn check_unplanned(mac: Option<Mac>, planned: &[PlannedChild]) -> Result<()> {
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
pub fn check_mtu(locked: &LockedMaster, mtu: Option<u32>) -> Result<()> {
    let master = &locked.master;
    match mtu {
        Some(mtu) if mtu > master.mtu => {
            bail!("MTU {mtu} is above the {} of {:?}; raise that first", master.mtu, master.name)
        }
        Some(mtu) if mtu < LEAST_MTU => bail!("MTU {mtu} is below the least of {LEAST_MTU}"),
        _ => Ok(()),
    }
}

/// A port's macvlan has a MAC of its own.
pub(crate) fn check_kind(settings: &Settings) -> Result<()> {
    match settings.mode.filter(|mode| [Mode::Passthru, Mode::Source].contains(mode)) {
        Some(mode) if settings.kind == Some(Kind::Port) => {
            bail!("a port cannot be in mode {}: say bridge, vepa or private", mode.as_str())
        }
        _ => Ok(()),
    }
}

/// A passthru child allows no sibling.
pub(crate) fn check_mode(locked: &LockedMaster, settings: &Settings, planned: &[PlannedChild]) -> Result<()> {
    let master = &locked.master.name;
    let siblings = || finished(locked).map(|child| child.mode).chain(planned.iter().map(|child| child.mode));
    if siblings().any(|mode| mode == Mode::Passthru) {
        bail!("{master:?} has a passthru child, which allows no sibling; delete that first");
    }
    if settings.mode == Some(Mode::Passthru) && siblings().next().is_some() {
        bail!("a passthru child allows no sibling, and {master:?} has {}", siblings().count());
    }
    Ok(())
}

/// Why a device is not changed.
pub const NOT_OURS: &str = "macvlan-ctl did not make it; change the device with: ip link set";

/// What of `child` is to change so that it is as `settings` say, as far as the kernel can change
/// that in place.
///
/// # Errors
///
/// When it cannot, or somebody else made the child.
pub fn check(locked: &LockedMaster, child: &Child, settings: &Settings) -> Result<Change> {
    let change = Change {
        mode: settings.mode.filter(|mode| *mode != child.mode),
        mac: settings.mac.filter(|mac| [child.mac, child.device_mac()].iter().any(|is| is != mac)),
        mtu: settings.mtu.filter(|mtu| *mtu != child.mtu),
        // A kernel that does not tell its length cannot change it either (before 5.11).
        bcqueuelen: settings.bcqueuelen.filter(|len| child.bcqueuelen.is_some_and(|is| is != *len)),
        up: settings.up.filter(|up| *up != child.up),
    };
    if !change.is_empty() && !child.owned {
        bail!("{NOT_OURS}");
    }
    if change.mode.is_some() && [change.mode, Some(child.mode)].contains(&Some(Mode::Passthru)) {
        bail!("a child cannot become passthru or cease to be; delete it and add another");
    }
    check_kind(&Settings { mode: change.mode, kind: Some(child.kind), ..Settings::default() })?;
    if settings.kind.is_some_and(|kind| kind != child.kind) {
        bail!("the kind of a device cannot change; delete it and add another");
    }
    check_mtu(locked, change.mtu)?;
    if let Some(mac) = change.mac {
        if mac == locked.master.mac {
            bail!("MAC {mac} is that of {:?}; a child needs its own", locked.master.name);
        }
        if let Some(other) = locked.children().iter().find(|other| other.mac == mac && !other.is_same(child))
        {
            bail!("MAC {mac} belongs to child {} already", other.title());
        }
    }
    Ok(change)
}
