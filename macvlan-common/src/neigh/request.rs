//! Whether a request goes to the owner alone.

use super::owner::{FRESH, Owner, is_past};
use crate::l3::Word;

/// How long an owner may take to answer, in nanoseconds. Whoever asks in vain asks again after a second.
pub const PATIENCE: u64 = 500_000_000;

/// How long unanswered requests are counted.
const PERIOD: u64 = 10_000_000_000;

/// How many requests of a [`PERIOD`] are counted: more are a storm, which is not told to all.
const MOST: u64 = 32;

/// What becomes of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Request {
    /// It goes to the owner alone, not to all.
    pub is_directed: bool,
    /// What [`asked`](Owner::asked) and [`asks`](Owner::asks) become, where they change.
    pub counted: Option<(u64, u64)>,
}

/// Judges a request for an address that `held` has, sent with this word.
///
/// An owner that has left the first requests unanswered may not have the address any more: it has moved
/// unannounced, or its owner ignores ARP for it. Later ones go to all, up to some in a while, so that a
/// storm of requests that nobody answers stays the owner's alone. Probes are not counted: their senders hope
/// for no answer.
#[inline(always)]
pub const fn judge_request(held: &Owner, word: Word, now: u64) -> Request {
    let counts = !matches!(word, Word::Probe);
    let all = Request { is_directed: false, counted: None };
    let directed = Request { is_directed: true, counted: None };
    if held.mac == 0 || held.contested != 0 || held.is_over(now) {
        return all;
    }
    if !is_past(held.seen, FRESH, now) {
        return directed;
    }
    if !is_past(held.seen, 0, held.asked) || is_past(held.asked, PERIOD, now) {
        return Request { is_directed: true, counted: if counts { Some((now, 1)) } else { None } };
    }
    if held.asks >= MOST {
        return directed;
    }
    let is_directed = !is_past(held.asked, PATIENCE, now);
    Request { is_directed, counted: if counts { Some((held.asked, held.asks + 1)) } else { None } }
}

#[cfg(test)]
mod tests {
    use super::{super::LIFETIME, *};

    const START: u64 = 10 * LIFETIME;
    const SECOND: u64 = 1_000_000_000;

    fn told() -> Owner {
        Owner { mac: 7, seen: START, kind: Owner::TOLD, ..Owner::default() }
    }

    /// Asks at a time after the start.
    fn ask(owner: &mut Owner, after: u64) -> bool {
        let request = judge_request(owner, Word::Bare, START + after);
        if let Some(counted) = request.counted {
            (owner.asked, owner.asks) = counted;
        }
        request.is_directed
    }

    #[test]
    fn what_an_owner_leaves_unanswered_goes_to_all() {
        let mut owner = told();
        assert_eq!([1, 2, 3].map(|second| ask(&mut owner, second * SECOND)), [true, false, false]);
        // It speaks.
        owner.seen = START + 4 * SECOND;
        assert_eq!([5, 6].map(|second| ask(&mut owner, second * SECOND)), [true, false]);
        assert!(ask(&mut owner, 60 * SECOND), "asked anew after a while");
        let probe = judge_request(&told(), Word::Probe, START + SECOND);
        assert_eq!(probe, Request { is_directed: true, counted: None });
    }

    #[test]
    fn an_owner_that_answers_is_asked_alone() {
        let mut owner = told();
        for second in 1..250 {
            assert!(ask(&mut owner, second * SECOND));
            owner.seen = START + second * SECOND + 1000;
        }
    }

    #[test]
    fn a_storm_is_not_told_to_all() {
        let mut owner = told();
        let floods =
            (SECOND..30 * SECOND).step_by(1_000_000).filter(|after| !ask(&mut owner, *after)).count();
        assert_eq!(floods, 0);
        // Few who ask in vain are heard by all, but not for ever.
        let mut owner = told();
        let floods =
            (SECOND..9 * SECOND).step_by(50_000_000).filter(|after| !ask(&mut owner, *after)).count();
        assert_eq!(floods, 32 - 11);
    }

    #[test]
    fn what_nobody_has_or_two_claim_goes_to_all() {
        for owner in [
            Owner { mac: 0, ..told() },
            Owner { contested: START, ..told() },
            Owner { seen: START - LIFETIME, ..told() },
            Owner { mac: 0, kind: Owner::OWN, ..told() },
            Owner { mac: 0, kind: Owner::GATEWAY, ..told() },
        ] {
            let all = Request { is_directed: false, counted: None };
            assert_eq!(judge_request(&owner, Word::Bare, START + 1), all, "{owner:?}");
        }
    }
}
