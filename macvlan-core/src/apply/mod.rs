//! Acting, and taking it back when something fails.

pub(crate) mod change;
pub(crate) mod create;
pub mod create_port;
pub(crate) mod execute;
pub(crate) mod fallback;
pub mod flood;
pub(crate) mod holders;
pub(crate) mod journal;
pub mod sync;
