//! Who has which address on the wire's side: what netlink tells, what children say, and how long that holds.

use crate::{
    l3::Address,
    neigh::{Place, place},
};

/// An address of a VLAN. The VLAN comes first: prefixes of these are networks of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
#[repr(C)]
pub struct Key {
    /// The VLANs, 13 bits each: the number and one; 0 without.
    pub vlan: u32,
    /// The address.
    pub address: Address,
}

impl Key {
    /// Bits of the VLAN.
    pub const VLAN_BITS: u32 = 32;
    /// All bits.
    pub const BITS: u32 = 160;

    /// Whether the two are the same: word by word, as the programs have no `memcmp`.
    #[inline(always)]
    pub const fn is(self, other: Self) -> bool {
        self.address.is(other.address) && self.vlan == other.vlan
    }
}

/// Who has an address. Each field is one aligned word: readers see it old or new, never mixed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[repr(C)]
pub struct Holder {
    /// Key of the child's MAC; 0 for [`HOST`](Self::HOST) and [`BROADCAST`](Self::BROADCAST).
    pub mac: u64,
    /// When it was last heard of, in nanoseconds of `CLOCK_MONOTONIC`.
    pub seen: u64,
    /// [`BARE`](Self::BARE) or one of the constants behind it.
    pub kind: u64,
}

/// How long one that is heard of keeps an address that another one only uses, and a place in its ring, in
/// nanoseconds.
const IDLE: u64 = 10_000_000_000;

/// How long one that claimed an address keeps its place unheard.
const AGE: u64 = 600_000_000_000;

/// How old a sighting must be to be written anew.
const FRESH: u64 = 100_000_000;

impl Holder {
    /// Learnt: it was a source address, or that of an ARP question.
    pub const BARE: u64 = 0;
    /// Learnt from a claim: gratuitous ARP, an ARP reply, an overriding neighbour advertisement, a DHCP server's word.
    pub const CLAIM: u64 = 1;
    /// Told by netlink.
    pub const TOLD: u64 = 2;
    /// The host's own, by netlink.
    pub const HOST: u64 = 3;
    /// The broadcast address of a network, by netlink.
    pub const BROADCAST: u64 = 4;

    /// Learnt from a frame.
    #[inline(always)]
    pub const fn is_learnt(&self) -> bool {
        self.kind <= Self::CLAIM
    }

    /// Whether a sighting at this time is worth writing.
    #[inline(always)]
    pub const fn is_stale(&self, now: u64) -> bool {
        is_past(self.seen, FRESH, now)
    }
}

/// What a child's word about an address comes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Lesson {
    /// Nothing.
    Ignore,
    /// It is heard of again, perhaps more strongly.
    Refresh,
    /// It has the address from now on.
    Take,
}

/// Judges the word of the child with this MAC about an address that `held` has. What only uses an address takes it from
/// nobody who is heard of; a claim does; nothing takes what netlink tells.
#[inline(always)]
pub const fn judge_lesson(held: Option<&Holder>, mac: u64, kind: u64, now: u64) -> Lesson {
    let Some(held) = held else { return Lesson::Take };
    if !held.is_learnt() {
        return Lesson::Ignore;
    }
    if held.mac == mac {
        return if kind > held.kind || held.is_stale(now) { Lesson::Refresh } else { Lesson::Ignore };
    }
    if kind > Holder::BARE || is_past(held.seen, IDLE, now) { Lesson::Take } else { Lesson::Ignore }
}

/// Where the child with this MAC may remember an address at a try: one of its 64 places.
#[inline(always)]
pub const fn place_of(mac: u64, key: Key, attempt: u64) -> u64 {
    let Address([a, b, c, d]) = key.address;
    place(mac, Address([a, b, c, d ^ key.vlan]), attempt)
}

