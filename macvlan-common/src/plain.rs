//! The short way of nearly every frame: unicast from the wire of which nothing but the MACs matters.

use crate::{
    child::Mode,
    config::Config,
    decide::Tables,
    frame::Frame,
    mac::is_group,
    presence::{Presence, is_local},
    tag::Sender,
};

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

/// Whom a frame from the wire is for; `None` where there is more to decide.
///
/// At [`Hook::Xdp`](crate::frame::Hook::Xdp) and [`Hook::Ingress`](crate::frame::Hook::Ingress),
/// [`decide`](crate::decide::decide) then passes the frame and charges the child, or comes to
/// [`Verdict::unknown_at_xdp`](crate::verdict::Verdict::unknown_at_xdp) or
/// [`unknown_at_ingress`](crate::verdict::Verdict::unknown_at_ingress), and no guard asks for more. So the programs
/// have a short way for these frames, without a call and with nothing kept for the others.
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

/// Whether what a child here sends or gets from here can take a short way: it is unicast, and no guard asks for more.
#[inline(always)]
const fn has_short_way(frame: Frame, config: &Config) -> bool {
    config.is_plain() && !config.inspects() && !is_group(frame.dst) && !is_group(frame.src)
}

/// Two children that the kernel lets talk directly, by their slots.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Siblings {
    /// Who has sent it.
    pub from: u32,
    /// Who gets it.
    pub to: u32,
}

/// The two between whom a frame goes, one bridge-mode child's to another; `None` where there is more to decide.
///
/// At [`Hook::Ingress`](crate::frame::Hook::Ingress), [`decide`](crate::decide::decide) then passes the frame and charges
/// the two, and no guard asks for more.
#[inline(always)]
pub fn siblings<T: Tables>(frame: Frame, tables: &T) -> Option<Siblings> {
    let config = tables.config();
    if !has_short_way(frame, &config) {
        return None;
    }
    if frame.src == config.master || frame.dst == config.master || frame.src == frame.dst {
        return None;
    }
    let (from, to) = (tables.slot(frame.src)?, tables.slot(frame.dst)?);
    let (source, target) = (tables.policy_at(from), tables.policy_at(to));
    let are_bridge = matches!((source.mode(), target.mode()), (Mode::Bridge, Mode::Bridge));
    let are_here = is_local(source, tables.presence_at(from), &config) && !tables.presence_at(to).is_absent();
    (are_bridge && are_here && !source.is_apart_from(target)).then_some(Siblings { from, to })
}

/// A frame between the host and the child at a slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hairpinned {
    /// Where the child is.
    pub slot: u32,
    /// Who gets the frame: the host, or the child.
    pub to_host: bool,
}

/// The child of a frame that goes from the host to a child, or from a child to the host; `None` where there is more to
/// decide.
///
/// At [`Hook::Egress`](crate::frame::Hook::Egress), [`decide`](crate::decide::decide) then turns the frame and charges
/// the child, and no guard asks for more. What a frame says of addresses, and whether it is a control frame, is left to
/// the caller.
#[inline(always)]
pub fn hairpinned<T: Tables>(frame: Frame, tables: &T) -> Option<Hairpinned> {
    let config = tables.config();
    if !has_short_way(frame, &config) {
        return None;
    }
    let to_host = frame.dst == config.master;
    if to_host == (frame.src == config.master) || matches!(frame.sender, Sender::Macvlan) {
        return None;
    }
    let slot = tables.slot(if to_host { frame.src } else { frame.dst })?;
    let policy = tables.policy_at(slot);
    let is_here = tables.presence_at(slot).away == Presence::HERE;
    (is_here && policy.reaches_host() && !policy.is_hosts()).then_some(Hairpinned { slot, to_host })
}
