//! What the kernel itself counts of the masters.

use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
};

use macvlan_core::{follow::snapshot::Snapshot, kernel::netlink::Netlink};
use tokio::sync::OnceCell;

/// Frames that the kernel dropped on receiving, as it told last, by the master's index.
#[derive(Default)]
pub struct Devices {
    /// A socket of the thread that serves the metrics.
    netlink: OnceCell<Netlink>,
    dropped: Mutex<BTreeMap<u32, u64>>,
}

impl Devices {
    /// Asks anew for every master in `view`. Those that the kernel does not tell of are not known.
    pub async fn look(&self, view: &Snapshot) {
        let mut dropped = BTreeMap::new();
        if let Ok(netlink) = self.netlink.get_or_try_init(|| async { Netlink::open() }).await {
            for master in &view.masters {
                let link = netlink.link_by_index(master.status.ifindex, None).await;
                let count = link.ok().flatten().and_then(|link| link.rx_dropped);
                dropped.extend(count.map(|count| (master.status.ifindex, count)));
            }
        }
        *self.dropped.lock().unwrap_or_else(PoisonError::into_inner) = dropped;
    }

    /// Those of the master with this index.
    pub fn rx_dropped(&self, ifindex: u32) -> Option<u64> {
        self.dropped.lock().unwrap_or_else(PoisonError::into_inner).get(&ifindex).copied()
    }
}
