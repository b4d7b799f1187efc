//! TC egress on the master.

use super::parties::{From, Tables, To, is_copied_to_children, is_copied_to_siblings, isolates};
use crate::{
    child::{Mode, Policy},
    config::Config,
    counters::{FloodOrigin, Path},
    frame::Frame,
    mac::{Mac, is_group, is_link_local_group},
    tag::Sender,
    verdict::{Action, Total, Verdict},
};

/// TC egress: from the host or, where macvlan did not deliver the frame itself, a child.
#[inline(always)]
pub(super) fn egress<T: Tables>(frame: Frame, tables: &T) -> Verdict<T::Child> {
    let config = tables.config();
    let nobody = (None, Policy::default());
    if config.passthru != 0 {
        return beside_passthru(frame, tables, &config);
    }
    if frame.src == config.master {
        if matches!(frame.sender, Sender::Macvlan) {
            return Verdict::new(Action::DropSpoofed);
        }
        return sent(From::Host, nobody, frame, tables, &config);
    }
    // Where its MAC was before says nothing of a child that sends.
    if tables.may_be_child(frame.src)
        && let Some(child) = tables.entry(frame.src)
    {
        let policy = tables.policy(child);
        if policy.is_hosts() {
            return Verdict::new(Action::Pass).tx(Some(child), Path::Wire);
        }
        return sent(sender(policy, frame.sender), (Some(child), policy), frame, tables, &config);
    }
    let from = if config.anti_spoofs() { From::Forger } else { From::Outside };
    sent(from, nobody, frame, tables, &config)
}

/// The table of this hook. Inlined once for each kind of sender, so that each has its rows alone.
#[inline(always)]
fn sent<T: Tables>(
    from: From,
    (source, policy): (Option<T::Child>, Policy),
    frame: Frame,
    tables: &T,
    config: &Config,
) -> Verdict<T::Child> {
    let (mut to, mut target) = (To::Nobody, None);
    if is_group(frame.dst) {
        to = To::All;
    } else if frame.dst == config.master && policy.reaches_host() {
        to = To::Host;
    } else if matches!(from, From::Host | From::Child)
        && frame.dst != frame.src
        && tables.may_be_child(frame.dst)
        && let Some((child, its)) = tables.local(frame.dst)
    {
        target = Some(child);
        to = unicast(from, policy, its);
    }
    let (pass, turn) = (Verdict::new(Action::Pass), Verdict::new(Action::Turn));
    match (from, to) {
        (From::Forger, _) => Verdict::new(Action::DropSpoofed),
        (From::Host, To::All) if matches!(frame.sender, Sender::Flooded) => Verdict::new(Action::End),
        (From::Host, To::All) if is_copied_to_children(frame.dst, config) => {
            Verdict::new(Action::CopyToChildren).total(Total::Flood(FloodOrigin::Host))
        }
        (From::Host, To::All) => pass.total(Total::Flood(FloodOrigin::Host)),
        (From::Host, To::Hairpin) => turn.rx(target, Path::Host),
        // Under an invented MAC a private child could reach its siblings: nothing is turned around.
        (From::Outside | From::Host, _) => pass,
        // What follows a child has sent.
        (_, To::All) => {
            let action = flood_copy(policy, frame.dst, config);
            Verdict::new(action).tx(source, Path::Wire).total(Total::Flood(FloodOrigin::Child))
        }
        (_, To::Host) => turn.tx(source, Path::Host),
        (_, To::Isolated) => Verdict::new(Action::DropIsolated).dropped(source),
        (_, To::Hairpin) => turn.tx(source, Path::Sibling).rx(target, Path::Sibling),
        (_, To::Nobody | To::Itself | To::Child | To::Direct) => pass.tx(source, Path::Wire),
    }
}

/// A passthru child takes everything: nothing is hairpinned beside it, it is only counted.
#[inline(always)]
fn beside_passthru<T: Tables>(frame: Frame, tables: &T, config: &Config) -> Verdict<T::Child> {
    let pass = Verdict::new(Action::Pass);
    if frame.src != config.passthru {
        return pass;
    }
    match tables.entry(config.passthru) {
        // The child has the master's MAC: what its own device does not vouch for, the host sent.
        Some(child) if !tables.policy(child).is_vouched() || matches!(frame.sender, Sender::Vouched) => {
            pass.tx(Some(child), Path::Wire)
        }
        _ => pass,
    }
}

/// Who sends a frame with a child's MAC as source. Sent past the child's own device, or by another
/// child under this one's MAC, it is a forgery.
#[inline(always)]
fn sender(policy: Policy, sender: Sender) -> From {
    if policy.is_vouched() && policy.is_guarded() && !matches!(sender, Sender::Vouched) {
        From::Forger
    } else {
        From::Child
    }
}

/// What a child is to the host, or to another child, that sends it unicast.
#[inline(always)]
fn unicast(from: From, source: Policy, target: Policy) -> To {
    if matches!(from, From::Host) {
        return if target.reaches_host() { To::Hairpin } else { To::Child };
    }
    let modes = (source.mode(), target.mode());
    if (modes.0 != Mode::Source && isolates(modes.0, modes.1)) || source.is_apart_from(target) {
        return To::Isolated;
    }
    let are_reflected = source.reflects() || target.reflects();
    if are_reflected && hears_siblings(modes.0) && hears_siblings(modes.1) { To::Hairpin } else { To::Child }
}

/// Modes whose children hear siblings.
#[inline(always)]
fn hears_siblings(mode: Mode) -> bool {
    matches!(mode, Mode::Bridge | Mode::Vepa)
}

/// What a child's broadcast needs besides the wire.
#[inline(always)]
fn flood_copy(policy: Policy, group: u64, config: &Config) -> Action {
    let is_hosts = policy.reaches_host() && (policy.host_control() || !is_link_local_group(group));
    match (is_copied_to_siblings(policy, config), is_hosts) {
        (true, true) => Action::CopyToAll,
        (true, false) => Action::CopyToChildren,
        (false, true) if group == Mac::BROADCAST.key() => Action::CopyBroadcastToHost,
        (false, true) => Action::CopyMulticastToHost,
        (false, false) => Action::Pass,
    }
}
