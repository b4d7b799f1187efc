//! What is there now: masters, children, addresses, containers, and what carries the frames.

pub mod access;
pub mod children;
pub(crate) mod claims;
pub mod containers;
pub mod datapath;
pub(crate) mod features;
pub mod homes;
pub mod locked_master;
pub mod masters;
pub mod named_child;
pub mod neighbours;
pub(crate) mod ports;
