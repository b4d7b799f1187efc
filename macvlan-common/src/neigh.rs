//! Directed neighbour requests: who has which address, and whose claim is accepted.
//!
//! A broadcast ARP request or a multicast neighbour solicitation for an address that is known goes to
//! its owner alone. Addresses are known from netlink; frames of children and host teach more, and
//! keep both fresh. Where two claim one address, nobody has it: requests for it go to all, as
//! without us.

use crate::{
    child::{Mode, Policy},
    l3::Address,
};

/// How long an address is valid after its owner last used it, in nanoseconds: 5 minutes. Owners
/// send more often than that; one that was replaced unseen is forgotten.
pub const LIFETIME: u64 = 300_000_000_000;

/// How old a sighting must be to be written anew: a storm of answers is no storm of writes.
const FRESH: u64 = 1_000_000_000;

/// How many addresses one sender may teach us.
pub const PLACES: u64 = 16;

/// Who has an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[repr(C)]
pub struct Owner {
    /// Key of its MAC; 0 when two have claimed the address.
    pub mac: u64,
    /// When it was last seen, in nanoseconds of `CLOCK_MONOTONIC`.
    pub seen: u64,
    /// [`NETLINK`](Self::NETLINK) or [`LEARNT`](Self::LEARNT).
    pub source: u64,
}

impl Owner {
    /// Known from the kernel, by netlink.
    pub const NETLINK: u64 = 0;
    /// Learnt from a frame of the owner.
    pub const LEARNT: u64 = 1;

    /// Whether it was last seen too long ago.
    #[inline(always)]
    pub const fn is_stale(&self, now: u64) -> bool {
        // Another CPU may have written a later time.
        (now.wrapping_sub(self.seen)).cast_signed() > LIFETIME.cast_signed()
    }

    /// Key of the MAC to send requests to, 0 for none.
    #[inline(always)]
    pub const fn mac_at(&self, now: u64) -> u64 {
        if self.is_stale(now) { 0 } else { self.mac }
    }
}

/// Who sends a frame out of the master.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Speaker {
    /// The stack that owns the master.
    Host,
    /// A child.
    Child,
    /// A MAC that is neither's: a child that is not known yet, or a forged MAC.
    Stranger,
}

/// What is done about a claim.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Claim {
    /// Nothing changes.
    Ignore,
    /// The owner was seen again.
    Refresh,
    /// The speaker has the address from now on.
    Take,
    /// Two claim it: nobody has it.
    Contest,
}

/// Judges a claim of `speaker`, whose MAC has this key, to an address that `held` has.
///
/// A child's claim never prevails over netlink or the host. Where two children claim one address,
/// neither has it, so that no child can take requests away from another. A stranger's claim can only
/// make requests go to all again, as without us: it may be a new container in place of another.
#[inline(always)]
pub const fn judge_claim(speaker: Speaker, mac: u64, held: Option<&Owner>, now: u64) -> Claim {
    let (Some(held), false) = (held, matches!(held, Some(owner) if owner.is_stale(now))) else {
        return if matches!(speaker, Speaker::Stranger) { Claim::Ignore } else { Claim::Take };
    };
    let is_told = held.source == Owner::NETLINK;
    if held.mac == 0 {
        // No claim prolongs a contest: it ends when the time is over.
        return if matches!(speaker, Speaker::Host) && !is_told { Claim::Take } else { Claim::Ignore };
    }
    if held.mac == mac {
        let age = now.wrapping_sub(held.seen).cast_signed();
        return if age > FRESH.cast_signed() { Claim::Refresh } else { Claim::Ignore };
    }
    match speaker {
        Speaker::Host if !is_told => Claim::Take,
        Speaker::Child if is_told => Claim::Ignore,
        Speaker::Host | Speaker::Child | Speaker::Stranger => Claim::Contest,
    }
}

/// Where the sender with this MAC may remember an address that it taught us: a key for each of its
/// [`PLACES`], found by the address, so that none is searched for. A place that holds a
/// valid address is not given up.
#[inline(always)]
pub const fn place(mac: u64, address: Address) -> u64 {
    let Address([a, b, c, d]) = address;
    let mixed = (a ^ b ^ c ^ d).wrapping_mul(0x9e37_79b1);
    mac | (((mixed as u64 >> 28) % PLACES) << 48)
}

