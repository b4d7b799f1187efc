//! Directed neighbour requests: who has which address, and whose claim is accepted.
//!
//! A broadcast ARP request or a multicast neighbour solicitation for a known address goes to its owner
//! alone; one of the host goes to the wire as well. Addresses are known from netlink; frames of children
//! and host teach more, and keep both fresh. Where two claim one address, or its owner does not answer,
//! requests for it go to all, as without us.

mod claim;
mod owner;
mod places;
mod request;

pub use self::{
    claim::{Claim, Speaker, judge_claim},
    owner::{LIFETIME, Owner},
    places::{PLACES, Place, TRIES, judge_place, mac_of, place},
    request::{PATIENCE, Request, judge_request},
};
use crate::child::{Mode, Policy};

/// Whether a request from the wire may go to a child of this policy alone: macvlan delivers to it
/// by destination (`macvlan_handle_frame` in drivers/net/macvlan.c).
#[inline(always)]
pub fn takes_from_wire(policy: Policy) -> bool {
    matches!(policy.mode(), Mode::Bridge | Mode::Private | Mode::Vepa)
}
