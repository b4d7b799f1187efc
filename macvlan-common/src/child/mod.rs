//! What the maps hold for one child.

mod anti_spoof;
mod entry;
mod kept;
mod mode;
mod policy;
#[cfg(test)]
mod tests;

pub use self::{
    anti_spoof::{ANTI_SPOOFS, AntiSpoof},
    entry::{ChildEntry, Retired},
    kept::{KEPT_NAME_LEN, Kept, KeptName},
    mode::Mode,
    policy::Policy,
};
