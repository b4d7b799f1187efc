//! Names of maps and programs, as the BPF object spells them.
//!
//! A pinned map or program has the same file name in its master's pin directory. The kernel
//! cuts object names to 15 bytes (`BPF_OBJ_NAME_LEN`); all of these fit.

/// Array of one [`Config`](crate::config::Config).
pub const CONFIG: &str = "MACVLAN_CONFIG";
/// Per-CPU hash from a child's MAC key to its [`ChildEntry`](crate::child::ChildEntry).
pub const CHILDREN: &str = "MACVLAN_CHILD";
/// Array from a child's slot to its [`Policy`](crate::child::Policy).
pub const POLICY: &str = "MACVLAN_POLICY";
/// Array from a child's slot to its [`Presence`](crate::presence::Presence).
pub const PRESENCE: &str = "MACVLAN_WHERE";
/// Array of [`filter::WORDS`](crate::filter::WORDS) words: which MACs can be a child's.
pub const FILTER: &str = "MACVLAN_FILTER";
/// Array of [`index::BUCKETS`](crate::index::BUCKETS) buckets: slots of children by their MACs.
pub const INDEX: &str = "MACVLAN_INDEX";
/// Per-CPU array from a child's slot to the [`Count`](crate::counters::Count) of what it received from the
/// wire by the short way: its [`ChildEntry`](crate::child::ChildEntry) has the rest.
pub const SLOT_COUNTERS: &str = "MACVLAN_COUNTS";
/// Per-CPU array of one [`MasterCounters`](crate::counters::MasterCounters).
pub const TOTALS: &str = "MACVLAN_TOTALS";
/// Array of one [`Record`](crate::config::Record): what the last attach did, for later commands.
pub const RECORD: &str = "MACVLAN_RECORD";

/// Hash from a MAC key to the [`Retired`](crate::child::Retired) counters of a child that is gone.
pub const RETIRED: &str = "MACVLAN_RETIRED";

/// Hash from a [`KeptName`](crate::child::KeptName) to the settings [`Kept`](crate::child::Kept) by it.
pub const KEPT: &str = "MACVLAN_KEPT";

/// Hash from a group's number to its [`GroupName`](crate::group::GroupName).
pub const GROUPS: &str = "MACVLAN_GROUP";

/// Hash from an [`Address`](crate::l3::Address) to its [`Owner`](crate::neigh::Owner).
pub const OWNERS: &str = "MACVLAN_ADDR";
/// Hash from a [`place`](crate::neigh::place) to the address that is remembered there.
pub const PLACES: &str = "MACVLAN_PLACE";

/// Hash whose keys are the [`OwnAddress`](crate::inspect::OwnAddress)es of children held to theirs.
pub const OWN: &str = "MACVLAN_OWNIP";

/// Array of one [`Pace`](crate::limit::Pace): the storm guard's.
pub const PACE: &str = "MACVLAN_PACE";
/// Array of the storm guard's buckets: the wire's, then those of the children by their slots.
pub const STORM: &str = "MACVLAN_STORM";

/// Hash from a child's slot to its [`Meters`](crate::rate::Meters): only children limited to rates.
pub const METERS: &str = "MACVLAN_METER";

/// Hash from a [`Key`](crate::single_mac::Key) to the [`Holder`](crate::single_mac::Holder) of that address.
pub const HOLDERS: &str = "MACVLAN_HOLDER";
/// Hash from a [`place`](crate::single_mac::place_of) to the address that a child taught there.
pub const TAUGHT: &str = "MACVLAN_TAUGHT";
/// Least recently used hash from an address to the key of the MAC of the child that asked who has it, before it had
/// one.
pub const PROBERS: &str = "MACVLAN_PROBER";
/// Longest-prefix trie from a [`Key`](crate::single_mac::Key) to whether children may teach it: 1, or 0.
pub const ON_LINK: &str = "MACVLAN_ONLINK";

/// Per-CPU array of one [`Sending`](crate::sending::Sending).
pub const SENDING: &str = "MACVLAN_SENDS";

/// Every map that lives as long as the data path.
pub const MAPS: [&str; 23] = [
    CONFIG,
    CHILDREN,
    POLICY,
    PRESENCE,
    FILTER,
    INDEX,
    SLOT_COUNTERS,
    TOTALS,
    RECORD,
    RETIRED,
    KEPT,
    GROUPS,
    OWNERS,
    PLACES,
    OWN,
    PACE,
    STORM,
    METERS,
    HOLDERS,
    TAUGHT,
    PROBERS,
    ON_LINK,
    SENDING,
];