/// The MAC's key in a [`place`].
pub const fn mac_of(place: u64) -> u64 {
    place & 0xffff_ffff_ffff
}

/// Whether a request from the wire may go to a child of this policy alone: macvlan delivers to it
/// by destination (`macvlan_handle_frame` in drivers/net/macvlan.c).
#[inline(always)]
pub fn takes_from_wire(policy: Policy) -> bool {
    matches!(policy.mode(), Mode::Bridge | Mode::Private | Mode::Vepa)
}

#[cfg(test)]
mod tests {
    use proptest::{prelude::*, sample::select};

    use super::*;

    const NOW: u64 = 10 * LIFETIME;
    const SPEAKERS: [Speaker; 3] = [Speaker::Host, Speaker::Child, Speaker::Stranger];

    fn owner(source: u64) -> Owner {
        Owner { mac: 7, seen: NOW - 2 * FRESH, source }
    }

    #[test]
    fn an_owner_is_refreshed_and_forgotten() {
        for source in [Owner::NETLINK, Owner::LEARNT] {
            let held = owner(source);
            assert_eq!(judge_claim(Speaker::Child, 7, Some(&held), NOW), Claim::Refresh);
            assert_eq!(judge_claim(Speaker::Child, 7, Some(&held), held.seen), Claim::Ignore);
            assert_eq!(held.mac_at(NOW), 7);
            assert_eq!(held.mac_at(held.seen - 1), 7, "another processor's clock");
            assert_eq!(held.mac_at(held.seen + LIFETIME + 1), 0);
            assert_eq!(judge_claim(Speaker::Child, 8, Some(&held), NOW + LIFETIME), Claim::Take);
        }
    }

    #[test]
    fn an_address_that_nobody_has_is_taken_by_host_and_children() {
        assert_eq!(
            SPEAKERS.map(|speaker| judge_claim(speaker, 8, None, NOW)),
            [Claim::Take, Claim::Take, Claim::Ignore]
        );
    }

    #[test]
    fn word_stands_against_word_and_netlink_above_children() {
        let against = |source| SPEAKERS.map(|speaker| judge_claim(speaker, 8, Some(&owner(source)), NOW));
        assert_eq!(against(Owner::NETLINK), [Claim::Contest, Claim::Ignore, Claim::Contest]);
        assert_eq!(against(Owner::LEARNT), [Claim::Take, Claim::Contest, Claim::Contest]);
    }

    #[test]
    fn a_quarrel_ends_when_its_time_is_over() {
        let against = |source| {
            let held = Owner { mac: 0, ..owner(source) };
            SPEAKERS.map(|speaker| judge_claim(speaker, 8, Some(&held), NOW))
        };
        assert_eq!(against(Owner::NETLINK), [Claim::Ignore; 3]);
        assert_eq!(against(Owner::LEARNT), [Claim::Take, Claim::Ignore, Claim::Ignore]);
        let old = Owner { mac: 0, seen: 0, source: Owner::LEARNT };
        assert_eq!(judge_claim(Speaker::Child, 8, Some(&old), NOW), Claim::Take);
    }

    proptest! {
        #[test]
        fn only_a_stale_owner_loses_an_address_to_a_child(
            mac in 0..4_u64, held in 0..4_u64, age in 0..2 * LIFETIME, source in 0..2_u64,
            speaker in select(&[Speaker::Child, Speaker::Stranger][..]),
        ) {
            let owner = Owner { mac: held, seen: NOW - age, source };
            if judge_claim(speaker, mac, Some(&owner), NOW) == Claim::Take {
                prop_assert!(owner.is_stale(NOW) && speaker == Speaker::Child);
            }
        }

        #[test]
        fn a_sender_has_sixteen_places(bytes: [u8; 6], address: [u8; 16]) {
            let mac = crate::mac::Mac::new(bytes).key();
            let place = place(mac, Address::v6(address));
            prop_assert!(mac_of(place) == mac && place >> 48 < PLACES);
        }
    }
}
