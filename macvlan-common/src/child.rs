//! What the maps say of one child.

use crate::counters::{ChildCounters, Path};

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

/// How far a child's frames are held to its own addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[repr(u8)]
pub enum AntiSpoof {
    /// Not at all.
    #[default]
    Off = 0,
    /// To its MAC.
    Mac = 1,
    /// To its MAC and its IP addresses.
    Ip = 2,
}

/// Every degree.
pub const ANTI_SPOOFS: [AntiSpoof; 3] = [AntiSpoof::Off, AntiSpoof::Mac, AntiSpoof::Ip];

impl AntiSpoof {
    /// Its name on the command line and in JSON.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::Mac => "mac",
            Self::Ip => "ip",
        }
    }
}

/// What may happen to one child's frames: one 64-bit word, so that a change is seen whole.
///
/// Bits 0..8 hold the [`Mode`], bit 8 host access, bit 9 that siblings are out of reach, bits
/// 10..12 [`AntiSpoof`], bit 12 local reflection, bit 13 that its own device vouches for it, bit 16 that
/// it is to be no router, bit 17 that it is to be no DHCP server, bit 24 that there are
/// [`rates`](crate::rate), bit 25 that they are for the wire alone, bits 48..64 the group; the others
/// are zero.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
#[repr(transparent)]
pub struct Policy(u64);

impl Policy {
    const MODE: u64 = 0xff;
    const HOST_ACCESS: u64 = 1 << 8;
    const NO_SIBLINGS: u64 = 1 << 9;
    const ANTI_SPOOF_SHIFT: u32 = 10;
    const ANTI_SPOOF: u64 = 0b11 << Self::ANTI_SPOOF_SHIFT;
    const REFLECTS: u64 = 1 << 12;
    const VOUCHED: u64 = 1 << 13;
    const LIMITED: u64 = 1 << 24;
    const LIMITED_ON_WIRE: u64 = 1 << 25;
    const NO_RA: u64 = 1 << 16;
    const NO_DHCP_SERVER: u64 = 1 << 17;
    const GROUP_SHIFT: u32 = 48;
    const GROUP: u64 = 0xffff << Self::GROUP_SHIFT;

    /// A child in this mode, that may or may not talk to the host.
    pub const fn new(mode: Mode, host_access: bool) -> Self {
        let access = if host_access { Self::HOST_ACCESS } else { 0 };
        Self(mode as u64 | access)
    }

    const fn with(self, bits: u64, on: bool) -> Self {
        Self(if on { self.0 | bits } else { self.0 & !bits })
    }

    /// The same child in this mode.
    pub const fn with_mode(self, mode: Mode) -> Self {
        Self(self.0 & !Self::MODE | mode as u64)
    }

    /// The same, talking to the host or not.
    pub const fn with_host_access(self, on: bool) -> Self {
        self.with(Self::HOST_ACCESS, on)
    }

    /// The same, talking to siblings or not.
    pub const fn with_sibling_access(self, on: bool) -> Self {
        self.with(Self::NO_SIBLINGS, !on)
    }

    /// The same, held to its addresses so far.
    pub const fn with_anti_spoof(self, degree: AntiSpoof) -> Self {
        Self(self.0 & !Self::ANTI_SPOOF | (degree as u64) << Self::ANTI_SPOOF_SHIFT)
    }

    /// The same; in VEPA mode, it is reflected to here or by the switch.
    pub const fn with_reflection(self, local: bool) -> Self {
        self.with(Self::REFLECTS, local)
    }

    /// The same; a program on its own device vouches for its frames, or does not.
    pub const fn with_vouched(self, on: bool) -> Self {
        self.with(Self::VOUCHED, on)
    }

    /// The same, limited to rates or not.
    pub const fn with_limit(self, on: bool) -> Self {
        self.with(Self::LIMITED, on)
    }

    /// The same; what rates it has are for frames from and to the wire alone.
    pub const fn with_wire_scope(self, on: bool) -> Self {
        self.with(Self::LIMITED_ON_WIRE, on)
    }

    /// The same, sending router advertisements and redirects or not.
    pub const fn with_ra(self, on: bool) -> Self {
        self.with(Self::NO_RA, !on)
    }

