//! Changing children in place.

use anyhow::{Context, Result};
use macvlan_common::port::Half;

use crate::{
    apply::journal::Journal,
    datapath::bpf::hooks::child_pins::ChildPins,
    discovery::locked_master::LockedMaster,
    kernel::{
        marks::Marks,
        netlink::{
            macvlan::{Change, OWNER_ALIAS},
            sockets::Sockets,
        },
        netns::Netns,
    },
    model::child::Child,
    plan::planned::PlannedChild,
};

/// Marks the planned children that are there and bear our alias alone: who names them confirms it.
///
/// # Errors
///
/// A device is gone, or a mark cannot be made.
pub async fn confirm_all(
    locked: &LockedMaster,
    journal: &mut Journal,
    planned: &[PlannedChild],
) -> Result<()> {
    for planned in planned.iter().filter(|planned| planned.confirms) {
        let Some(child) = &planned.existing else { continue };
        journal.marks(child.key(), Marks::open()?.of(child.key()));
        locked.mark(child, OWNER_ALIAS).await?;
        // Whoever follows hears of it.
        let inside = journal.socket(&planned.netns)?;
        inside.finish_child(child.index, OWNER_ALIAS, false).await?;
    }
    Ok(())
}

/// Brings every planned child that is there to what is planned, but for taking it down: that loses
/// routes.
///
/// # Errors
///
/// A device is gone, or the kernel refuses a change. What was done is in the journal.
pub async fn change_all(
    locked: &LockedMaster,
    journal: &mut Journal,
    planned: &[PlannedChild],
) -> Result<()> {
    for planned in planned.iter().filter(|planned| !planned.is_kept()) {
        let Some(child) = &planned.existing else { continue };
        let changed = change(locked, journal, planned, child).await;
        changed.with_context(|| format!("cannot change child {:?}", planned.name))?;
    }
    Ok(())
}

async fn change(
    locked: &LockedMaster,
    journal: &mut Journal,
    planned: &PlannedChild,
    child: &Child,
) -> Result<()> {
    let (netns, index) = (&planned.netns, child.index);
    let inside = journal.socket(netns)?;
    let change = Change { up: planned.change.up.filter(|up| *up), ..planned.change };
    if change.mac.is_some() {
        // It is not held to the one that it had.
        ChildPins::of(locked.master.index)?.release(child.key())?;
    }
    for part in parts(&locked.master.netns, netns, child, change) {
        journal.changes(part.netns, part.index, child, &part.change).await?;
        journal.socket(part.netns)?.change_child(part.index, child.kind, &part.change).await?;
    }
    // Going down would flush the IPv6 ones again (`addrconf_ifdown`).
    let goes_down = planned.change.up == Some(false);
    let addresses = if goes_down { &[] } else { planned.addresses.as_slice() };
    for net in addresses {
        journal.adds_address(netns, index, *net)?;
        if !inside.add_address(index, *net).await? {
            journal.had_address();
        }
    }
    for gateway in &planned.gateways {
        journal.sets_default_route(netns, index).await?;
        inside.set_default_route(index, *gateway).await?;
    }
    Ok(())
}

/// What of a change one device of a child takes.
struct Part<'a> {
    netns: &'a Netns,
    index: u32,
    change: Change,
}

/// What of a change each device of a child takes. `own` is the namespace of the master, `netns` that of the child.
fn parts<'a>(own: &'a Netns, netns: &'a Netns, child: &Child, change: Change) -> Vec<Part<'a>> {
    let Change { mac, mtu, up, .. } = change;
    let parts = match &child.port {
        None => vec![Part { netns, index: child.index, change }],
        Some(port) => vec![
            Part { netns: own, index: port.index_of(Half::Macvlan), change },
            Part {
                netns: own,
                index: port.index_of(Half::HostEnd),
                change: Change { mtu, up, ..Change::default() },
            },
            Part { netns, index: child.index, change: Change { mac, mtu, up, ..Change::default() } },
        ],
    };
    parts.into_iter().filter(|part| !part.change.is_empty()).collect()
}

/// Takes down the planned children that are to be down; `own` is the namespace of their master.
///
/// # Errors
///
/// A device is gone, or the kernel refuses an address.
pub async fn take_down(own: &Netns, planned: &[PlannedChild]) -> Result<()> {
    let mut sockets = Sockets::default();
    for planned in planned.iter().filter(|planned| planned.is_taken_down()) {
        let Some(child) = &planned.existing else { continue };
        let down = async {
            let change = Change { up: Some(false), ..Change::default() };
            for part in parts(own, &planned.netns, child, change) {
                sockets.at(part.netns)?.change_child(part.index, child.kind, &part.change).await?;
            }
            let inside = sockets.at(&planned.netns)?;
            inside.address_child(child.index, &planned.settings.addresses, &[]).await
        };
        down.await.with_context(|| format!("cannot take down child {:?}", planned.name))?;
    }
    Ok(())
}
