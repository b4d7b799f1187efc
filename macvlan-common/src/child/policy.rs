//! What may happen to a child's frames, in one word.

use super::{AntiSpoof, Mode};
use crate::{counters::Path, port};

/// What may happen to one child's frames: one 64-bit word, so that a change is seen whole.
///
/// Bits 0..8 hold the [`Mode`], bit 8 host access, bit 9 that siblings are blocked, bits
/// 10..12 [`AntiSpoof`], bit 12 local reflection, bit 13 that its own device vouches for it, bit 14 that
/// it is the host's own, bit 15 that somebody named it, bit 16 that it may not be a router, bit 17 that it may not be a DHCP server, bit 18 that the host hears
/// its control frames, bit 19 that its container is not known yet, bit 20 that a rule waits for that, bit 22 that it may change the MAC that it is held to, bit 24 that there are [`rates`](crate::rate), bit 25 that they are for the wire
/// alone, bits 26..48 the number of the [port](crate::port) that it is, bits 48..64 the group; the others are zero.
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
    const HOSTS: u64 = 1 << 14;
    const NAMED: u64 = 1 << 15;
    const LIMITED: u64 = 1 << 24;
    const LIMITED_ON_WIRE: u64 = 1 << 25;
    const NO_RA: u64 = 1 << 16;
    const NO_DHCP_SERVER: u64 = 1 << 17;
    const CONTROLS_HOST: u64 = 1 << 18;
    const UNSETTLED: u64 = 1 << 19;
    const UNRULED: u64 = 1 << 20;
    const MAC_CHANGE: u64 = 1 << 22;
    const PORT_SHIFT: u32 = 26;
    const PORT: u64 = (port::NUMBERS as u64 - 1) << Self::PORT_SHIFT;
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

    /// The same, held to its addresses to this degree.
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

    /// The same; the host's own device, or a child like any other.
    pub const fn with_hosts(self, on: bool) -> Self {
        self.with(Self::HOSTS, on)
    }

    /// The same; somebody asked for this very child, or nobody did.
    pub const fn with_named(self, on: bool) -> Self {
        self.with(Self::NAMED, on)
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

    /// The same; its [control frames](crate::inspect::is_control) reach the host too, or do not.
    pub const fn with_host_control(self, on: bool) -> Self {
        self.with(Self::CONTROLS_HOST, on)
    }

    /// The same; what it may do hangs on its container, which is not known yet, or it is settled.
    pub const fn with_unsettled(self, on: bool) -> Self {
        self.with(Self::UNSETTLED, on)
    }

    /// The same; a rule waits for its container to be known, or none does.
    pub const fn with_unruled(self, on: bool) -> Self {
        self.with(Self::UNRULED, on)
    }

    /// The same; the MAC that it is held to may change from inside, or may not.
    pub const fn with_mac_change(self, on: bool) -> Self {
        self.with(Self::MAC_CHANGE, on)
    }

    /// The same in this group; 0 is none.
    pub const fn with_group(self, group: u16) -> Self {
        Self(self.0 & !Self::GROUP | (group as u64) << Self::GROUP_SHIFT)
    }

    /// The same; the port with this number, or 0: none.
    pub const fn with_port(self, number: u32) -> Self {
        Self(self.0 & !Self::PORT | (number as u64) << Self::PORT_SHIFT & Self::PORT)
    }

    /// The number of the port that it is; else 0.
    #[inline(always)]
    pub const fn port(self) -> u32 {
        ((self.0 & Self::PORT) >> Self::PORT_SHIFT) as u32
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

    /// Whether all that it gets passes hooks of the master, and nobody passes for it: what the driver gives to bridge
    /// siblings itself does not come to it.
    pub const fn is_strict(self) -> bool {
        matches!(self.mode(), Mode::Vepa) && self.reflection() && self.is_guarded()
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

    /// Whether its [control frames](crate::inspect::is_control) reach the host too.
    #[inline(always)]
    pub const fn host_control(self) -> bool {
        self.0 & Self::CONTROLS_HOST != 0
    }

    /// Whether an option asks for the payload of its frames to be inspected.
    #[inline(always)]
    pub const fn asks_inspection(self) -> bool {
        self.is_held_to_addresses() || !self.ra() || !self.dhcp_server()
    }

    /// Whether the payload of its frames is inspected. A passthru child has the host's MAC: their frames
    /// cannot be told apart.
    #[inline(always)]
    pub const fn is_inspected(self) -> bool {
        self.asks_inspection() && !matches!(self.mode(), Mode::Passthru)
    }

    /// Whether local reflection is set, whatever its mode.
    #[inline(always)]
    pub const fn reflection(self) -> bool {
        self.0 & Self::REFLECTS != 0
    }

    /// Whether it is a VEPA child with local reflection.
    #[inline(always)]
    pub const fn reflects(self) -> bool {
        self.reflection() && matches!(self.mode(), Mode::Vepa)
    }

    /// Whether a program on its own device vouches for its frames.
    #[inline(always)]
    pub const fn is_vouched(self) -> bool {
        self.0 & Self::VOUCHED != 0
    }

    /// Whether it is a device of the host's own, left to the kernel in everything.
    #[inline(always)]
    pub const fn is_hosts(self) -> bool {
        self.0 & Self::HOSTS != 0
    }

    /// Whether somebody asked for this very child: then it is one even in the master's own namespace.
    pub const fn is_named(self) -> bool {
        self.0 & Self::NAMED != 0
    }

    /// Whether what it may do hangs on its container, which is not known yet: it may the least of what that
    /// could come to.
    pub const fn is_unsettled(self) -> bool {
        self.0 & Self::UNSETTLED != 0
    }

    /// Whether a rule waits for its container to be known.
    pub const fn is_unruled(self) -> bool {
        self.0 & Self::UNRULED != 0
    }

    /// Whether the MAC that it is held to may change from inside.
    pub const fn mac_change(self) -> bool {
        self.0 & Self::MAC_CHANGE != 0
    }

    /// Whether its own device needs a program: to hold it to its MAC, to inspect what it sends before the
    /// driver gives copies to siblings or, in passthru mode, to tell its frames from the host's, which have
    /// the same MAC.
    #[inline(always)]
    pub const fn wants_vouching(self) -> bool {
        self.is_guarded() || self.is_inspected() || matches!(self.mode(), Mode::Passthru)
    }

    /// Whether anything is set of it, beside its mode, that a new child has not.
    pub const fn is_set(self) -> bool {
        let others = Self::MODE
            | Self::VOUCHED
            | Self::HOSTS
            | Self::NAMED
            | Self::UNSETTLED
            | Self::UNRULED
            | Self::PORT;
        self.0 & !others != Self::HOST_ACCESS
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

    /// Whether sibling access or groups keep two siblings apart, whatever their modes.
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
        self.host_access() && !self.is_hosts() && (self.mode().is_hairpinned() || self.reflects())
    }
}

impl core::fmt::Debug for Policy {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "{}{}", self.mode().as_str(), if self.host_access() { "" } else { ", no host access" })?;
        write!(f, "{}", if self.is_hosts() { ", the host's" } else { "" })?;
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
        write!(f, "{}", if self.host_control() { ", host control" } else { "" })?;
        write!(f, "{}", if self.mac_change() { ", MAC may change" } else { "" })?;
        write!(f, "{}", if self.is_unsettled() { ", unsettled" } else { "" })?;
        if self.group() != 0 {
            write!(f, ", group {}", self.group())?;
        }
        Ok(())
    }
}