    /// The same, serving DHCP or not.
    pub const fn with_dhcp_server(self, on: bool) -> Self {
        self.with(Self::NO_DHCP_SERVER, !on)
    }

    /// The same in this group; 0 is none.
    pub const fn with_group(self, group: u16) -> Self {
        Self(self.0 & !Self::GROUP | (group as u64) << Self::GROUP_SHIFT)
    }

    /// Whether siblings may talk to it at all, as far as its mode and group let them.
    #[inline(always)]
    pub const fn sibling_access(self) -> bool {
        self.0 & Self::NO_SIBLINGS == 0
    }

    /// How far it is held to its addresses. What we did not write reads as the strictest.
    #[inline(always)]
    pub const fn anti_spoof(self) -> AntiSpoof {
        match (self.0 & Self::ANTI_SPOOF) >> Self::ANTI_SPOOF_SHIFT {
            0 => AntiSpoof::Off,
            1 => AntiSpoof::Mac,
            _ => AntiSpoof::Ip,
        }
    }

    /// Whether it is held to its MAC.
    #[inline(always)]
    pub const fn is_guarded(self) -> bool {
        self.0 & Self::ANTI_SPOOF != 0
    }

    /// Whether it is held to its IP addresses too.
    #[inline(always)]
    pub const fn is_held_to_addresses(self) -> bool {
        matches!(self.anti_spoof(), AntiSpoof::Ip)
    }

    /// Whether it may send router advertisements and redirects.
    #[inline(always)]
    pub const fn ra(self) -> bool {
        self.0 & Self::NO_RA == 0
    }

    /// Whether it may be a DHCP server.
    #[inline(always)]
    pub const fn dhcp_server(self) -> bool {
        self.0 & Self::NO_DHCP_SERVER == 0
    }

    /// Whether it was asked for that what lies behind the MACs of its frames be looked into.
    #[inline(always)]
    pub const fn asks_inspection(self) -> bool {
        self.is_held_to_addresses() || !self.ra() || !self.dhcp_server()
    }

    /// Whether what lies behind the MACs of its frames is looked into. A passthru child bears the
    /// host's MAC: nobody can tell their frames apart.
    #[inline(always)]
    pub const fn is_inspected(self) -> bool {
        self.asks_inspection() && !matches!(self.mode(), Mode::Passthru)
    }

    /// Whether it was asked for that it be reflected to here.
    #[inline(always)]
    pub const fn reflection(self) -> bool {
        self.0 & Self::REFLECTS != 0
    }

    /// Whether it is a VEPA child that is reflected to here.
    #[inline(always)]
    pub const fn reflects(self) -> bool {
        self.reflection() && matches!(self.mode(), Mode::Vepa)
    }

    /// Whether a program on its own device vouches for its frames.
    #[inline(always)]
    pub const fn is_vouched(self) -> bool {
        self.0 & Self::VOUCHED != 0
    }

    /// Whether there is to be a program on its own device: to hold it to its MAC, to look into what it
    /// sends before the driver gives copies to siblings or, in passthru mode, to tell its frames from
    /// the host's, which bear the same MAC.
    #[inline(always)]
    pub const fn wants_vouching(self) -> bool {
        self.is_guarded() || self.is_inspected() || matches!(self.mode(), Mode::Passthru)
    }

    /// Whether it is limited to rates.
    #[inline(always)]
    pub const fn is_limited(self) -> bool {
        self.0 & Self::LIMITED != 0
    }

    /// Whether what rates it has are for frames from and to the wire alone.
    #[inline(always)]
    pub const fn has_wire_scope(self) -> bool {
        self.0 & Self::LIMITED_ON_WIRE != 0
    }

    /// Whether what it exchanges on this path is limited to rates.
    #[inline(always)]
    pub const fn is_limited_on(self, path: Path) -> bool {
        self.is_limited() && (!self.has_wire_scope() || matches!(path, Path::Wire))
    }

    /// Its group, 0 for none.
    #[inline(always)]
    pub const fn group(self) -> u16 {
        (self.0 >> Self::GROUP_SHIFT) as u16
    }

