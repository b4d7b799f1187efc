//! Watching every child of every master in one namespace, wherever it lives.
//!
//! `Watcher::events` waits for the kernel's events, `Watcher::digest` asks for what they name as
//! it is now and says what changed. What events cannot tell (a child made in a namespace that has
//! no number yet) is looked for when a master is announced without a reason, and a lost event
//! leads to a look at everything.

pub mod change;
pub mod container_names;
pub mod datapath_watch;
mod device_move;
pub(crate) mod home_asker;
mod inventory;
mod look;
mod mark_keeper;
mod moves;
mod namespace_names;
pub mod watcher;

pub use crate::follow::watch::change::{Change, What};
