//! The maps, and what the decision function may ask of them.

use core::ptr::NonNull;

use aya_ebpf::{
    bindings::BPF_F_NO_PREALLOC,
    macros::map,
    maps::{Array, HashMap, PerCpuArray, PerCpuHashMap},
};
use macvlan_common::{
    child::{ChildEntry, Kept, KeptName, Policy, Retired},
    config::{Config, Record},
    counters::{MasterCounters, SlotCounters},
    decide::Tables,
    filter,
    group::{GroupName, MOST_GROUPS},
    index::{self, Bucket},
    presence::Presence,
    sending::Sending,
};

/// Children present when nothing else is asked for; the loader sets the real maximum.
const DEFAULT_MAX_CHILDREN: u32 = 4096;

#[map]
static MACVLAN_CONFIG: Array<Config> = Array::with_max_entries(1, 0);

/// Memory grows with the children present: entries are allocated as they come.
#[map]
static MACVLAN_CHILD: PerCpuHashMap<u64, ChildEntry> =
    PerCpuHashMap::with_max_entries(DEFAULT_MAX_CHILDREN, BPF_F_NO_PREALLOC);

#[map]
static MACVLAN_POLICY: Array<Policy> = Array::with_max_entries(DEFAULT_MAX_CHILDREN, 0);

/// By slot.
#[map]
static MACVLAN_WHERE: Array<Presence> = Array::with_max_entries(DEFAULT_MAX_CHILDREN, 0);

#[map]
static MACVLAN_FILTER: Array<u64> = Array::with_max_entries(filter::WORDS, 0);

/// Slots of children by their MACs.
#[map]
static MACVLAN_INDEX: Array<Bucket> = Array::with_max_entries(index::BUCKETS, 0);

/// By slot.
#[map]
static MACVLAN_COUNTS: PerCpuArray<SlotCounters> = PerCpuArray::with_max_entries(DEFAULT_MAX_CHILDREN, 0);

#[map]
static MACVLAN_TOTALS: PerCpuArray<MasterCounters> = PerCpuArray::with_max_entries(1, 0);

/// Written by the programs on the macvlan driver.
#[map]
static MACVLAN_SENDS: PerCpuArray<Sending> = PerCpuArray::with_max_entries(1, 0);

/// Never read here: it is part of the object so that it lives and dies with the other maps.
#[map]
static MACVLAN_RECORD: Array<Record> = Array::with_max_entries(1, 0);

/// Never read here, as [`MACVLAN_RECORD`].
#[map]
static MACVLAN_RETIRED: HashMap<u64, Retired> =
    HashMap::with_max_entries(DEFAULT_MAX_CHILDREN, BPF_F_NO_PREALLOC);

/// Never read here, as [`MACVLAN_RECORD`].
#[map]
static MACVLAN_KEPT: HashMap<KeptName, Kept> =
    HashMap::with_max_entries(2 * DEFAULT_MAX_CHILDREN, BPF_F_NO_PREALLOC);

/// Never read here, as [`MACVLAN_RECORD`].
#[map]
static MACVLAN_GROUP: HashMap<u32, GroupName> = HashMap::with_max_entries(MOST_GROUPS, BPF_F_NO_PREALLOC);

/// A child's map entry on this CPU.
///
/// The pointer is valid until the program returns: entries are freed after an RCU grace period
/// (`BPF_F_NO_PREALLOC`), and nobody else on this CPU touches them while the program runs.
pub type Child = NonNull<ChildEntry>;

/// The master's counters on this CPU.
#[inline(always)]
pub fn totals() -> Option<*mut MasterCounters> {
    MACVLAN_TOTALS.get_ptr_mut(0)
}

/// What the child at a slot exchanged on this CPU by the short ways.
#[inline(always)]
pub fn by_slot(slot: u32) -> Option<*mut SlotCounters> {
    MACVLAN_COUNTS.get_ptr_mut(slot)
}

/// The policy at a slot.
#[inline(always)]
pub fn policy_at(slot: u32) -> Policy {
    MACVLAN_POLICY.get(slot).copied().unwrap_or_default()
}

/// Where the MAC of the child at a slot is. The element never moves.
#[inline(always)]
pub fn presence_mut(slot: u32) -> Option<*mut Presence> {
    MACVLAN_WHERE.get_ptr_mut(slot)
}

/// Tells native XDP that the host has a MAC besides the master's.
#[inline(always)]
pub fn tell_other_mac() {
    if let Some(config) = MACVLAN_CONFIG.get_ptr_mut(0) {
        // SAFETY: an array element never moves; one aligned word.
        unsafe { (*config).other_mac = 1 };
    }
}

/// Whether a macvlan of this master sends on this CPU now.
#[inline(always)]
pub fn is_macvlan_sending() -> bool {
    // SAFETY: an array element never moves, and nobody else on this CPU writes it meanwhile.
    MACVLAN_SENDS.get_ptr(0).is_some_and(|sending| unsafe { (*sending).now != 0 })
}

/// Sets the bit of a MAC in the filter.
#[inline(always)]
pub fn add_to_filter(mac: u64) {
    let (word, mask) = filter::position(mac);
    if let Some(bits) = MACVLAN_FILTER.get_ptr_mut(word) {
        // SAFETY: an array element never moves; one aligned word.
        unsafe { *bits |= mask };
    }
}

/// Whether a MAC can be a child's, by the filter.
#[inline(always)]
pub fn may_be_child(mac: u64) -> bool {
    let (word, mask) = filter::position(mac);
    MACVLAN_FILTER.get(word).is_some_and(|bits| bits & mask != 0)
}

/// The maps as the decision function sees them, with the settings already read.
pub struct Maps {
    config: Config,
}

impl Maps {
    /// Reads the settings; without them (never, once loaded) no frame is judged.
    #[inline(always)]
    pub fn open() -> Option<Self> {
        MACVLAN_CONFIG.get(0).map(|config| Self { config: *config })
    }
}

impl Tables for Maps {
    type Child = Child;

    #[inline(always)]
    fn config(&self) -> Config {
        self.config
    }

    #[inline(always)]
    fn may_be_child(&self, mac: u64) -> bool {
        may_be_child(mac)
    }

    #[inline(always)]
    fn slot(&self, mac: u64) -> Option<u32> {
        MACVLAN_INDEX.get(index::bucket_of(mac)).and_then(|bucket| index::find(bucket, mac))
    }

    #[inline(always)]
    fn entry(&self, mac: u64) -> Option<Child> {
        MACVLAN_CHILD.get_ptr_mut(mac).and_then(NonNull::new)
    }

    #[inline(always)]
    fn slot_of(&self, child: Child) -> u32 {
        // SAFETY: `child` came from `MACVLAN_CHILD`, see [`Child`].
        unsafe { (*child.as_ptr()).slot }
    }

    #[inline(always)]
    fn policy_at(&self, slot: u32) -> Policy {
        policy_at(slot)
    }

    #[inline(always)]
    fn presence_at(&self, slot: u32) -> Presence {
        MACVLAN_WHERE.get(slot).copied().unwrap_or_default()
    }
}
