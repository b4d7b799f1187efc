//! What the maps hold for one child.

mod anti_spoof;
mod entry;
mod mode;
mod policy;
#[cfg(test)]
mod tests;

pub use self::{
    anti_spoof::{ANTI_SPOOFS, AntiSpoof},
    entry::{ChildEntry, Retired},
    mode::Mode,
    policy::Policy,
};
