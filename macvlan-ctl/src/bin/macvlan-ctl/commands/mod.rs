//! The commands that live longer, or say more, than one request to the library.

pub mod apply;
pub mod bench;
pub mod doctor;
pub mod generate;
pub mod install_cni;
pub mod monitor;
pub mod run;
pub mod top;
pub mod trace;
