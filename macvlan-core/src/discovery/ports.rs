//! Finding the other devices of ports: their host ends, and the ends in containers.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::Result;
use macvlan_common::port::{Half, other_half};

use crate::{
    kernel::netlink::{Netlink, link::Link},
    model::{child::Child, port::Port},
};

/// Host ends of ports in the master's namespace, by the index of their macvlans.
#[derive(Debug, Default)]
pub struct HostEnds(BTreeMap<u32, Link>);

impl HostEnds {
    /// Takes note of a device of the master's namespace.
    pub fn note(&mut self, link: &Link) {
        if Port::is_host_end(link) {
            self.0.insert(other_half(link.index), link.clone());
        }
    }

    /// Tells each of these children that is a port of its other devices. `label` gives the name of a namespace.
    pub async fn join(
        &self,
        netlink: &Netlink,
        children: impl Iterator<Item = &mut Child>,
        label: impl Fn(i32) -> Option<String>,
    ) {
        for child in children {
            let Some(port) = &child.port else { continue };
            let host_end = self.0.get(&port.index_of(Half::Macvlan));
            join(netlink, child, host_end, &label).await;
        }
    }

    /// Those whose macvlans are gone.
    ///
    /// # Errors
    ///
    /// A device cannot be asked for.
    pub async fn bereft(&self, netlink: &Netlink, macvlans: &BTreeSet<u32>) -> Result<Vec<u32>> {
        let mut bereft = Vec::new();
        for (macvlan, host_end) in self.0.iter().filter(|(macvlan, _)| !macvlans.contains(macvlan)) {
            // A list of devices is no picture of one moment, and a macvlan is made before its pair.
            if netlink.link_by_index(*macvlan, None).await?.is_none() {
                bereft.push(host_end.index);
            }
        }
        Ok(bereft)
    }
}

/// Tells a port of its other devices.
pub async fn join(
    netlink: &Netlink,
    child: &mut Child,
    host_end: Option<&Link>,
    label: impl Fn(i32) -> Option<String>,
) {
    let end = match host_end.and_then(|link| link.lower.zip(Some(link.lower_nsid))) {
        // It may be gone by now, or we may not look there.
        Some((index, nsid)) => netlink.link_by_index(index, nsid).await.unwrap_or_default(),
        None => None,
    };
    child.join(host_end, end, host_end.and_then(|link| label(link.lower_nsid?)));
}

/// Removes the macvlans of those of these children that are ports and have lost their pair. No command makes ports on
/// their master meanwhile.
///
/// # Errors
///
/// The kernel refuses it.
pub async fn remove_bereft(netlink: &Netlink, children: &[&Child]) -> Result<()> {
    for child in children.iter().filter(|child| child.unfinished) {
        let Some(port) = &child.port else { continue };
        if netlink.link_by_index(port.index_of(Half::HostEnd), None).await?.is_none() {
            netlink.delete_link(port.index_of(Half::Macvlan), None).await?;
        }
    }
    Ok(())
}
