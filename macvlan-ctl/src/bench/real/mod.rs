//! Two real nodes instead of a lab: one serves, the other measures the way there and back.
//!
//! Both may be hosts, or children with `-n`: what is measured is what lies between their devices.

mod client;
mod protocol;
mod server;
mod sockets;

pub use self::{client::measure, protocol::PORT, server::serve};
