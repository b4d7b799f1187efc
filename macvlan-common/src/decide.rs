//! The forwarding decision: what every frame at every hook does, as one pure function.
//!
//! The rows of the forwarding contract appear here in the contract's order. A hook hands over the
//! two MACs of a frame and where it met it; [`Tables`] answers what the maps say, only when asked,
//! so a frame costs the lookups it needs and no more.

use crate::{
    child::{Mode, Policy},
    config::{Config, Hairpin},
    counters::{DropReason, FloodOrigin, Path},
    mac::{Mac, is_group},
};

/// Where a frame was met, and what is known of it there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hook {
    /// XDP on the master. In native mode only frames from the wire pass here; in generic mode
    /// hairpinned and sibling frames do too.
    Xdp,
    /// TC ingress on the master: from the wire, or from one bridge-mode child to another.
    Ingress,
    /// TC ingress, a frame that native XDP has judged and counted.
    Judged,
    /// TC ingress, where generic XDP has seen the frame: what comes from outside is judged.
    AfterXdp,
    /// TC ingress, a frame that TC egress has turned around.
    Turned(Hairpin),
    /// TC egress on the master: from the host or a child, bound for the wire.
    Egress,
}

/// The MACs of a frame, as [`Mac::key`](crate::mac::Mac::key)s.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Frame {
    /// Destination.
    pub dst: u64,
    /// Source: what the sender wrote, which need not be true.
    pub src: u64,
    /// What else is known of the sender.
    pub sender: Sender,
}

/// What is known of who sent a frame, beside the MAC that it bears.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Sender {
    /// Nothing: it came from the wire, or from a device that has no program of ours.
    #[default]
    Unsaid,
    /// The program on a child's own device saw it leave there under that child's MAC.
    Vouched,
}

/// What the program on a child's own device does with a frame that leaves there. Only the device
/// tells a frame of this child from one that another sends under its MAC.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Leaving {
    /// It bears the child's MAC: say so to the programs on the master.
    Vouch,
    /// It does not, which this child may: the programs on the master go by its MAC.
    Pass,
    /// It does not: dropped as [`DropReason::Spoofed`], charged to the child.
    Drop,
}

/// Judges a frame with the source `src` that leaves the device of the child `own`; `held`: the child
/// is held to its MAC.
#[inline(always)]
pub const fn leave(src: u64, own: u64, held: bool) -> Leaving {
    match (src == own, held) {
        (true, _) => Leaving::Vouch,
        (false, false) => Leaving::Pass,
        (false, true) => Leaving::Drop,
    }
}

/// What the maps say. Every method but [`config`](Self::config) may cost a lookup.
pub trait Tables {
    /// A child found in the tables.
    type Child: Copy;

    /// The master's settings.
    fn config(&self) -> Config;

    /// Whether `mac` can be a child's; `false` is certain. Cheaper than [`child`](Self::child).
    fn may_be_child(&self, mac: u64) -> bool;

    /// The slot of the child with this MAC, no group's; `None` says nothing. Cheaper than
    /// [`child`](Self::child).
    fn slot(&self, mac: u64) -> Option<u32>;

    /// The child with this MAC.
    fn child(&self, mac: u64) -> Option<Self::Child>;

    /// What may happen to this child's frames.
    fn policy(&self, child: Self::Child) -> Policy;
}

