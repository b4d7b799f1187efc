//! Who a frame is from and what it is to: the rows and columns of the tables.

use crate::{
    child::{Mode, Policy},
    config::Config,
    mac::{is_group, is_link_local_group},
    presence::{Presence, is_local},
};

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

    /// What the tables hold of the child with this MAC, wherever it is now.
    fn entry(&self, mac: u64) -> Option<Self::Child>;

    /// The slot of this child.
    fn slot_of(&self, child: Self::Child) -> u32;

    /// What may happen to the frames of the child at a slot.
    fn policy_at(&self, slot: u32) -> Policy;

    /// Where its MAC is.
    fn presence_at(&self, slot: u32) -> Presence;

    /// What may happen to this child's frames.
    #[inline(always)]
    fn policy(&self, child: Self::Child) -> Policy {
        self.policy_at(self.slot_of(child))
    }

    /// Where its MAC is.
    #[inline(always)]
    fn presence(&self, child: Self::Child) -> Presence {
        self.presence_at(self.slot_of(child))
    }

    /// The child with this MAC and its policy, while the MAC is local ([`is_local`]).
    #[inline(always)]
    fn local(&self, mac: u64) -> Option<(Self::Child, Policy)> {
        let child = self.entry(mac)?;
        let policy = self.policy(child);
        is_local(policy, self.presence(child), &self.config()).then_some((child, policy))
    }

    /// The child with this MAC, while the MAC is local.
    #[inline(always)]
    fn child(&self, mac: u64) -> Option<Self::Child> {
        self.local(mac).map(|(child, _)| child)
    }
}

/// Who a frame is from, by its source MAC. Without data, as [`Action`](crate::verdict::Action).
#[derive(Clone, Copy)]
pub(super) enum From {
    /// Nobody here, or a MAC that is a child's but not local now.
    Outside,
    /// The host.
    Host,
    /// A child.
    Child,
    /// The MAC of a child held to it, where nobody beyond the wire may use that MAC. It is the child
    /// if macvlan has delivered the frame itself, from one bridge-mode child to another.
    Claimed,
    /// The MAC of a child held to it, and certainly not that child.
    Forger,
}

/// What a frame is to, by its destination MAC and, where it is a child's, by what sender and receiver
/// may do. Without data, as [`Action`](crate::verdict::Action).
#[derive(Clone, Copy)]
pub(super) enum To {
    /// Everybody: broadcast or multicast.
    All,
    /// The host; at egress, where the hairpin leads there.
    Host,
    /// Nobody here: the wire, or a frame that strayed from there. At egress, a child elsewhere too.
    Nobody,
    /// The sender's own MAC.
    Itself,
    /// A child that gets it without us; of one elsewhere that is for macvlan to say.
    Child,
    /// A child that the hairpin leads to.
    Hairpin,
    /// A bridge-mode child, from another one: macvlan delivers it directly.
    Direct,
    /// A child that is isolated from the sender.
    Isolated,
}

/// Whether a source MAC is the host's or may be a child's: what XDP leaves to TC ingress.
#[inline(always)]
pub(super) fn may_be_local<T: Tables>(src: u64, tables: &T, config: &Config) -> bool {
    config.passthru == 0 && (src == config.master || tables.may_be_child(src))
}

/// Whom a frame that comes in is to, whoever sent it. A passthru child takes everything.
#[inline(always)]
pub(super) fn receiver<T: Tables>(dst: u64, tables: &T, config: &Config) -> (To, Option<T::Child>) {
    if is_group(dst) {
        return (To::All, None);
    }
    if config.passthru == 0 && dst == config.master {
        return (To::Host, None);
    }
    let Some(child) = tables.entry(if config.passthru == 0 { dst } else { config.passthru }) else {
        return (To::Nobody, None);
    };
    // macvlan delivers to a device that is up, wherever its MAC is besides.
    if tables.presence(child).is_absent() { (To::Nobody, None) } else { (To::Child, Some(child)) }
}

/// Whether a child in mode `source` may not reach a sibling in mode `target`.
#[inline(always)]
pub(super) fn isolates(source: Mode, target: Mode) -> bool {
    source == Mode::Private || target == Mode::Private
}

/// Whether the host's broadcast or multicast is copied to the children. No bridge hands on the link's own
/// groups, and macvlan would not bring the host's to them either.
#[inline(always)]
pub(super) fn is_copied_to_children(group: u64, config: &Config) -> bool {
    config.floods() && !is_link_local_group(group)
}

/// Whether a child's broadcast is turned around for its siblings: macvlan floods a VEPA child's to
/// VEPA and bridge siblings, a bridge child's to the VEPA siblings that have not heard it yet
/// (`macvlan_multicast_rx` in drivers/net/macvlan.c).
#[inline(always)]
pub(super) fn is_copied_to_siblings(policy: Policy, config: &Config) -> bool {
    config.reflects() && policy.sibling_access() && (policy.reflects() || policy.mode() == Mode::Bridge)
}
