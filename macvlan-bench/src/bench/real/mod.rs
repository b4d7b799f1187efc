//! Two real nodes instead of a lab: one serves, the other measures the way there and back.
//!
//! Both may be hosts, or children with `-n`: what is measured is what lies between their devices.

pub mod client;
pub mod protocol;
pub mod server;
mod sockets;

pub use crate::bench::real::{client::measure, protocol::PORT, server::serve};