/// What the hook does with the frame.
///
/// No variant carries data: a payload that only some paths set is an uninitialised register to
/// the BPF verifier, wherever the compiler moves it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Hand it on as it is.
    Pass,
    /// XDP: hand it on unjudged; TC ingress knows more of it.
    Defer,
    /// Drop it as [`DropReason::Isolated`].
    DropIsolated,
    /// Drop it as [`DropReason::Reflected`].
    DropReflected,
    /// Drop it as [`DropReason::Unknown`].
    DropUnknown,
    /// Drop it as [`DropReason::Spoofed`].
    DropSpoofed,
    /// Egress: turn it back into the master's ingress instead of sending it.
    Turn,
    /// Egress: send it, and turn a copy back as [`Hairpin::Flood`].
    CopyToChildren,
    /// Egress: send it, and turn a copy back as [`Hairpin::Unicast`], for host and children.
    CopyToAll,
    /// Egress: send it, and turn a copy back as [`Hairpin::BroadcastToHost`].
    CopyBroadcastToHost,
    /// Egress: send it, and turn a copy back as [`Hairpin::MulticastToHost`].
    CopyMulticastToHost,
    /// Ingress: take our tag off and hand it on.
    Untag,
    /// Ingress: hand it on to the children, unseen by the host's own protocols.
    HideFromHost,
    /// Ingress: take our tag off; to the host's protocols it is a broadcast.
    UntagBroadcast,
    /// Ingress: take our tag off; to the host's protocols it is a multicast.
    UntagMulticast,
    /// Drop it as [`DropReason::Storm`]. This and the next three follow from what lies behind the MACs
    /// or from rates, which [`decide`] does not see.
    DropStorm,
    /// Drop it as [`DropReason::RaGuard`].
    DropRaGuard,
    /// Drop it as [`DropReason::DhcpGuard`].
    DropDhcpGuard,
    /// Drop it as [`DropReason::Rate`].
    DropRate,
}

impl Action {
    /// The action that drops for this reason.
    #[inline(always)]
    pub const fn drop(reason: DropReason) -> Self {
        match reason {
            DropReason::Isolated => Self::DropIsolated,
            DropReason::Reflected => Self::DropReflected,
            DropReason::Unknown => Self::DropUnknown,
            DropReason::Spoofed => Self::DropSpoofed,
            DropReason::Storm => Self::DropStorm,
            DropReason::RaGuard => Self::DropRaGuard,
            DropReason::DhcpGuard => Self::DropDhcpGuard,
            DropReason::Rate => Self::DropRate,
        }
    }

    /// Why the frame is dropped; `None` when it is not.
    #[inline(always)]
    pub const fn drop_reason(self) -> Option<DropReason> {
        match self {
            Self::DropIsolated => Some(DropReason::Isolated),
            Self::DropReflected => Some(DropReason::Reflected),
            Self::DropUnknown => Some(DropReason::Unknown),
            Self::DropSpoofed => Some(DropReason::Spoofed),
            Self::DropStorm => Some(DropReason::Storm),
            Self::DropRaGuard => Some(DropReason::RaGuard),
            Self::DropDhcpGuard => Some(DropReason::DhcpGuard),
            Self::DropRate => Some(DropReason::Rate),
            Self::Pass
            | Self::Defer
            | Self::Turn
            | Self::CopyToChildren
            | Self::CopyToAll
            | Self::CopyBroadcastToHost
            | Self::CopyMulticastToHost
            | Self::Untag
            | Self::HideFromHost
            | Self::UntagBroadcast
            | Self::UntagMulticast => None,
        }
    }

    /// As what the frame, or a copy of it, is turned around; `None` when it is not.
    #[inline(always)]
    pub const fn hairpin(self) -> Option<Hairpin> {
        match self {
            Self::Turn | Self::CopyToAll => Some(Hairpin::Unicast),
            Self::CopyToChildren => Some(Hairpin::Flood),
            Self::CopyBroadcastToHost => Some(Hairpin::BroadcastToHost),
            Self::CopyMulticastToHost => Some(Hairpin::MulticastToHost),
            Self::Pass
            | Self::Defer
            | Self::DropIsolated
            | Self::DropReflected
            | Self::DropUnknown
            | Self::DropSpoofed
            | Self::DropStorm
            | Self::DropRaGuard
            | Self::DropDhcpGuard
            | Self::DropRate
            | Self::Untag
            | Self::HideFromHost
            | Self::UntagBroadcast
            | Self::UntagMulticast => None,
        }
    }
}

