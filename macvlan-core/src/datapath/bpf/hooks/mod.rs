//! The programs where frames pass: TC, XDP, and the devices of children.

mod child_copies;
pub(crate) mod child_pins;
pub(crate) mod child_programs;
mod device_pin;
pub(crate) mod driver_program;
pub(crate) mod flood_programs;
pub(crate) mod link;
pub(crate) mod on_device;
pub(crate) mod order;
pub mod own_programs;
pub(crate) mod pinned;
pub mod port_programs;
pub(crate) mod refusal;
pub(crate) mod sending;
pub(crate) mod step_back;
pub(crate) mod strays;
pub(crate) mod tc;
mod xdp;
