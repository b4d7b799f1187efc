//! MACs that a child may not claim: those of the host's gateways and of its other neighbours on the wire.
//!
//! Who is root in a container gives its device any MAC, or makes a device with it. Were that of a neighbour
//! turned to, the container had all that the host sends there.

use std::collections::BTreeSet;

use anyhow::Result;
use macvlan_common::mac::Mac;

use crate::{
    kernel::netlink::{Netlink, neighbour::Neighbour},
    model::{child::Child, members::Members},
};

/// The MACs of these `children` that are those of gateways of the host, which the device with index `master` leads to,
/// or of any neighbour that was learnt, of those that are `suspect`: a data path would know them if they had always been
/// children.
///
/// The kernel is asked to find out whether such a neighbour is still there: a machine that came here from the wire has
/// its MAC as soon as it does not answer there. A child that is not turned to needs no such care.
///
/// A child in the host's own namespace is not a container's. One that was there before under its MAC may be a
/// gateway, as a VPN in a container is: `was_there`, or a member among `present`. The MAC of a virtual router
/// is meant to go from one place to another: the last one that spoke has it
/// ([`presence`](macvlan_common::presence)).
///
/// # Errors
///
/// The kernel does not list routes or neighbours.
pub async fn claims(
    master: u32,
    children: &[&Child],
    present: &Members,
    is_suspect: impl Fn(&Child) -> bool,
    was_there: impl Fn(Mac) -> Result<bool>,
) -> Result<BTreeSet<Mac>> {
    let is_member = |mac: Mac| present.policies.get(&mac).is_some_and(|policy| !policy.is_hosts());
    let mut new = BTreeSet::new();
    for child in children {
        let mac = child.mac;
        if child.place.nsid.is_some() && !is_member(mac) && !is_virtual_router(mac) && !was_there(mac)? {
            new.insert(mac);
        }
    }
    if new.is_empty() {
        return Ok(new);
    }
    let strict = Netlink::open_strict()?;
    let hops = strict.next_hops(master).await?;
    let is_turned_to = |mac: Mac| {
        let bears = |child: &&&Child| child.mac == mac && child.mode.is_hairpinned();
        children.iter().filter(bears).any(|child| is_suspect(child))
    };
    let mut claimed = BTreeSet::new();
    for (ip, neighbour) in strict.neighbours(master).await? {
        let Some(mac) = neighbour.mac().filter(|mac| new.contains(mac)) else { continue };
        let is_learnt = !matches!(neighbour, Neighbour::Permanent(_)) && is_turned_to(mac);
        if !(hops.contains(&ip) || is_learnt) {
            continue;
        }
        claimed.insert(mac);
        if matches!(neighbour, Neighbour::Valid(_)) {
            // Who may not ask finds out later.
            let _ = strict.ask_neighbour(master, ip, mac).await;
        }
    }
    Ok(claimed)
}

/// Whether the MAC is one of VRRP's (RFC 9568, section 7.3).
fn is_virtual_router(mac: Mac) -> bool {
    matches!(mac.octets(), [0, 0, 0x5e, 0, 1 | 2, _])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_macs_of_virtual_routers_are_told_from_others() {
        assert!(is_virtual_router(Mac::new([0, 0, 0x5e, 0, 1, 0x33])));
        assert!(is_virtual_router(Mac::new([0, 0, 0x5e, 0, 2, 1])));
        assert!(!is_virtual_router(Mac::new([0, 0, 0x5e, 0, 0, 0x33])), "a multicast group's");
        assert!(!is_virtual_router(Mac::new([2, 0, 0x5e, 0, 1, 0x33])));
    }
}