/// One outcome: an action, and who is charged for the frame.
#[must_use]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Verdict<Child> {
    /// What the hook does.
    pub action: Action,
    /// The path on which `tx` and `rx` are charged: one frame takes one.
    pub path: Path,
    /// The child that sent the frame.
    pub tx: Option<Child>,
    /// The child that receives it.
    pub rx: Option<Child>,
    /// The child that a drop is charged to; the master without one.
    pub dropped: Option<Child>,
    /// What the master's own counters record.
    pub total: Option<Total>,
}

/// A counter of the master.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Total {
    /// Unicast to nobody here.
    UnknownUnicast,
    /// Broadcast or multicast.
    Flood(FloodOrigin),
}

impl<Child> Verdict<Child> {
    #[inline(always)]
    const fn new(action: Action) -> Self {
        Self { action, path: Path::Wire, tx: None, rx: None, dropped: None, total: None }
    }

    #[inline(always)]
    fn tx(self, child: Child, path: Path) -> Self {
        Self { tx: Some(child), path, ..self }
    }

    #[inline(always)]
    fn rx(self, child: Child, path: Path) -> Self {
        Self { rx: Some(child), path, ..self }
    }

    #[inline(always)]
    fn drop(reason: DropReason, child: Child) -> Self {
        Self { dropped: Some(child), ..Self::new(Action::drop(reason)) }
    }

    #[inline(always)]
    fn total(self, total: Total) -> Self {
        Self { total: Some(total), ..self }
    }

    /// A broadcast or multicast beyond the rate: its sender is charged or, from the wire, the master.
    #[inline(always)]
    pub const fn storm(sender: Option<Child>) -> Self
    where
        Child: Copy,
    {
        Self { dropped: sender, ..Self::new(Action::DropStorm) }
    }

    /// A frame beyond a rate of this child.
    #[inline(always)]
    pub const fn beyond_rate(child: Child) -> Self
    where
        Child: Copy,
    {
        Self { dropped: Some(child), ..Self::new(Action::DropRate) }
    }

    /// A frame of `sender` that [`inspect`](crate::inspect::inspect) refuses.
    #[inline(always)]
    pub fn refused(reason: DropReason, sender: Child) -> Self {
        Self::drop(reason, sender)
    }

    /// Unicast from the wire to nobody here.
    #[inline(always)]
    pub fn unknown(config: &Config) -> Self {
        unknown(config)
    }

    /// Whether this is a broadcast or multicast from the wire or a child, and not dropped.
    #[inline(always)]
    pub const fn may_be_storm(&self) -> bool {
        matches!(self.total, Some(Total::Flood(FloodOrigin::Wire | FloodOrigin::Child)))
    }

    /// Whether any counter changes.
    #[inline(always)]
    pub const fn counts(&self) -> bool {
        self.tx.is_some() || self.rx.is_some() || self.total.is_some() || self.action.drop_reason().is_some()
    }
}

/// Judges one frame at one hook.
#[inline(always)]
pub fn decide<T: Tables>(hook: Hook, frame: Frame, tables: &T) -> Verdict<T::Child> {
    match hook {
        Hook::Judged => Verdict::new(Action::Pass),
        Hook::Turned(kind) => Verdict::new(receive_turned(kind)),
        Hook::Xdp => xdp(frame, tables),
        Hook::Ingress => ingress(frame, tables, false),
        Hook::AfterXdp => ingress(frame, tables, true),
        Hook::Egress => egress(frame, tables),
    }
}

/// A hairpinned frame on its way up: it was judged and counted at egress.
#[inline(always)]
const fn receive_turned(kind: Hairpin) -> Action {
    match kind {
        Hairpin::Unicast => Action::Untag,
        Hairpin::Flood => Action::HideFromHost,
        Hairpin::BroadcastToHost => Action::UntagBroadcast,
        Hairpin::MulticastToHost => Action::UntagMulticast,
    }
}

