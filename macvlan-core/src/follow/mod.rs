//! `run`: the data path of some masters, following children and devices as they come and go.
//!
//! What the kernel has is the truth, and every event leads to the same step: compare the map with
//! it, under the master's lock, and write what differs. So other commands may work on the same
//! master, this one may be killed at any time, and a run that starts takes over what is there.

mod attached_master;
mod attaching;
mod followed_master;
pub mod follower;
pub mod notes;
pub mod privileges;
mod service;
pub mod settings;
pub mod snapshot;
mod tell;
pub mod watch;
