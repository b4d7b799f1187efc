//! Deciding and describing; nothing is changed here.

mod addressing;
pub(crate) mod changes;
mod checks;
pub(crate) mod children;
pub mod describe;
pub(crate) mod drop_unknown;
pub(crate) mod groups;
pub(crate) mod planned;
pub(crate) mod policies;
pub(crate) mod room;
pub(crate) mod single_mac;