/// XDP judges what certainly comes from outside. A local source MAC means a hairpinned frame
/// (generic XDP), a direct sibling frame (generic XDP) or a reflected one: TC ingress tells them
/// apart by our tag, which XDP cannot see.
#[inline(always)]
fn xdp<T: Tables>(frame: Frame, tables: &T) -> Verdict<T::Child> {
    let config = tables.config();
    if config.passthru == 0 && (frame.src == config.master || tables.may_be_child(frame.src)) {
        if config.xdp_is_native() && config.distrusts_wire() && is_guarded(frame.src, tables, &config) {
            return Verdict::new(Action::drop(DropReason::Spoofed));
        }
        return Verdict::new(Action::Defer);
    }
    from_outside(frame, tables, &config)
}

/// Whether nobody on the wire may claim this MAC: the host's, or that of a child held to its own.
#[inline(always)]
fn is_guarded<T: Tables>(mac: u64, tables: &T, config: &Config) -> bool {
    mac == config.master || tables.child(mac).is_some_and(|child| tables.policy(child).is_guarded())
}

/// TC ingress, a frame without our tag. `judged_in_xdp`: what certainly comes from outside, the very
/// frames that [`xdp`] does not defer, was judged there.
#[inline(always)]
fn ingress<T: Tables>(frame: Frame, tables: &T, judged_in_xdp: bool) -> Verdict<T::Child> {
    let config = tables.config();
    if config.passthru == 0 {
        if frame.src == config.master {
            return own_frame_reflected(frame, tables, &config);
        }
        if tables.may_be_child(frame.src) {
            return match tables.child(frame.src) {
                Some(source) => from_child(source, frame, tables, &config),
                None => from_outside(frame, tables, &config),
            };
        }
    }
    if judged_in_xdp { Verdict::new(Action::Pass) } else { from_outside(frame, tables, &config) }
}

/// From the wire, source MAC not local.
#[inline(always)]
fn from_outside<T: Tables>(frame: Frame, tables: &T, config: &Config) -> Verdict<T::Child> {
    if is_group(frame.dst) {
        return Verdict::new(Action::Pass).total(Total::Flood(FloodOrigin::Wire));
    }
    if config.passthru != 0 {
        return deliver_from_wire(tables.child(config.passthru), config);
    }
    if frame.dst == config.master {
        return Verdict::new(Action::Pass);
    }
    deliver_from_wire(tables.child(frame.dst), config)
}

#[inline(always)]
fn deliver_from_wire<Child>(child: Option<Child>, config: &Config) -> Verdict<Child> {
    match child {
        Some(child) => Verdict::new(Action::Pass).rx(child, Path::Wire),
        None => unknown(config),
    }
}

/// Whom a frame from the wire is for, where that is all there is to decide.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Plain {
    /// The host.
    Host,
    /// The child at this slot.
    Child(u32),
    /// Nobody here.
    Nobody,
}

/// Whom a frame from the wire is for, where that is all there is to decide, as with nearly every one;
/// `None` where it is not. At [`Hook::Xdp`] and [`Hook::Ingress`], [`decide`] then passes the frame and
/// charges the child, or comes to [`Verdict::unknown`], and no guard has a say. Said apart so that the
/// programs have a short way for these frames, without a call and with nothing kept for the others.
#[inline(always)]
pub fn plain<T: Tables>(frame: Frame, tables: &T) -> Option<Plain> {
    let config = tables.config();
    if !config.is_plain() || is_group(frame.dst) {
        return None;
    }
    if frame.src == config.master || tables.may_be_child(frame.src) {
        return None;
    }
    if frame.dst == config.master {
        return Some(Plain::Host);
    }
    if let Some(slot) = tables.slot(frame.dst) {
        return Some(Plain::Child(slot));
    }
    (!tables.may_be_child(frame.dst)).then_some(Plain::Nobody)
}

/// Unicast to nobody here.
#[inline(always)]
fn unknown<Child>(config: &Config) -> Verdict<Child> {
    if config.drops_unknown() {
        return Verdict::new(Action::drop(DropReason::Unknown));
    }
    Verdict::new(Action::Pass).total(Total::UnknownUnicast)
}

