//! What is known of an address.

/// How long an address is valid after its owner last used it, and how long a contest lasts, in
/// nanoseconds: 5 minutes. Owners send more often than that; one that was replaced unseen is forgotten.
pub const LIFETIME: u64 = 300_000_000_000;

/// How old a sighting must be to be written anew: a storm of answers is no storm of writes.
pub(super) const FRESH: u64 = 100_000_000;

/// Who has an address. Each field is one aligned word: readers see it old or new, never mixed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[repr(C)]
pub struct Owner {
    /// Key of its MAC, 0 for [`OWN`](Self::OWN) and [`GATEWAY`](Self::GATEWAY).
    pub mac: u64,
    /// When it was last seen, in nanoseconds of `CLOCK_MONOTONIC`.
    pub seen: u64,
    /// When another one claimed the address, 0 while nobody has.
    pub contested: u64,
    /// When the first request went out that it has not answered yet.
    pub asked: u64,
    /// How many requests it has not answered since, as far as they are counted.
    pub asks: u64,
    /// [`BARE`](Self::BARE) or one of the constants behind it.
    pub kind: u64,
}

impl Owner {
    /// Learnt: it was the sender of an ARP request or a solicitation.
    pub const BARE: u64 = 0;
    /// Learnt from an announcement: gratuitous ARP, an ARP reply, a neighbour advertisement.
    pub const CLAIM: u64 = 1;
    /// Known from the kernel, by netlink.
    pub const TOLD: u64 = 2;
    /// The host's own, by netlink, on a master whose namespace has further devices of the master: each of
    /// them would answer. Requests of the host go to the wire alone.
    pub const OWN: u64 = 3;
    /// A next hop of the host's routes, by netlink: it is on the wire, whoever claims it here. Requests of
    /// the host go to the wire alone.
    pub const GATEWAY: u64 = 4;

    /// Learnt from a frame, and not told by netlink.
    #[inline(always)]
    pub const fn is_learnt(&self) -> bool {
        self.kind <= Self::CLAIM
    }

    /// Whether the entry says nothing any more: its owner was seen too long ago, or the contest is over.
    #[inline(always)]
    pub const fn is_over(&self, now: u64) -> bool {
        if self.contested != 0 {
            return is_past(self.contested, LIFETIME, now);
        }
        self.kind <= Self::TOLD && is_past(self.seen, LIFETIME, now)
    }

    /// Whether the host looks for the address on the wire alone.
    #[inline(always)]
    pub const fn is_for_wire(&self) -> bool {
        self.kind >= Self::OWN && self.contested == 0
    }
}

/// Whether more than `span` has passed since `then`. Another CPU may have written a later time.
#[inline(always)]
pub(super) const fn is_past(then: u64, span: u64, now: u64) -> bool {
    now.wrapping_sub(then).cast_signed() > span.cast_signed()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_ends_with_its_time_or_its_contest() {
        let now = 10 * LIFETIME;
        for (kind, ends) in
            [(Owner::BARE, true), (Owner::CLAIM, true), (Owner::TOLD, true), (Owner::OWN, false)]
        {
            let owner = Owner { mac: 7, seen: now, kind, ..Owner::default() };
            assert!(!owner.is_over(now) && !owner.is_over(now - 1), "another CPU's clock");
            assert_eq!(owner.is_over(now + LIFETIME + 1), ends);
            let contested = Owner { contested: now, ..owner };
            assert!(!contested.is_over(now + LIFETIME) && contested.is_over(now + LIFETIME + 1));
        }
        assert!(!Owner { kind: Owner::GATEWAY, ..Owner::default() }.is_over(now));
    }
}
