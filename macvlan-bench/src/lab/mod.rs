//! Namespaces and devices, frames and who sends them.
//!
//! The namespaces have no names: they live as long as somebody holds them open, so nothing of a lab
//! can be left behind, however the process ends.
//!
//! * [`namespaces`], [`mounts`], [`cables`]: where devices live, and what connects them; a
//!   [`station`] has one.
//! * [`frames`], [`generator`], [`ping`], [`traffic`]: what goes over them, on which processor ([`cpu`]), and what
//!   the kernel counts of it ([`arrivals`]).

pub mod arrivals;
pub mod cables;
pub mod cpu;
pub mod frames;
pub mod generator;
pub mod mounts;
pub mod namespaces;
pub mod ping;
pub mod station;
pub mod traffic;
