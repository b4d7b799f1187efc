//! Whose claim to an address is accepted.

use super::owner::{FRESH, Owner, is_past};
use crate::l3::Word;

/// Who sends a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Speaker {
    /// The stack that owns the master.
    Host,
    /// A child.
    Child,
    /// A MAC that is neither's, but comes out of the master: a child that is not known yet, or a forged
    /// MAC.
    Stranger,
    /// A station on the wire.
    Wire,
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
    /// Two claim it: requests go to all.
    Contest,
}

/// Judges a claim of `speaker`, whose MAC has this key, to an address that `held` has.
///
/// No claim takes an address from its owner: where two claim one, requests for it go to all until one of
/// them has been silent for [`LIFETIME`](super::LIFETIME), or netlink tells otherwise. So nobody can take
/// requests away from another, the host's MAC as the source of a frame included, and an address that has
/// moved is found at once. A stranger or a station on the wire can only contest.
#[inline(always)]
pub const fn judge_claim(speaker: Speaker, word: Word, mac: u64, held: Option<&Owner>, now: u64) -> Claim {
    let is_probe = matches!(word, Word::Probe);
    let (Some(held), false) = (held, matches!(held, Some(owner) if owner.is_over(now))) else {
        let may_own = matches!(speaker, Speaker::Host | Speaker::Child);
        return if may_own && !is_probe { Claim::Take } else { Claim::Ignore };
    };
    // No claim prolongs a contest: it ends when the time is over.
    if held.contested != 0 || held.kind == Owner::GATEWAY {
        return Claim::Ignore;
    }
    if held.mac == mac {
        let is_stronger = held.kind == Owner::BARE && matches!(word, Word::Announced);
        let is_news = !is_probe && (is_stronger || is_past(held.seen, FRESH, now));
        return if is_news { Claim::Refresh } else { Claim::Ignore };
    }
    match (speaker, word) {
        (Speaker::Host, _) if held.kind == Owner::OWN => Claim::Ignore,
        // The owner of a duplicate hears of it, and answers.
        (Speaker::Host | Speaker::Wire, Word::Probe) => Claim::Ignore,
        // Whoever on the wire asks for another address does not look for its own.
        (Speaker::Wire, Word::Bare) => Claim::Ignore,
        _ => Claim::Contest,
    }
}

#[cfg(test)]
mod tests {
    use proptest::{prelude::*, sample::select};

    use super::{super::LIFETIME, *};

    const NOW: u64 = 10 * LIFETIME;
    const SPEAKERS: [Speaker; 4] = [Speaker::Host, Speaker::Child, Speaker::Stranger, Speaker::Wire];
    const WORDS: [Word; 3] = [Word::Bare, Word::Announced, Word::Probe];
    const KINDS: [u64; 5] = [Owner::BARE, Owner::CLAIM, Owner::TOLD, Owner::OWN, Owner::GATEWAY];

    fn owner(kind: u64) -> Owner {
        Owner { mac: 7, seen: NOW - 2 * FRESH, kind, ..Owner::default() }
    }

    fn judge(speaker: Speaker, word: Word, held: Option<&Owner>) -> Claim {
        judge_claim(speaker, word, 8, held, NOW)
    }

    #[test]
    fn an_owner_is_refreshed_and_forgotten() {
        for kind in [Owner::BARE, Owner::CLAIM, Owner::TOLD] {
            let held = owner(kind);
            assert_eq!(judge_claim(Speaker::Child, Word::Bare, 7, Some(&held), NOW), Claim::Refresh);
            assert_eq!(judge_claim(Speaker::Child, Word::Probe, 7, Some(&held), NOW), Claim::Ignore);
            assert_eq!(judge_claim(Speaker::Child, Word::Bare, 7, Some(&held), held.seen), Claim::Ignore);
            let late = NOW + LIFETIME;
            assert_eq!(judge_claim(Speaker::Child, Word::Bare, 8, Some(&held), late), Claim::Take);
        }
        let bare = owner(Owner::BARE);
        let announced = judge_claim(Speaker::Child, Word::Announced, 7, Some(&bare), bare.seen);
        assert_eq!(announced, Claim::Refresh, "it counts for more");
    }

    #[test]
    fn an_address_that_nobody_has_is_taken_by_host_and_children() {
        for word in [Word::Bare, Word::Announced] {
            assert_eq!(
                SPEAKERS.map(|speaker| judge(speaker, word, None)),
                [Claim::Take, Claim::Take, Claim::Ignore, Claim::Ignore]
            );
        }
        assert_eq!(SPEAKERS.map(|speaker| judge(speaker, Word::Probe, None)), [Claim::Ignore; 4]);
    }

    #[test]
    fn word_stands_against_word_and_against_netlink() {
        for kind in [Owner::BARE, Owner::CLAIM, Owner::TOLD, Owner::OWN] {
            let held = owner(kind);
            for word in WORDS {
                let is_silent = kind == Owner::OWN || word == Word::Probe;
                let host = if is_silent { Claim::Ignore } else { Claim::Contest };
                let wire = if word == Word::Announced { Claim::Contest } else { Claim::Ignore };
                assert_eq!(
                    SPEAKERS.map(|speaker| judge(speaker, word, Some(&held))),
                    [host, Claim::Contest, Claim::Contest, wire],
                    "{kind} {word:?}"
                );
            }
        }
        for (speaker, word) in SPEAKERS.into_iter().flat_map(|speaker| WORDS.map(|word| (speaker, word))) {
            assert_eq!(judge(speaker, word, Some(&owner(Owner::GATEWAY))), Claim::Ignore);
        }
    }

    #[test]
    fn a_contest_ends_when_its_time_is_over() {
        for kind in [Owner::CLAIM, Owner::TOLD, Owner::OWN] {
            let held = Owner { contested: NOW, ..owner(kind) };
            assert_eq!(
                SPEAKERS.map(|speaker| judge(speaker, Word::Announced, Some(&held))),
                [Claim::Ignore; 4]
            );
            let old = Owner { contested: NOW - LIFETIME - 1, ..held };
            assert_eq!(judge(Speaker::Child, Word::Bare, Some(&old)), Claim::Take);
        }
    }

    proptest! {
        #[test]
        fn no_claim_takes_an_address_from_its_owner(
            mac in 0..4_u64, held in 0..4_u64, age in 0..2 * LIFETIME, kind in select(&KINDS[..]),
            is_contested: bool, word in select(&WORDS[..]), speaker in select(&SPEAKERS[..]),
        ) {
            let contested = if is_contested { NOW - age } else { 0 };
            let owner = Owner { mac: held, seen: NOW - age, kind, contested, ..Owner::default() };
            if judge_claim(speaker, word, mac, Some(&owner), NOW) == Claim::Take {
                prop_assert!(owner.is_over(NOW) && matches!(speaker, Speaker::Host | Speaker::Child));
            }
        }
    }
}
