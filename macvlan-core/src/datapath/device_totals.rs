//! What children's devices count of themselves.

use std::collections::{BTreeMap, btree_map::Entry};

use anyhow::Result;

use crate::{
    kernel::{
        netlink::{Netlink, events::changed::DeviceKey, link::Totals},
        netns::place::Place,
    },
    model::child::Child,
};

/// The children's own statistics, asked for in their namespaces. Those of a namespace that is gone, or
/// that cannot be entered where it has no number yet, are absent.
///
/// # Errors
///
/// Those of the master's own namespace cannot be read.
pub async fn totals(netlink: &Netlink, children: &[&Child]) -> Result<BTreeMap<DeviceKey, Totals>> {
    let mut seen: BTreeMap<Option<i32>, BTreeMap<u32, Totals>> = BTreeMap::new();
    let mut totals = BTreeMap::new();
    for child in children {
        let nsid = child.place.nsid;
        let devices = match seen.entry(nsid) {
            Entry::Occupied(entry) => entry.into_mut(),
            Entry::Vacant(entry) => entry.insert(totals_at(netlink, &child.place).await?),
        };
        totals.extend(devices.get(&child.index).map(|counted| ((nsid, child.index), *counted)));
    }
    Ok(totals)
}

async fn totals_at(netlink: &Netlink, place: &Place) -> Result<BTreeMap<u32, Totals>> {
    match (place.nsid, place.number()) {
        (None, _) => netlink.link_totals(None).await,
        (_, Some(nsid)) => Ok(netlink.link_totals(Some(nsid)).await.unwrap_or_default()),
        _ => {
            let netns = place.netns().and_then(|netns| netns.open().ok());
            match netns.map(|netns| Netlink::open_in(&netns)) {
                Some(Ok(inside)) => Ok(inside.link_totals(None).await.unwrap_or_default()),
                _ => Ok(BTreeMap::new()),
            }
        }
    }
}