    /// Whether two siblings are kept apart by what was set for them, whatever their modes.
    #[inline(always)]
    pub const fn is_apart_from(self, other: Self) -> bool {
        (self.0 | other.0) & Self::NO_SIBLINGS | (self.0 ^ other.0) & Self::GROUP != 0
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
        self.host_access() && (self.mode().is_hairpinned() || self.reflects())
    }
}

impl core::fmt::Debug for Policy {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "{}{}", self.mode().as_str(), if self.host_access() { "" } else { ", no host access" })?;
        write!(f, "{}", if self.sibling_access() { "" } else { ", no sibling access" })?;
        write!(f, "{}", if self.reflection() { ", reflected here" } else { "" })?;
        if self.is_guarded() {
            write!(f, ", anti-spoof {}", self.anti_spoof().as_str())?;
        }
        if self.is_limited() {
            write!(f, ", limited{}", if self.has_wire_scope() { " on the wire" } else { "" })?;
        }
        write!(f, "{}", if self.ra() { "" } else { ", no router" })?;
        write!(f, "{}", if self.dhcp_server() { "" } else { ", no DHCP server" })?;
        if self.group() != 0 {
            write!(f, ", group {}", self.group())?;
        }
        Ok(())
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
    fn each_setting_of_a_policy_leaves_the_others_alone() {
        let base = Policy::new(Mode::Vepa, true);
        let full = base
            .with_sibling_access(false)
            .with_reflection(true)
            .with_group(0xbeef)
            .with_anti_spoof(AntiSpoof::Ip)
            .with_limit(true)
            .with_wire_scope(true)
            .with_ra(false)
            .with_dhcp_server(false)
            .with_host_access(false);
        assert_eq!((full.ra(), full.dhcp_server(), full.is_inspected()), (false, false, true));
        assert!(full.with_ra(true).dhcp_server() != full.with_dhcp_server(true).dhcp_server());
        assert_eq!((full.mode(), full.host_access(), full.sibling_access()), (Mode::Vepa, false, false));
        assert_eq!((full.anti_spoof(), full.reflects(), full.group()), (AntiSpoof::Ip, true, 0xbeef));
        assert!(!full.with_mode(Mode::Bridge).reflects() && full.with_mode(Mode::Bridge).reflection());
        assert!(full.is_limited_on(Path::Wire) && !full.is_limited_on(Path::Host));
        assert!(full.with_wire_scope(false).is_limited_on(Path::Sibling));
        assert!(full.with_limit(false).has_wire_scope() && !full.with_limit(false).is_limited_on(Path::Wire));
        let back = full
            .with_limit(false)
            .with_wire_scope(false)
            .with_sibling_access(true)
            .with_reflection(false)
            .with_group(0)
            .with_anti_spoof(AntiSpoof::Off)
            .with_ra(true)
            .with_dhcp_server(true)
            .with_host_access(true);
        assert_eq!(back, base);
        for degree in ANTI_SPOOFS {
            assert_eq!(base.with_anti_spoof(degree).anti_spoof(), degree);
            assert_eq!(base.with_anti_spoof(degree).is_inspected(), degree == AntiSpoof::Ip);
        }
        assert!(base.with_ra(false).is_inspected() && base.with_dhcp_server(false).is_inspected());
        assert!(!base.with_ra(false).with_mode(Mode::Passthru).is_inspected());
    }

    #[test]
    fn siblings_are_apart_when_either_says_so_or_their_groups_differ() {
        let child = Policy::new(Mode::Bridge, true);
        let loner = child.with_sibling_access(false);
        let (one, other) = (child.with_group(1), child.with_group(0x100));
        for (a, b, apart) in [
            (child, child, false),
            (one, one, false),
            (child, loner, true),
            (loner, loner, true),
            (child, one, true),
            (one, other, true),
        ] {
            assert_eq!((a.is_apart_from(b), b.is_apart_from(a)), (apart, apart), "{a:?}, {b:?}");
        }
    }

    #[test]
    fn an_unwritten_policy_leaves_the_child_to_the_kernel() {
        assert_eq!(Policy::default().mode(), Mode::Source);
        assert!(!Policy::default().reaches_host());
    }
}
