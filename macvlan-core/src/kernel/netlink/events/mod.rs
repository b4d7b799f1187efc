//! What the kernel tells of its own accord: devices, addresses and namespace ids that change, in
//! this namespace and in every one that it has numbered.
//!
//! An event says which object changed, and no more is taken from it: whoever hears it asks for the
//! object as it is now. So events may be merged, doubled or late without harm, and only a lost one
//! matters, which the kernel owns up to (`ENOBUFS`).

mod bytes;
pub mod changed;
pub mod listen;
mod message;
mod socket;
