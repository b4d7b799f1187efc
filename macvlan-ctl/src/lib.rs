//! The library behind `macvlan-ctl`: what shows a data path ([`top`], [`trace`], [`exporter`]), and what hands sockets of
//! a device to programs without privileges ([`xsk`]).

pub mod exporter;
pub mod top;
pub mod trace;
pub mod xsk;
