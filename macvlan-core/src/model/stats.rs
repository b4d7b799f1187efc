//! What was counted, as `stats` prints it.

use std::collections::BTreeMap;

use macvlan_common::{counters::Count, mac::Mac};
use serde::Serialize;

use crate::model::{child::mac_text, container::Container};

/// Frames and bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct Pair {
    /// Frames.
    pub packets: u64,
    /// Bytes, layer 2 without FCS.
    pub bytes: u64,
}

impl From<Count> for Pair {
    fn from(count: Count) -> Self {
        Self { packets: count.packets, bytes: count.bytes }
    }
}

/// Both directions, as the child sees them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct BothWays {
    /// Received.
    pub rx: Pair,
    /// Sent.
    pub tx: Pair,
}

/// Counters by reason; every reason is always there.
pub type Drops = BTreeMap<&'static str, Pair>;

/// One master, as `stats -j` prints it. `null` is what a data path cannot know.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct MasterStats {
    /// Its name.
    pub ifname: String,
    /// Unicast from the wire to nobody here.
    pub unknown_unicast: Option<Pair>,
    /// Broadcast and multicast by origin, once per frame however many hear it.
    pub flood: Option<BTreeMap<&'static str, Pair>>,
    /// Drops that no child is charged for.
    pub drops: Option<Drops>,
    /// Copies of broadcasts that the kernel had no memory for.
    pub copy_failed: Option<Pair>,
    /// Frames that the kernel counts as dropped on the master's receive side since it is there. Above
    /// all, broadcasts beyond macvlan's queue (`macvlan_broadcast_enqueue` in drivers/net/macvlan.c);
    /// but the driver and others count there too, and not what our programs drop.
    pub kernel_rx_dropped: Option<u64>,
    /// Its children.
    pub children: Vec<ChildStats>,
}

/// One child, as `stats -j` prints it. `null` is what a data path cannot know.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ChildStats {
    /// Name in its own namespace.
    pub ifname: String,
    /// Its MAC.
    #[serde(serialize_with = "mac_text")]
    pub address: Mac,
    /// Name or path of its namespace, where one is known.
    pub netns: Option<String>,
    /// Id of its namespace, where it has one; without a name and an id it is the master's own.
    pub netnsid: Option<i32>,
    /// The container it belongs to, where an engine says so.
    pub container: Option<Container>,
    /// In all, as the child's device counts itself: where not every path is counted.
    pub stats64: Option<BothWays>,
    /// With what is beyond the master. Includes the broadcasts that the child sent.
    pub wire: Option<BothWays>,
    /// With the host.
    pub host: Option<BothWays>,
    /// With other children of the master.
    pub sibling: Option<BothWays>,
    /// What was dropped of its traffic.
    pub drops: Option<Drops>,
}