/// Judges a place of the child with this MAC that holds an address that `held` has, when it teaches another one as
/// `kind`. A claim puts out what was only used; nothing puts out what is still in use.
#[inline(always)]
pub const fn judge_place(held: Option<&Holder>, mac: u64, kind: u64, now: u64) -> Place {
    let Some(held) = held else { return Place::Use };
    if held.mac != mac || !held.is_learnt() {
        return Place::Use;
    }
    let gives_way = match held.kind {
        Holder::BARE => kind > Holder::BARE || is_past(held.seen, IDLE, now),
        _ => is_past(held.seen, AGE, now),
    };
    if gives_way { Place::Evict } else { Place::Keep }
}

/// Whether more than `span` has passed since `then`. Another CPU may have written a later time.
#[inline(always)]
const fn is_past(then: u64, span: u64, now: u64) -> bool {
    now.wrapping_sub(then).cast_signed() > span.cast_signed()
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: u64 = 10 * AGE;

    fn holder(kind: u64, seen: u64) -> Holder {
        Holder { mac: 8, seen, kind }
    }

    #[test]
    fn a_claim_moves_an_address_and_mere_use_does_not() {
        let judge = |held: Holder, mac, kind| judge_lesson(Some(&held), mac, kind, NOW);
        for kind in [Holder::BARE, Holder::CLAIM] {
            assert_eq!(judge(holder(kind, NOW), 10, Holder::BARE), Lesson::Ignore);
            assert_eq!(judge(holder(kind, NOW - IDLE), 10, Holder::BARE), Lesson::Ignore);
            assert_eq!(judge(holder(kind, NOW - IDLE - 1), 10, Holder::BARE), Lesson::Take);
            assert_eq!(judge(holder(kind, NOW), 10, Holder::CLAIM), Lesson::Take);
        }
        for kind in [Holder::TOLD, Holder::HOST, Holder::BROADCAST] {
            for mac in [8, 10] {
                assert_eq!(judge(holder(kind, 0), mac, Holder::CLAIM), Lesson::Ignore);
            }
        }
        assert_eq!(judge_lesson(None, 8, Holder::BARE, NOW), Lesson::Take);
    }

    #[test]
    fn its_own_word_keeps_an_address_fresh_and_makes_it_stronger() {
        let judge = |held: Holder, kind| judge_lesson(Some(&held), 8, kind, NOW);
        assert_eq!(judge(holder(Holder::BARE, NOW), Holder::BARE), Lesson::Ignore);
        assert_eq!(judge(holder(Holder::BARE, NOW - FRESH - 1), Holder::BARE), Lesson::Refresh);
        assert_eq!(judge(holder(Holder::BARE, NOW), Holder::CLAIM), Lesson::Refresh);
        assert_eq!(judge(holder(Holder::CLAIM, NOW), Holder::BARE), Lesson::Ignore);
    }

    #[test]
    fn what_is_in_use_keeps_its_place() {
        let judge = |held: Holder, kind| judge_place(Some(&held), 8, kind, NOW);
        assert_eq!(judge(holder(Holder::BARE, NOW), Holder::BARE), Place::Keep);
        assert_eq!(judge(holder(Holder::BARE, NOW), Holder::CLAIM), Place::Evict);
        assert_eq!(judge(holder(Holder::BARE, NOW - IDLE - 1), Holder::BARE), Place::Evict);
        assert_eq!(judge(holder(Holder::CLAIM, NOW - AGE), Holder::CLAIM), Place::Keep);
        assert_eq!(judge(holder(Holder::CLAIM, NOW - AGE - 1), Holder::BARE), Place::Evict);
        assert_eq!(judge(holder(Holder::TOLD, 0), Holder::CLAIM), Place::Use);
        assert_eq!(judge_place(Some(&holder(Holder::CLAIM, NOW)), 10, Holder::BARE, NOW), Place::Use);
        assert_eq!(judge_place(None, 8, Holder::BARE, NOW), Place::Use);
    }
}
