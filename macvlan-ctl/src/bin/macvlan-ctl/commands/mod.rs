//! The commands, as the command line asks for them.

pub mod apply;
pub mod attach;
pub mod bench;
pub mod child;
pub mod cni_files;
pub mod detach;
pub mod doctor;
pub mod generate;
pub mod install_cni;
pub mod monitor;
pub mod run;
pub mod stats;
pub mod teller;
mod terms;
pub mod top;
pub mod trace;
pub mod xsk;
