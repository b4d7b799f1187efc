//! What the maps say of one child.

use crate::counters::ChildCounters;

/// Mode of a macvlan device, as the kernel numbers it (`enum macvlan_mode` in
/// `include/uapi/linux/if_link.h`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Mode {
    /// Nobody but the wire and the host.
    Private = 1,
    /// Siblings through an external reflective relay (IEEE 802.1Qbg).
    Vepa = 2,
    /// Siblings directly, inside the kernel.
    Bridge = 4,
    /// The only child; it takes over the master.
    Passthru = 8,
    /// Receives by the source MAC of the frame.
    Source = 16,
}

impl Mode {
    /// The mode that the kernel numbers so, `None` for a number it does not use.
    #[inline(always)]
    pub const fn from_kernel(number: u32) -> Option<Self> {
        match number {
            1 => Some(Self::Private),
            2 => Some(Self::Vepa),
            4 => Some(Self::Bridge),
            8 => Some(Self::Passthru),
            16 => Some(Self::Source),
            _ => None,
        }
    }

    /// The kernel's number of this mode (`IFLA_MACVLAN_MODE`).
    pub const fn to_kernel(self) -> u32 {
        self as u32
    }

    /// The word that `ip link` uses.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Private => "private",
            Self::Vepa => "vepa",
            Self::Bridge => "bridge",
            Self::Passthru => "passthru",
            Self::Source => "source",
        }
    }

    /// Modes whose traffic with the host is turned around.
    #[inline(always)]
    pub const fn is_hairpinned(self) -> bool {
        matches!(self, Self::Bridge | Self::Private)
    }
}

/// What may happen to one child's frames: one 64-bit word, so that a change is seen whole.
///
/// Bits 0..8 hold the [`Mode`], bit 8 host access; the others are zero.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
#[repr(transparent)]
pub struct Policy(u64);

impl Policy {
    const MODE: u64 = 0xff;
    const HOST_ACCESS: u64 = 1 << 8;

    /// A child in this mode, that may or may not talk to the host.
    pub const fn new(mode: Mode, host_access: bool) -> Self {
        let access = if host_access { Self::HOST_ACCESS } else { 0 };
        Self(mode as u64 | access)
    }

    /// The child's mode. A word that we did not write reads as `source`, which is left to the
    /// kernel in everything.
    #[inline(always)]
    pub const fn mode(self) -> Mode {
        match Mode::from_kernel((self.0 & Self::MODE) as u32) {
            Some(mode) => mode,
            None => Mode::Source,
        }
    }

    /// Whether host and child may talk through the hairpin.
    #[inline(always)]
    pub const fn host_access(self) -> bool {
        self.0 & Self::HOST_ACCESS != 0
    }

    /// Whether the host's traffic with this child is turned around.
    #[inline(always)]
    pub const fn reaches_host(self) -> bool {
        self.host_access() && self.mode().is_hairpinned()
    }
}

impl core::fmt::Debug for Policy {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "{}{}", self.mode().as_str(), if self.host_access() { "" } else { ", no host access" })
    }
}

/// Value of the children map, one per CPU.
///
/// The slot never changes while the entry lives, so user space never writes over counters that
/// programs are adding to; what can change is in the policy array at that slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[repr(C)]
pub struct ChildEntry {
    /// Index in the policy array, the same on every CPU.
    pub slot: u32,
    /// Zero: keeps the counters aligned without hidden padding.
    pub reserved: u32,
    /// This CPU's share of the child's counters.
    pub counters: ChildCounters,
}

/// What a child that is gone had counted: should its MAC come back, it counts on from there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[repr(C)]
pub struct Retired {
    /// When it went, in nanoseconds since the machine started.
    pub since: u64,
    /// Summed over all CPUs.
    pub counters: ChildCounters,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_policy_gives_back_what_went_in() {
        for mode in [Mode::Private, Mode::Vepa, Mode::Bridge, Mode::Passthru, Mode::Source] {
            for access in [false, true] {
                let policy = Policy::new(mode, access);
                assert_eq!((policy.mode(), policy.host_access()), (mode, access));
                assert_eq!(Mode::from_kernel(mode.to_kernel()), Some(mode));
            }
        }
    }

    #[test]
    fn an_unwritten_policy_leaves_the_child_to_the_kernel() {
        assert_eq!(Policy::default().mode(), Mode::Source);
        assert!(!Policy::default().reaches_host());
    }
}
