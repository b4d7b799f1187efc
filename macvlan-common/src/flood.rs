//! The flood device: a macvlan of ours on the master, in the master's namespace. The driver gives what is
//! sent through it to every bridge-mode child that hears such a group (`macvlan_broadcast` in
//! drivers/net/macvlan.c), at once, and then sends it on to the master: there it ends, as the frame that it is
//! a copy of has gone to the wire.
//!
//! Its index says that it is ours. The kernel counts indexes up from 1, and gives this one only to who asks for
//! it; so no other device has it by chance, in whatever namespace the master is.

use crate::tag::{Hairpin, Tag};

/// The first index that a flood device may have ("m" above).
pub const FIRST_INDEX: u32 = 0x6d00_0000;

/// How many there may be.
pub const INDEXES: u32 = 1 << 24;

/// The lower word of the tag of what goes through a flood device ("mvfl"); the upper one is its index. No
/// secret, as children may see it: a frame that bears it is dropped, and nothing else follows.
const FLOODED: u32 = 0x6d76_666c;

/// Whether a device of this index can be a flood device.
#[inline(always)]
pub const fn is_index(index: u32) -> bool {
    index & !(INDEXES - 1) == FIRST_INDEX
}

/// The tag of a copy that goes through the flood device with this index.
#[inline(always)]
pub const fn tag_through(index: u32) -> Tag {
    Tag { low: FLOODED, high: index }
}

/// The tag that a turned frame keeps on its way to who receives it: that of a flood device, where it is for the
/// children and not for the host. Devices of the host's own know it by that.
#[inline(always)]
pub const fn tag_beyond(kind: Hairpin) -> Tag {
    match kind {
        Hairpin::Flood => tag_through(FIRST_INDEX),
        Hairpin::Unicast | Hairpin::BroadcastToHost | Hairpin::MulticastToHost => Tag { low: 0, high: 0 },
    }
}

/// Whether a frame has gone through a flood device, or is such a copy that was turned around.
#[inline(always)]
pub const fn is_flooded(tag: Tag) -> bool {
    tag.low == FLOODED && is_index(tag.high)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tag::HAIRPINS;

    #[test]
    fn of_what_is_turned_only_a_flood_keeps_a_tag() {
        for kind in HAIRPINS {
            let tag = tag_beyond(kind);
            assert_eq!(is_flooded(tag), kind == Hairpin::Flood, "{kind:?}");
            assert_eq!(tag == Tag::default(), kind != Hairpin::Flood, "{kind:?}");
        }
    }

    #[test]
    fn a_tag_is_told_by_its_word_and_an_index_of_ours() {
        for index in [FIRST_INDEX, FIRST_INDEX + 7, FIRST_INDEX + INDEXES - 1] {
            let tag = tag_through(index);
            assert!(is_index(index) && is_flooded(tag), "{index:#x}");
            assert!((0..32).all(|bit| !is_flooded(Tag { low: tag.low ^ 1 << bit, ..tag })));
            assert!((24..32).all(|bit| !is_flooded(Tag { high: tag.high ^ 1 << bit, ..tag })));
        }
        assert!(![0, 1, FIRST_INDEX - 1, FIRST_INDEX + INDEXES, u32::MAX].into_iter().any(is_index));
        assert!(i32::try_from(FIRST_INDEX + INDEXES).is_ok(), "indexes are signed");
    }
}
