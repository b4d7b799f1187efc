//! Programs that process frames themselves: each way for one to read the frames of a child and to send as that child.

pub mod measured;
mod packet;
pub mod program;
mod rings;
pub mod station;
mod tap;
mod udp;
mod way;
mod xsk;

pub use crate::bench::user_space::way::{WAYS, Way};
