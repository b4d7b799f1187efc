//! Packet sockets: what a device carries, what a protocol behind it receives, and sending at will; also by XDP
//! sockets.

mod injector;
mod seen;
mod socket;
mod tap;
mod xdp_sender;

pub(crate) use crate::sniff::socket::SO_RCVPRIORITY;
pub use crate::sniff::{
    injector::Injector,
    seen::{Kind, Seen},
    tap::Tap,
    xdp_sender::XdpSender,
};