/// A frame with the master's own MAC as source came in from the wire: a reflective switch sent it
/// back, or somebody forged it. The host's broadcasts reached the children through the hairpin already.
#[inline(always)]
fn own_frame_reflected<T: Tables>(frame: Frame, tables: &T, config: &Config) -> Verdict<T::Child> {
    if is_group(frame.dst) && config.floods() {
        return Verdict::new(Action::drop(DropReason::Reflected));
    }
    if config.distrusts_wire() {
        return Verdict::new(Action::drop(DropReason::Spoofed));
    }
    from_outside(frame, tables, config)
}

/// A child's MAC as source at TC ingress: sent directly from one bridge-mode child to another,
/// reflected by the switch, or forged on the wire.
#[inline(always)]
fn from_child<T: Tables>(source: T::Child, frame: Frame, tables: &T, config: &Config) -> Verdict<T::Child> {
    let policy = tables.policy(source);
    // Of what macvlan delivers itself, only unicast from one bridge-mode child to another shows here.
    let is_forged = policy.is_guarded() && config.distrusts_wire();
    let is_unvouched = policy.is_vouched() && !matches!(frame.sender, Sender::Vouched);
    if is_group(frame.dst) {
        return flood_reflected(policy, is_forged, config);
    }
    if frame.dst == config.master {
        return if is_forged { spoofed() } else { Verdict::new(Action::Pass) };
    }
    let Some(target) = tables.child(frame.dst) else {
        return unknown(config);
    };
    if frame.dst == frame.src {
        return if is_forged { spoofed() } else { Verdict::new(Action::Pass).rx(target, Path::Wire) };
    }
    let target_policy = tables.policy(target);
    if isolates(policy.mode(), target_policy.mode()) || policy.is_apart_from(target_policy) {
        return Verdict::drop(DropReason::Isolated, target);
    }
    match (policy.mode(), target_policy.mode()) {
        (Mode::Bridge, Mode::Bridge) if !(is_forged && is_unvouched) => {
            Verdict::new(Action::Pass).tx(source, Path::Sibling).rx(target, Path::Sibling)
        }
        _ if is_forged => spoofed(),
        (Mode::Private | Mode::Bridge | Mode::Vepa | Mode::Source | Mode::Passthru, _) => {
            Verdict::new(Action::Pass).rx(target, Path::Wire)
        }
    }
}

/// A child's broadcast came in from the wire.
#[inline(always)]
fn flood_reflected<Child>(policy: Policy, is_forged: bool, config: &Config) -> Verdict<Child> {
    if is_forged {
        return spoofed();
    }
    if is_copied_to_siblings(policy, config) {
        return Verdict::new(Action::drop(DropReason::Reflected));
    }
    // macvlan hands a private child's own frame back to it and a bridge child's to VEPA siblings
    // alone; what it lets through to the host, the host has had as a copy already.
    let had_copy = policy.reaches_host() && policy.mode() != Mode::Private;
    let action = if had_copy { Action::HideFromHost } else { Action::Pass };
    Verdict::new(action).total(Total::Flood(FloodOrigin::Wire))
}

#[inline(always)]
fn spoofed<Child>() -> Verdict<Child> {
    Verdict::new(Action::drop(DropReason::Spoofed))
}

#[inline(always)]
fn egress<T: Tables>(frame: Frame, tables: &T) -> Verdict<T::Child> {
    let config = tables.config();
    if config.passthru != 0 {
        return egress_beside_passthru(frame, tables, &config);
    }
    if frame.src == config.master {
        return from_host(frame, tables, &config);
    }
    if tables.may_be_child(frame.src)
        && let Some(source) = tables.child(frame.src)
    {
        return child_sends(source, frame, tables, &config);
    }
    // Neither the host's MAC nor a child's: to the wire, as without us. Turning it around would
    // let a private child reach its siblings under an invented name.
    if config.anti_spoofs() { spoofed() } else { Verdict::new(Action::Pass) }
}

