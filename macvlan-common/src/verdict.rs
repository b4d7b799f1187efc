//! The answer of the decision: an action, and who is charged for the frame.

use crate::{
    config::Config,
    counters::{DropReason, FloodOrigin, Path},
    tag::Hairpin,
};

/// What an action does to the frame, in the words of `trace`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// It goes on.
    Pass,
    /// It is dropped.
    Drop,
    /// It is turned back into the master's ingress instead of being sent.
    Turn,
    /// It goes on, and a copy is turned back.
    Copy,
    /// It goes on to the children, unseen by the host's own protocols.
    Hide,
    /// It ends here: a copy that has reached whom it was for.
    End,
}

impl Fate {
    /// Its name in JSON and lines.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pass => "pass",
            Self::Drop => "drop",
            Self::Turn => "hairpin",
            Self::Copy => "copy",
            Self::Hide => "hide",
            Self::End => "end",
        }
    }
}

/// All that an [`Action`] means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Effect {
    /// What becomes of the frame.
    pub fate: Fate,
    /// Why it is dropped; `None` when it is not.
    pub reason: Option<DropReason>,
    /// As what the frame, or a copy of it, is turned around; `None` when it is not.
    pub hairpin: Option<Hairpin>,
}

impl Effect {
    const PASS: Self = Self { fate: Fate::Pass, reason: None, hairpin: None };
    const HIDE: Self = Self { fate: Fate::Hide, ..Self::PASS };
    const END: Self = Self { fate: Fate::End, ..Self::PASS };
    const TURN: Self = Self { fate: Fate::Turn, hairpin: Some(Hairpin::Unicast), ..Self::PASS };

    const fn copy(hairpin: Hairpin) -> Self {
        Self { fate: Fate::Copy, hairpin: Some(hairpin), ..Self::PASS }
    }

    const fn drop(reason: DropReason) -> Self {
        Self { fate: Fate::Drop, reason: Some(reason), ..Self::PASS }
    }
}

