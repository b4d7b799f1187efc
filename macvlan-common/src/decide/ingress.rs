//! TC ingress on the master.

use super::parties::{
    From, Tables, To, is_copied_to_children, is_copied_to_siblings, isolates, may_be_local, receiver,
};
use crate::{
    child::{Mode, Policy},
    config::Config,
    counters::{FloodOrigin, Path},
    frame::Frame,
    presence::is_local,
    tag::{Hairpin, Sender},
    verdict::{Action, Total, Verdict},
};

/// A hairpinned frame on its way up: it was judged and counted at egress.
#[inline(always)]
pub(super) const fn receive_turned(kind: Hairpin) -> Action {
    match kind {
        Hairpin::Unicast => Action::Untag,
        Hairpin::Flood => Action::HideFromHost,
        Hairpin::BroadcastToHost => Action::UntagBroadcast,
        Hairpin::MulticastToHost => Action::UntagMulticast,
    }
}

/// TC ingress, a frame without our tag: from the wire, reflected by the switch, forged there, or sent
/// directly from one bridge-mode child to another. `judged_in_xdp`: what certainly comes from outside,
/// the very frames that [`xdp`](fn@super::xdp::xdp) does not defer, was judged there.
#[inline(always)]
pub(super) fn ingress<T: Tables>(frame: Frame, tables: &T, judged_in_xdp: bool) -> Verdict<T::Child> {
    let config = tables.config();
    let nobody = (None, Policy::default());
    if !may_be_local(frame.src, tables, &config) {
        if judged_in_xdp && !is_left_by_xdp(frame.dst, tables, &config) {
            return Verdict::new(Action::Pass);
        }
        return received(From::Outside, nobody, frame, tables, &config);
    }
    if frame.src == config.master {
        return received(From::Host, nobody, frame, tables, &config);
    }
    let Some((child, policy)) = tables.local(frame.src) else {
        return received(From::Outside, nobody, frame, tables, &config);
    };
    received(sender(policy, frame.sender, &config), (Some(child), policy), frame, tables, &config)
}

/// Whether XDP has left unicast from outside to this hook.
#[inline(always)]
fn is_left_by_xdp<T: Tables>(dst: u64, tables: &T, config: &Config) -> bool {
    config.leaves_unknown() && matches!(receiver(dst, tables, config).0, To::Nobody)
}

/// The table of this hook. Inlined once for each kind of sender, so that each has its rows alone.
#[inline(always)]
fn received<T: Tables>(
    from: From,
    (source, policy): (Option<T::Child>, Policy),
    frame: Frame,
    tables: &T,
    config: &Config,
) -> Verdict<T::Child> {
    let (mut to, target) = receiver(frame.dst, tables, config);
    if (source.is_some() || matches!(from, From::Host))
        && let Some(target) = target
    {
        let its = tables.policy(target);
        to = match from {
            From::Host if keeps_from_host(its) => To::Isolated,
            From::Host => to,
            _ if frame.dst == frame.src => To::Itself,
            _ => sibling(policy, its),
        };
        if matches!(to, To::Isolated) && !is_local(its, tables.presence(target), config) {
            to = To::Child;
        }
    } else if source.is_some() && matches!(to, To::Host) && keeps_from_host(policy) {
        to = To::Isolated;
    }
    let pass = Verdict::new(Action::Pass);
    match (from, to) {
        // The hairpin has given children their copy of the host's broadcast: nobody hears it twice.
        (From::Host, To::All) if is_copied_to_children(frame.dst, config) => {
            Verdict::new(Action::DropReflected)
        }
        (From::Host, _) if config.distrusts_wire() => Verdict::new(Action::DropSpoofed),
        (From::Outside | From::Host, To::All) => pass.total(Total::Flood(FloodOrigin::Wire)),
        (_, To::Nobody) => Verdict::unknown_at_ingress(config, frame.to_host),
        (_, To::Isolated) => Verdict::new(Action::DropIsolated).dropped(target.or(source)),
        (From::Child | From::Claimed, To::Direct) => pass.tx(source, Path::Sibling).rx(target, Path::Sibling),
        (From::Claimed | From::Forger, _) => Verdict::new(Action::DropSpoofed),
        (From::Child, To::All) if is_copied_to_siblings(policy, config) => {
            Verdict::new(Action::DropReflected)
        }
        (From::Child, To::All) if is_hidden_from_host(policy) => {
            Verdict::new(Action::HideFromHost).total(Total::Flood(FloodOrigin::Wire))
        }
        (From::Child, To::All) => pass.total(Total::Flood(FloodOrigin::Wire)),
        (_, To::Host) => pass,
        (_, To::Itself | To::Child | To::Hairpin | To::Direct) => pass.rx(target, Path::Wire),
    }
}

/// Who has sent a frame with a child's MAC as source that comes in.
#[inline(always)]
fn sender(policy: Policy, sender: Sender, config: &Config) -> From {
    if !policy.is_guarded() || !config.distrusts_wire() {
        From::Child
    } else if policy.is_vouched() && !matches!(sender, Sender::Vouched) {
        From::Forger
    } else {
        From::Claimed
    }
}

/// What a child is to another one whose unicast comes in.
#[inline(always)]
fn sibling(source: Policy, target: Policy) -> To {
    if isolates(source.mode(), target.mode()) || source.is_apart_from(target) {
        To::Isolated
    } else if matches!((source.mode(), target.mode()), (Mode::Bridge, Mode::Bridge)) {
        To::Direct
    } else {
        To::Child
    }
}

/// Whether the host is not to hear a child's broadcast that the switch reflects: it has had its copy, or the child may not
/// talk to it. macvlan hands a private child's own frame back to it alone and a bridge child's to VEPA siblings alone; what
/// it lets through to the host would be heard.
#[inline(always)]
fn is_hidden_from_host(policy: Policy) -> bool {
    (policy.reaches_host() || keeps_from_host(policy)) && policy.mode() != Mode::Private
}

/// Whether a child and the host may not talk, whichever way: behind a switch that reflects frames, too.
#[inline(always)]
fn keeps_from_host(policy: Policy) -> bool {
    !policy.host_access() && !matches!(policy.mode(), Mode::Source | Mode::Passthru)
}