#[inline(always)]
fn egress_beside_passthru<T: Tables>(frame: Frame, tables: &T, config: &Config) -> Verdict<T::Child> {
    let verdict = Verdict::new(Action::Pass);
    if frame.src != config.passthru {
        return verdict;
    }
    match tables.child(config.passthru) {
        // The child bears the master's MAC: what its own device does not vouch for, the host sent.
        Some(child) if !tables.policy(child).is_vouched() || matches!(frame.sender, Sender::Vouched) => {
            verdict.tx(child, Path::Wire)
        }
        _ => verdict,
    }
}

/// The host sends.
#[inline(always)]
fn from_host<T: Tables>(frame: Frame, tables: &T, config: &Config) -> Verdict<T::Child> {
    if is_group(frame.dst) {
        let action = if config.floods() { Action::CopyToChildren } else { Action::Pass };
        return Verdict::new(action).total(Total::Flood(FloodOrigin::Host));
    }
    if tables.may_be_child(frame.dst)
        && let Some(target) = tables.child(frame.dst)
        && tables.policy(target).reaches_host()
    {
        return Verdict::new(Action::Turn).rx(target, Path::Host);
    }
    Verdict::new(Action::Pass)
}

/// A child sends, and macvlan did not deliver the frame to a bridge-mode sibling itself.
#[inline(always)]
fn child_sends<T: Tables>(source: T::Child, frame: Frame, tables: &T, config: &Config) -> Verdict<T::Child> {
    let policy = tables.policy(source);
    // Sent past the child's own device, or by another child under this one's MAC.
    if policy.is_vouched() && policy.is_guarded() && !matches!(frame.sender, Sender::Vouched) {
        return spoofed();
    }
    if is_group(frame.dst) {
        let action = flood_copy(policy, frame.dst, config);
        return Verdict::new(action).tx(source, Path::Wire).total(Total::Flood(FloodOrigin::Child));
    }
    if frame.dst == config.master && policy.reaches_host() {
        return Verdict::new(Action::Turn).tx(source, Path::Host);
    }
    if frame.dst != frame.src
        && tables.may_be_child(frame.dst)
        && let Some(target) = tables.child(frame.dst)
    {
        return to_sibling(source, policy, target, tables.policy(target));
    }
    Verdict::new(Action::Pass).tx(source, Path::Wire)
}

/// A child's unicast to another child of the master.
#[inline(always)]
fn to_sibling<Child>(source: Child, policy: Policy, target: Child, target_policy: Policy) -> Verdict<Child> {
    let modes = (policy.mode(), target_policy.mode());
    if (modes.0 != Mode::Source && isolates(modes.0, modes.1)) || policy.is_apart_from(target_policy) {
        return Verdict::drop(DropReason::Isolated, source);
    }
    let are_reflected = policy.reflects() || target_policy.reflects();
    if are_reflected && hears_siblings(modes.0) && hears_siblings(modes.1) {
        return Verdict::new(Action::Turn).tx(source, Path::Sibling).rx(target, Path::Sibling);
    }
    Verdict::new(Action::Pass).tx(source, Path::Wire)
}

/// What a child's broadcast needs besides the wire.
#[inline(always)]
fn flood_copy(policy: Policy, group: u64, config: &Config) -> Action {
    match (is_copied_to_siblings(policy, config), policy.reaches_host()) {
        (true, true) => Action::CopyToAll,
        (true, false) => Action::CopyToChildren,
        (false, true) => copy_to_host(group),
        (false, false) => Action::Pass,
    }
}

/// Whether a child's broadcast is turned around for its siblings: macvlan floods a VEPA child's to
/// VEPA and bridge siblings, a bridge child's to the VEPA siblings that have not heard it yet
/// (`macvlan_multicast_rx` in drivers/net/macvlan.c).
#[inline(always)]
fn is_copied_to_siblings(policy: Policy, config: &Config) -> bool {
    config.reflects() && policy.sibling_access() && (policy.reflects() || policy.mode() == Mode::Bridge)
}

