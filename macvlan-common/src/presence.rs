//! Where the MAC of a child is: on its device here, on no device that is up, or beyond the wire.
//!
//! A MAC may live on the wire too: a virtual router's, that of a VM that has migrated. As with a
//! learning bridge, the last place that spoke wins. [`is_local`] is the one answer to "is this MAC
//! a child's now", for every hook.

use crate::{child::Policy, config::Config};

/// What is known of where a child's MAC is, by the child's slot ([`names::PRESENCE`](crate::names::PRESENCE)).
///
/// User space writes it whole, and only when a child comes, goes down or comes up again; in between each
/// word is the programs'. So neither overwrites what the other has learnt, and the child's settings, a
/// word that only user space writes, are in no danger.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[repr(C)]
pub struct Presence {
    /// [`HERE`](Self::HERE), [`ABSENT`](Self::ABSENT), or when the MAC was heard elsewhere, in
    /// nanoseconds of `CLOCK_MONOTONIC`.
    pub away: u64,
    /// When the child last sent a broadcast or multicast, on the same clock.
    pub spoke: u64,
}

impl Presence {
    /// In [`away`](Self::away): the child is here.
    pub const HERE: u64 = 0;

    /// In [`away`](Self::away): its device is down, without carrier or protodown.
    pub const ABSENT: u64 = 1;

    /// How long after a broadcast of the child the same MAC on the wire is taken for a reflection of it, in
    /// nanoseconds: a second.
    pub const ECHO: u64 = 1_000_000_000;

    /// A child whose device is up and has carrier, or not.
    pub const fn of_device(is_absent: bool) -> Self {
        Self { away: if is_absent { Self::ABSENT } else { Self::HERE }, spoke: 0 }
    }

    /// Whether its device is down, without carrier or protodown, and it has not sent since.
    #[inline(always)]
    pub const fn is_absent(self) -> bool {
        self.away == Self::ABSENT
    }

    /// Whether its MAC was heard on the wire after it last sent.
    #[inline(always)]
    pub const fn is_elsewhere(self) -> bool {
        self.away > Self::ABSENT
    }

    /// Whether an untagged broadcast or multicast that comes in now under its MAC shows that the MAC is
    /// elsewhere. macvlan itself sends none of a child's there; a switch may have reflected one.
    #[inline(always)]
    pub const fn is_refuted(self, now: u64) -> bool {
        self.away == Self::HERE && now.wrapping_sub(self.spoke).cast_signed() > Self::ECHO.cast_signed()
    }
}

/// Whether the MAC of a child with this policy and presence is its own here: turned to, isolated by,
/// hidden from the host. Where the wire is not trusted, whoever uses the MAC of a child held to it there
/// is a forger, and the child stays.
#[inline(always)]
pub const fn is_local(policy: Policy, presence: Presence, config: &Config) -> bool {
    if policy.is_hosts() || presence.is_absent() {
        return false;
    }
    !presence.is_elsewhere() || keeps_place(policy, config)
}

/// Whether nothing that the wire says moves a child with this policy elsewhere.
#[inline(always)]
pub const fn keeps_place(policy: Policy, config: &Config) -> bool {
    policy.is_hosts()
        || (policy.is_guarded() && config.distrusts_wire())
        || config.passthru != 0
        || config.is_attaching()
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: u64 = 100 * Presence::ECHO;

    #[test]
    fn a_reflection_is_no_proof_and_a_later_frame_is() {
        let presence = |age| Presence { spoke: NOW - age, ..Presence::default() };
        assert!(!presence(0).is_refuted(NOW));
        assert!(!presence(Presence::ECHO).is_refuted(NOW));
        assert!(presence(Presence::ECHO + 1).is_refuted(NOW));
        assert!(
            !Presence { spoke: NOW + 5, ..Presence::default() }.is_refuted(NOW),
            "another processor's clock"
        );
        assert!(Presence::default().is_refuted(NOW), "it never spoke");
    }

    #[test]
    fn only_who_is_here_goes_elsewhere() {
        assert!(!Presence { away: NOW, spoke: 0 }.is_refuted(NOW), "it is there already");
        assert!(!Presence::of_device(true).is_refuted(NOW), "it is nowhere");
        assert!(Presence { away: NOW, spoke: 0 }.is_elsewhere() && Presence::of_device(true).is_absent());
    }

    #[test]
    fn nobody_moves_while_programs_are_being_put_on() {
        let policy = Policy::new(crate::child::Mode::Bridge, true);
        assert!(!keeps_place(policy, &Config::default()));
        assert!(keeps_place(policy, &Config { flags: Config::ATTACHING, ..Config::default() }));
    }
}
