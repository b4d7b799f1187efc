//! One MAC on the wire: children speak there with the master's MAC, and what comes back for it is given to them by
//! IP address.
//!
//! For uplinks that carry one source MAC only: Wi-Fi stations, ports with port security or 802.1X, cards of
//! hypervisors and clouds. Host, siblings and the children themselves see the true MACs: what goes on to the wire is
//! rewritten last ([`leave()`]), and what comes in is rewritten first ([`arrive()`]), so that all else is judged as
//! without it. Both are one function that reads, asks and writes through [`Packet`], and is run alike on bytes in
//! memory and by the programs.

mod arrive;
#[cfg(any(test, feature = "cases"))]
pub mod cases;
mod headers;
mod leave;
mod packet;
mod plain;
mod table;

pub use self::{
    arrive::{arrive, may_concern},
    headers::is_plain_ip,
    leave::{leave, leave_option, refusal},
    packet::{Bytes, Packet, Whose},
    plain::plain_target,
    table::{Holder, Key, Lesson, judge_lesson, judge_place, place_of},
};