/// Declares every action with its effect: all else about actions follows from this one list.
macro_rules! actions {
    (
        { $($(#[$doc:meta])* $action:ident => $effect:expr,)* }
        drops { $($(#[$drop_doc:meta])* $drop:ident => $reason:ident,)* }
    ) => {
        /// What the hook does with the frame.
        ///
        /// No variant carries data: a payload that only some paths set is an uninitialised register to
        /// the BPF verifier, wherever the compiler moves it.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        #[repr(u8)]
        pub enum Action {
            $($(#[$doc])* $action,)*
            $($(#[$drop_doc])* $drop,)*
        }

        /// Every action; its place here is its number.
        pub const ACTIONS: [Action; 22] = [$(Action::$action,)* $(Action::$drop,)*];

        impl Action {
            /// What it means.
            #[inline(always)]
            pub const fn effect(self) -> Effect {
                match self {
                    $(Self::$action => $effect,)*
                    $(Self::$drop => Effect::drop(DropReason::$reason),)*
                }
            }

            /// The action that drops for this reason.
            #[inline(always)]
            pub const fn drop(reason: DropReason) -> Self {
                match reason {
                    $(DropReason::$reason => Self::$drop,)*
                }
            }
        }
    };
}

actions! {
    {
        /// Hand it on as it is.
        Pass => Effect::PASS,
        /// XDP: hand it on unjudged; TC ingress knows more of it.
        Defer => Effect::PASS,
        /// Egress: turn it back into the master's ingress instead of sending it.
        Turn => Effect::TURN,
        /// Egress: send it, and a copy to the children: through the flood device, or turned back.
        CopyToChildren => Effect::copy(Hairpin::Flood),
        /// Egress: send it, and turn a copy back for host and children.
        CopyToAll => Effect::copy(Hairpin::Unicast),
        /// Egress: send the broadcast, and turn a copy back for the host.
        CopyBroadcastToHost => Effect::copy(Hairpin::BroadcastToHost),
        /// Egress: send the multicast, and turn a copy back for the host.
        CopyMulticastToHost => Effect::copy(Hairpin::MulticastToHost),
        /// Egress: end a copy that the flood device has given to the children.
        End => Effect::END,
        /// Ingress: take our tag off and hand it on.
        Untag => Effect::PASS,
        /// Ingress: hand it on to the children, unseen by the host's own protocols.
        HideFromHost => Effect::HIDE,
        /// Ingress: take our tag off; to the host's protocols it is a broadcast.
        UntagBroadcast => Effect::PASS,
        /// Ingress: take our tag off; to the host's protocols it is a multicast.
        UntagMulticast => Effect::PASS,
    }
    drops {
        /// Drop it as [`DropReason::Isolated`].
        DropIsolated => Isolated,
        /// Drop it as [`DropReason::Reflected`].
        DropReflected => Reflected,
        /// Drop it as [`DropReason::Unknown`].
        DropUnknown => Unknown,
        /// Drop it as [`DropReason::Spoofed`].
        DropSpoofed => Spoofed,
        /// Drop it as [`DropReason::Storm`]. This and the next three follow from what lies behind the
        /// MACs or from rates, which [`decide`](crate::decide::decide) does not see.
        DropStorm => Storm,
        /// Drop it as [`DropReason::RaGuard`].
        DropRaGuard => RaGuard,
        /// Drop it as [`DropReason::DhcpGuard`].
        DropDhcpGuard => DhcpGuard,
        /// Drop it as [`DropReason::Rate`].
        DropRate => Rate,
        /// Drop it as [`DropReason::Stranger`].
        DropStranger => Stranger,
        /// Drop it as [`DropReason::Foreign`].
        DropForeign => Foreign,
    }
}

impl Action {
    /// What becomes of the frame.
    #[inline(always)]
    pub const fn fate(self) -> Fate {
        self.effect().fate
    }

    /// Why the frame is dropped; `None` when it is not.
    #[inline(always)]
    pub const fn drop_reason(self) -> Option<DropReason> {
        self.effect().reason
    }

    /// As what the frame, or a copy of it, is turned around; `None` when it is not.
    #[inline(always)]
    pub const fn hairpin(self) -> Option<Hairpin> {
        self.effect().hairpin
    }
}

/// A counter of the master.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Total {
    /// Unicast to nobody here.
    UnknownUnicast,
    /// Broadcast or multicast.
    Flood(FloodOrigin),
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

impl<Child> Verdict<Child> {
    /// This action, and nobody charged.
    #[inline(always)]
    pub const fn new(action: Action) -> Self {
        Self { action, path: Path::Wire, tx: None, rx: None, dropped: None, total: None }
    }

    /// The same, charged to its sender.
    #[inline(always)]
    pub fn tx(self, child: Option<Child>, path: Path) -> Self {
        Self { tx: child, path, ..self }
    }

    /// The same, charged to its receiver.
    #[inline(always)]
    pub fn rx(self, child: Option<Child>, path: Path) -> Self {
        Self { rx: child, path, ..self }
    }

    /// The same; a drop is charged to this child, or to the master.
    #[inline(always)]
    pub fn dropped(self, child: Option<Child>) -> Self {
        Self { dropped: child, ..self }
    }

    /// The same, counted at the master.
    #[inline(always)]
    pub fn total(self, total: Total) -> Self {
        Self { total: Some(total), ..self }
    }

    /// The child whose frame, or a copy of it, goes to the host; `None` when the host gets nothing.
    #[inline(always)]
    pub fn sender_to_host(&self) -> Option<Child>
    where
        Child: Copy,
    {
        match self.action {
            Action::CopyToAll | Action::CopyBroadcastToHost | Action::CopyMulticastToHost => self.tx,
            Action::Turn if matches!(self.path, Path::Host) => self.tx,
            _ => None,
        }
    }

    /// At egress: the child that this frame shows to be here. Isolation tells a child from another by their
    /// MACs alone, and what it drops was sent all the same.
    #[inline(always)]
    pub fn shown_here(&self) -> Option<Child>
    where
        Child: Copy,
    {
        if matches!(self.action, Action::DropIsolated) { self.dropped } else { self.tx }
    }

    /// What comes of a child's frame to the host, or to all, when the host is not to get it: everybody else
    /// does, as without us.
    #[inline(always)]
    pub fn without_host(self) -> Self {
        match self.action {
            Action::CopyToAll => Self { action: Action::CopyToChildren, ..self },
            Action::Turn => Self { action: Action::Pass, path: Path::Wire, ..self },
            _ => Self { action: Action::Pass, ..self },
        }
    }

    /// The same at XDP.
    #[inline(always)]
    pub fn unknown_at_xdp(config: &Config) -> Self {
        if config.leaves_unknown() { Self::new(Action::Defer) } else { Self::unknown(config) }
    }

    /// The same at TC ingress, which does not drop what the kernel takes for the host's.
    #[inline(always)]
    pub fn unknown_at_ingress(config: &Config, to_host: bool) -> Self {
        if config.drops_unknown() && to_host { Self::new(Action::Pass) } else { Self::unknown(config) }
    }

    /// Unicast from the wire to nobody here.
    #[inline(always)]
    fn unknown(config: &Config) -> Self {
        if config.drops_unknown() {
            Self::new(Action::DropUnknown)
        } else {
            Self::new(Action::Pass).total(Total::UnknownUnicast)
        }
    }

    /// A broadcast or multicast beyond the rate: its sender is charged or, from the wire, the master.
    #[inline(always)]
    pub fn storm(sender: Option<Child>) -> Self {
        Self::new(Action::DropStorm).dropped(sender)
    }

    /// A frame beyond a rate of this child.
    #[inline(always)]
    pub fn beyond_rate(child: Child) -> Self {
        Self::new(Action::DropRate).dropped(Some(child))
    }

    /// A frame of `sender` that [`inspect`](crate::inspect::inspect) refuses.
    #[inline(always)]
    pub fn refused(reason: DropReason, sender: Child) -> Self {
        Self::new(Action::drop(reason)).dropped(Some(sender))
    }

    /// A frame of this child, or of nobody here, that is not for a wire of one MAC.
    #[inline(always)]
    pub fn kept_from_wire(reason: DropReason, sender: Option<Child>) -> Self {
        Self::new(Action::drop(reason)).dropped(sender)
    }

    /// Whether this is a broadcast or multicast from the wire or a child, and not dropped.
    #[inline(always)]
    pub const fn may_be_storm(&self) -> bool {
        matches!(self.total, Some(Total::Flood(FloodOrigin::Wire | FloodOrigin::Child)))
    }

    /// Whether any counter changes.
    #[inline(always)]
    pub const fn counts(&self) -> bool {
        // Sender and receiver not side by side: to join the tests, the compiler would join the pointers,
        // which the verifier prohibits.
        self.tx.is_some() || self.total.is_some() || self.rx.is_some() || self.action.drop_reason().is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::counters::DROP_REASONS;

    #[test]
    fn an_action_is_numbered_by_its_place() {
        assert!(ACTIONS.iter().enumerate().all(|(place, action)| *action as usize == place));
    }

    #[test]
    fn each_reason_has_its_action() {
        for reason in DROP_REASONS {
            assert_eq!(Action::drop(reason).drop_reason(), Some(reason));
        }
    }

    #[test]
    fn only_drops_have_reasons_and_only_turned_frames_a_hairpin() {
        for action in ACTIONS {
            let Effect { fate, reason, hairpin } = action.effect();
            assert_eq!(reason.is_some(), fate == Fate::Drop, "{action:?}");
            assert_eq!(hairpin.is_some(), matches!(fate, Fate::Turn | Fate::Copy), "{action:?}");
        }
    }
}
