//! How many addresses one sender may teach us.

use super::owner::{Owner, is_past};
use crate::l3::Address;

/// How many addresses one sender may teach us.
pub const PLACES: u64 = 64;

/// How many places an address may take: the first one found by the address, the others behind it.
pub const TRIES: u64 = 8;

/// How long the sender of bare requests keeps a place unseen, in nanoseconds.
const BARE_LIFETIME: u64 = 10_000_000_000;

/// Where the sender with this MAC may remember an address that it taught us at the try: a key for one of
/// its [`PLACES`], which form a ring.
#[inline(always)]
pub const fn place(mac: u64, address: Address, attempt: u64) -> u64 {
    let Address([a, b, c, d]) = address;
    let mixed = (a ^ b ^ c ^ d).wrapping_mul(0x9e37_79b1);
    mac | ((((mixed >> 26) as u64 + attempt) % PLACES) << 48)
}

/// The MAC's key in a [`place`].
pub const fn mac_of(place: u64) -> u64 {
    place & 0xffff_ffff_ffff
}

/// What is done about a place that another address has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Place {
    /// It stays.
    Keep,
    /// Nothing needs it: the address is somebody else's, known from netlink, or forgotten.
    Use,
    /// The address is forgotten for another one.
    Evict,
}

/// Judges a place of the sender with this MAC that holds an address that `held` has, when the sender
/// teaches another one as `kind`. An announcement displaces what was only seen in requests.
#[inline(always)]
pub const fn judge_place(held: Option<&Owner>, mac: u64, kind: u64, now: u64) -> Place {
    let Some(held) = held else { return Place::Use };
    if held.mac != mac || !held.is_learnt() {
        return Place::Use;
    }
    let gives_way = held.kind == Owner::BARE && (kind > held.kind || is_past(held.seen, BARE_LIFETIME, now));
    if gives_way || held.is_over(now) { Place::Evict } else { Place::Keep }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use proptest::prelude::*;

    use super::{super::LIFETIME, *};

    const NOW: u64 = 10 * LIFETIME;

    #[test]
    fn claims_stay_and_bare_senders_give_way() {
        let owner = |kind, seen| Owner { mac: 7, seen, kind, ..Owner::default() };
        let judge = |held: Owner, kind| judge_place(Some(&held), 7, kind, NOW);
        assert_eq!(judge(owner(Owner::CLAIM, NOW), Owner::CLAIM), Place::Keep);
        assert_eq!(judge(owner(Owner::CLAIM, NOW - LIFETIME - 1), Owner::BARE), Place::Evict);
        assert_eq!(judge(owner(Owner::BARE, NOW), Owner::BARE), Place::Keep);
        assert_eq!(judge(owner(Owner::BARE, NOW), Owner::CLAIM), Place::Evict);
        assert_eq!(judge(owner(Owner::BARE, NOW - BARE_LIFETIME - 1), Owner::BARE), Place::Evict);
        assert_eq!(judge(owner(Owner::TOLD, NOW), Owner::BARE), Place::Use);
        assert_eq!(judge_place(Some(&owner(Owner::CLAIM, NOW)), 8, Owner::BARE, NOW), Place::Use);
        assert_eq!(judge_place(None, 8, Owner::BARE, NOW), Place::Use);
    }

    proptest! {
        #[test]
        fn a_sender_has_a_ring_of_places(bytes: [u8; 6], address: [u8; 16]) {
            let mac = crate::mac::Mac::new(bytes).key();
            let places: Vec<u64> = (0..TRIES).map(|attempt| place(mac, Address::v6(address), attempt)).collect();
            prop_assert!(places.iter().all(|place| mac_of(*place) == mac && place >> 48 < PLACES));
            prop_assert!(places.windows(2).all(|pair| ((pair[0] >> 48) + 1) % PLACES == pair[1] >> 48));
        }

        #[test]
        fn addresses_in_a_row_fill_all_places(first: [u8; 3]) {
            let [a, b, c] = first;
            let places: BTreeSet<u64> =
                (0..=255).map(|last| place(7, Address::v4([a, b, c, last]), 0)).collect();
            prop_assert_eq!(places.len() as u64, PLACES);
        }

        #[test]
        fn as_many_addresses_as_there_are_tries_never_collide(
            addresses in prop::collection::btree_set(any::<[u8; 4]>(), TRIES as usize),
        ) {
            let mut taken: BTreeMap<u64, Address> = BTreeMap::new();
            for address in addresses.into_iter().map(Address::v4) {
                let free = (0..TRIES).map(|attempt| place(7, address, attempt)).find(|at| !taken.contains_key(at));
                prop_assert!(free.is_some());
                taken.extend(free.map(|at| (at, address)));
            }
        }
    }
}
