//! The forwarding decision: what every frame at every hook does, as one pure function.
//!
//! A hook hands over the two MACs of a frame and where it met it. They give who the frame is `From`
//! and what it is `To`, and each hook has one `match` of the two, in the order of the forwarding
//! contract. [`Tables`] answers what the maps say, only when asked, so a frame costs few lookups. Who is local is
//! asked of [`presence`](crate::presence) alone; what a frame teaches of that, the programs learn beside.

mod egress;
mod hear;
mod ingress;
mod leave;
mod parties;
#[cfg(test)]
mod tests;
mod xdp;

use self::{
    egress::egress,
    ingress::{ingress, receive_turned},
    xdp::xdp,
};
pub use self::{
    hear::overhears,
    leave::{Leaving, leave},
    parties::Tables,
};
use crate::{
    frame::{Frame, Hook},
    verdict::{Action, Verdict},
};

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
