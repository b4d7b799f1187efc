//! The pinned maps: the only place in user space that reads or writes them.

mod allowed_addresses;
mod batch;
mod by_slot;
mod clock;
mod filter;
pub(crate) mod holders;
pub(crate) mod image;
mod index;
mod kept;
mod meters;
pub(crate) mod neighbour_table;
mod retired;
mod settings;
mod sync;
pub(crate) mod tables;