/// Modes whose children hear siblings.
#[inline(always)]
fn hears_siblings(mode: Mode) -> bool {
    matches!(mode, Mode::Bridge | Mode::Vepa)
}

#[inline(always)]
fn copy_to_host(group: u64) -> Action {
    if group == Mac::BROADCAST.key() { Action::CopyBroadcastToHost } else { Action::CopyMulticastToHost }
}

/// Whether a child in mode `source` may not reach a sibling in mode `target`.
#[inline(always)]
fn isolates(source: Mode, target: Mode) -> bool {
    source == Mode::Private || target == Mode::Private
}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, prelude::*, sample::select};

    use super::*;
    use crate::{
        cases::{self, HOST, World, WorldChild},
        child::ANTI_SPOOFS,
        config::HAIRPINS,
        mac::Mac,
    };

    #[test]
    fn every_row_of_the_contract() {
        for case in cases::all() {
            let verdict = decide(case.hook, case.frame, &case.world);
            assert_eq!(verdict, case.verdict, "{}: {:?} {:x?}", case.row, case.hook, case.frame);
        }
    }

    fn mac() -> impl Strategy<Value = Mac> {
        // Few enough that frames meet children, with groups, zero and the host among them.
        prop_oneof![
            (0..8_u8).prop_map(|n| Mac::new([0x02, 0, 0, 0, 1, n])),
            Just(HOST),
            Just(Mac::BROADCAST),
            any::<[u8; 6]>().prop_map(Mac::new),
        ]
    }

    fn world() -> impl Strategy<Value = World> {
        const MODES: &[Mode] = &[Mode::Bridge, Mode::Private, Mode::Vepa, Mode::Source, Mode::Passthru];
        let guard = (any::<bool>(), select(&ANTI_SPOOFS[..]), any::<bool>(), 0..3_u16);
        let child = (mac(), select(MODES), any::<bool>(), guard).prop_map(|(mac, mode, access, guard)| {
            let (siblings, anti_spoof, local, group) = guard;
            let policy = Policy::new(mode, access).with_sibling_access(siblings).with_group(group);
            let policy = policy.with_anti_spoof(anti_spoof).with_reflection(local);
            WorldChild { name: "", mac, policy }
        });
        let options = select(&[0, Config::DROP_UNKNOWN, Config::VEPA_SWITCH, Config::XDP_NATIVE][..]);
        (vec(child, 0..6), options).prop_map(|(children, flags)| {
            let mut world = World::new(children);
            world.config.flags |= flags;
            world
        })
    }

    fn sender() -> impl Strategy<Value = Sender> {
        select(&[Sender::Unsaid, Sender::Vouched][..])
    }

    fn hook() -> impl Strategy<Value = Hook> {
        let plain = [Hook::Xdp, Hook::Ingress, Hook::Judged, Hook::AfterXdp, Hook::Egress];
        let all: Vec<Hook> = plain.into_iter().chain(HAIRPINS.map(Hook::Turned)).collect();
        select(all)
    }

    proptest! {
        /// Generic XDP and TC ingress behind it see the same frame: together they judge it once.
        #[test]
        fn generic_xdp_and_ingress_behind_it_are_ingress(
            world in world(), dst in mac(), src in mac(), sender in sender(),
        ) {
            let mut world = world;
            world.config.flags &= !Config::XDP_NATIVE;
            let frame = Frame { dst: dst.key(), src: src.key(), sender };
            let alone = decide(Hook::Ingress, frame, &world);
            let xdp = decide(Hook::Xdp, frame, &world);
            let behind = decide(Hook::AfterXdp, frame, &world);
            if xdp.action == Action::Defer {
                prop_assert_eq!(behind, alone);
            } else {
                prop_assert_eq!(xdp, alone);
                prop_assert!(!behind.counts() && behind.action == Action::Pass);
            }
        }

        /// The short way leads to the same.
        #[test]
        fn what_is_plain_is_decided_so(world in world(), dst in mac(), src in mac(), sender in sender()) {
            let frame = Frame { dst: dst.key(), src: src.key(), sender };
            let expected = match plain(frame, &world) {
                Some(Plain::Host) => Verdict::new(Action::Pass),
                Some(Plain::Child(slot)) => Verdict::new(Action::Pass).rx(slot as usize, Path::Wire),
                Some(Plain::Nobody) => Verdict::unknown(&world.config),
                None => return Ok(()),
            };
            for hook in [Hook::Xdp, Hook::Ingress] {
                prop_assert_eq!(decide(hook, frame, &world), expected, "{:?}", hook);
            }
        }

        #[test]
        fn any_frame_in_any_world_has_one_lawful_outcome(
            world in world(), hook in hook(), dst in mac(), src in mac(), sender in sender(),
        ) {
            let frame = Frame { dst: dst.key(), src: src.key(), sender };
            let verdict = decide(hook, frame, &world);

            // Each hook takes only the actions it can carry out.
            let lawful = match verdict.action {
                Action::Pass | Action::DropIsolated | Action::DropReflected | Action::DropSpoofed => true,
                Action::DropUnknown => hook != Hook::Egress,
                Action::Defer => hook == Hook::Xdp,
                Action::Turn
                | Action::CopyToChildren
                | Action::CopyToAll
                | Action::CopyBroadcastToHost
                | Action::CopyMulticastToHost => hook == Hook::Egress,
                Action::Untag | Action::UntagBroadcast | Action::UntagMulticast => {
                    matches!(hook, Hook::Turned(_))
                }
                Action::HideFromHost => matches!(hook, Hook::Turned(_) | Hook::Ingress | Hook::AfterXdp),
                Action::DropStorm | Action::DropRaGuard | Action::DropDhcpGuard | Action::DropRate => false,
            };
            prop_assert!(lawful, "{verdict:?}");

            // What is dropped is neither sent nor received, and what was judged is not counted again.
            if verdict.action.drop_reason().is_some() {
                prop_assert!(verdict.tx.is_none() && verdict.rx.is_none() && verdict.total.is_none());
            } else {
                prop_assert!(verdict.dropped.is_none());
            }
            if matches!(hook, Hook::Judged | Hook::Turned(_)) || verdict.action == Action::Defer {
                prop_assert!(!verdict.counts());
            }

            // The hairpin is between the host and a child that may reach it, or between siblings
            // of which one is reflected to here, and never beside passthru.
            if verdict.action == Action::Turn {
                prop_assert_eq!(world.config().passthru, 0);
                if let (Some(source), Some(target)) = (verdict.tx, verdict.rx) {
                    let (source, target) = (world.policy(source), world.policy(target));
                    prop_assert_eq!(verdict.path, Path::Sibling);
                    prop_assert!(source.reflects() || target.reflects());
                    prop_assert!(!source.is_apart_from(target) && !isolates(source.mode(), target.mode()));
                } else {
                    let child = verdict.rx.or(verdict.tx).expect("a hairpinned frame is counted");
                    prop_assert_eq!(verdict.path, Path::Host);
                    prop_assert!(world.policy(child).reaches_host());
                    prop_assert!(frame.src == HOST.key() || frame.dst == HOST.key());
                }
            }

            // Who is guarded by nothing loses nothing to the guard.
            if !world.config.anti_spoofs() {
                prop_assert!(verdict.action != Action::DropSpoofed);
            }

            // Private children, and those that were set apart, exchange no unicast.
            if let (Some(source), Some(target)) = (world.child(frame.src), world.child(frame.dst))
                && source != target
                && world.config().passthru == 0
                && frame.src != HOST.key()
                && frame.dst != HOST.key()
                && !is_group(frame.dst)
                && (world.policy(source).mode() == Mode::Private
                    || world.policy(source).is_apart_from(world.policy(target)))
                && matches!(hook, Hook::Ingress | Hook::AfterXdp | Hook::Egress)
            {
                prop_assert_eq!(verdict.action, Action::DropIsolated);
            }
        }
    }
}
