//! Map values are plain old data: fixed layout, no padding, any bits valid.

use core::mem::{align_of, offset_of, size_of};

use crate::{
    child::{ChildEntry, KEPT_NAME_LEN, Kept, KeptName, Policy, Retired},
    config::{Config, RECORD_LEN, Record},
    counters::{ChildCounters, Count, DROP_REASONS, FLOOD_ORIGINS, MasterCounters, PATHS, SlotCounters},
    group::{GroupName, NAME_LEN},
    inspect::OwnAddress,
    l3::Address,
    limit::Pace,
    neigh::Owner,
    presence::Presence,
    rate::{Meter, Meters},
    sending::Sending,
    single_mac::{Holder, Key},
    trace::{self, FrameRecord, HEAD_LEN, TraceCounts},
};

const _: () = {
    let count = size_of::<Count>();
    assert!(count == 16);
    assert!(size_of::<ChildCounters>() == count * (2 * PATHS.len() + DROP_REASONS.len()));
    assert!(size_of::<MasterCounters>() == count * (2 + FLOOD_ORIGINS.len() + DROP_REASONS.len()));
    assert!(size_of::<SlotCounters>() == 5 * count);
    assert!(size_of::<ChildEntry>() == 8 + size_of::<ChildCounters>());
    assert!(offset_of!(ChildEntry, counters) == 8);
    assert!(size_of::<Retired>() == 8 + size_of::<ChildCounters>());
    assert!(size_of::<Policy>() == 8);
    assert!(size_of::<KeptName>() == KEPT_NAME_LEN);
    assert!(size_of::<Kept>() == 16 + size_of::<Meters>() + NAME_LEN + KEPT_NAME_LEN);
    assert!(size_of::<Presence>() == 16);
    assert!(size_of::<GroupName>() == NAME_LEN);
    assert!(size_of::<Config>() == 56 && offset_of!(Config, secret) == 24);
    assert!(size_of::<Record>() == 4 + RECORD_LEN);
    assert!(trace::RECORD_LEN == 32 + HEAD_LEN && offset_of!(FrameRecord, captured) == 24);
    // The kernel aligns entries of a ring buffer to 8 bytes (`__bpf_ringbuf_reserve`).
    assert!(align_of::<FrameRecord>() == 8 && offset_of!(FrameRecord, head) == 32);
    assert!(size_of::<Address>() == 16 && size_of::<Owner>() == 48);
    assert!(size_of::<OwnAddress>() == 24);
    assert!(size_of::<Key>() == 20 && size_of::<Holder>() == 24);
    assert!(size_of::<Pace>() == 16);
    assert!(size_of::<Meter>() == 7 * 8 && size_of::<Meters>() == 14 * 8);
    assert!(size_of::<TraceCounts>() == 24);
    assert!(size_of::<Sending>() == 16);
};

#[cfg(feature = "user")]
mod user {
    use super::*;

    // SAFETY: `repr(C)` or `repr(transparent)` over integers without padding, as the assertions
    // above show; every bit pattern is a value.
    unsafe impl aya::Pod for ChildEntry {}
    // SAFETY: as above.
    unsafe impl aya::Pod for Retired {}
    // SAFETY: as above.
    unsafe impl aya::Pod for Sending {}
    // SAFETY: as above.
    unsafe impl aya::Pod for KeptName {}
    // SAFETY: as above.
    unsafe impl aya::Pod for Kept {}
    // SAFETY: as above.
    unsafe impl aya::Pod for Policy {}
    // SAFETY: as above.
    unsafe impl aya::Pod for Presence {}
    // SAFETY: as above.
    unsafe impl aya::Pod for Config {}
    // SAFETY: as above.
    unsafe impl aya::Pod for GroupName {}
    // SAFETY: as above.
    unsafe impl aya::Pod for SlotCounters {}
    // SAFETY: as above.
    unsafe impl aya::Pod for MasterCounters {}
    // SAFETY: as above.
    unsafe impl aya::Pod for Record {}
    // SAFETY: as above.
    unsafe impl aya::Pod for TraceCounts {}
    // SAFETY: as above.
    unsafe impl aya::Pod for Address {}
    // SAFETY: as above.
    unsafe impl aya::Pod for Owner {}
    // SAFETY: as above.
    unsafe impl aya::Pod for Pace {}
    // SAFETY: as above.
    unsafe impl aya::Pod for Meters {}
    // SAFETY: as above.
    unsafe impl aya::Pod for OwnAddress {}
    // SAFETY: as above.
    unsafe impl aya::Pod for Key {}
    // SAFETY: as above.
    unsafe impl aya::Pod for Holder {}
}