/// TC egress on a child's own device.
pub const CHILD_EGRESS: &str = "macvlan_child";
/// XDP on the devices of children in mode source.
pub const EAR: &str = "macvlan_ear";
/// The global of [`CHILD_EGRESS`] and [`EAR`] that holds the key of the child's MAC.
pub const CHILD_OWN: &str = "MACVLAN_OWN";
/// The global of [`CHILD_EGRESS`] that is not 0 when the child is held to its MAC.
pub const CHILD_HELD: &str = "MACVLAN_HELD";

/// The demultiplexer for drivers that keep a frame in one buffer.
pub const XDP: &str = "macvlan_xdp";
/// The demultiplexer for multi-buffer frames (kernel 5.18, `BPF_F_XDP_HAS_FRAGS`).
pub const XDP_FRAGS: &str = "macvlan_xdp_fr";
/// TC ingress on the master.
pub const INGRESS: &str = "macvlan_in";
/// TC egress on the master.
pub const EGRESS: &str = "macvlan_out";

/// TC ingress on a master whose wire carries one MAC ([`single_mac`](crate::single_mac)).
pub const SINGLE_INGRESS: &str = "macvlan_one_in";
/// TC egress on such a master.
pub const SINGLE_EGRESS: &str = "macvlan_one_out";

/// TC egress on the [flood device](crate::flood).
pub const FLOOD_EGRESS: &str = "macvlan_fl_out";
/// TC ingress on the flood device.
pub const FLOOD_INGRESS: &str = "macvlan_fl_in";
/// TC ingress on both devices of a [port](crate::port) in the master's namespace.
pub const PORT_INGRESS: &str = "macvlan_pt_in";
/// TC egress on both.
pub const PORT_EGRESS: &str = "macvlan_pt_out";
/// TC ingress on devices of the host's own.
pub const OWN_INGRESS: &str = "macvlan_own";

/// Per-CPU array of one [`TraceCounts`](crate::trace::TraceCounts); only traced programs have it.
pub const TRACE: &str = "MACVLAN_TRACE";
/// Ring buffer of [`FrameRecord`](crate::trace::FrameRecord)s (kernel 5.8); only traced programs have it.
pub const TRACE_RING: &str = "MACVLAN_RING";
/// Load-time constant of traced programs: one frame in so many.
pub const TRACE_SAMPLE: &str = "MACVLAN_SAMPLE";
/// Load-time constant of traced programs: key of the only MAC to record; 0 records all.
pub const TRACE_MAC: &str = "MACVLAN_ONLY_MAC";

/// Load-time constant: not 0 where the kernel tells which namespace the [socket](crate::socket) of a frame is of.
pub const ASKS_SOCKETS: &str = "MACVLAN_ASKS";

/// Each program, and its traced twin.
pub const TRACED: [(&str, &str); 6] = [
    (XDP, "macvlan_xdp_tr"),
    (XDP_FRAGS, "macvlan_xdpf_tr"),
    (INGRESS, "macvlan_in_tr"),
    (EGRESS, "macvlan_out_tr"),
    (SINGLE_INGRESS, "macvlan_onei_tr"),
    (SINGLE_EGRESS, "macvlan_oneo_tr"),
];

/// The program for a wire that carries one MAC, in the place of this one.
pub fn single(name: &str) -> Option<&'static str> {
    match name {
        INGRESS => Some(SINGLE_INGRESS),
        EGRESS => Some(SINGLE_EGRESS),
        _ => None,
    }
}

/// The traced twin of a program.
pub fn traced(name: &str) -> Option<&'static str> {
    TRACED.iter().find(|(plain, _)| *plain == name).map(|(_, traced)| *traced)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_survives_the_kernel_uncut() {
        let programs = TRACED.iter().flat_map(|(plain, traced)| [plain, traced]);
        for name in MAPS
            .iter()
            .chain(&[
                TRACE,
                TRACE_RING,
                FLOOD_EGRESS,
                FLOOD_INGRESS,
                OWN_INGRESS,
                EAR,
                PORT_INGRESS,
                PORT_EGRESS,
            ])
            .chain(programs)
        {
            assert!(name.len() <= 15, "{name}");
        }
    }
}
