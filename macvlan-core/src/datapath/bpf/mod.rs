//! The BPF data path: programs, maps and links of one master, pinned in one directory.
//!
//! Attach builds everything in a directory of another name and renames it when all is in place;
//! detach renames it away first. So a directory under its own name is whole, and whatever bears
//! another name was left by a run that was killed, and is removed by the next one.

pub mod attached;
pub(crate) mod clean_up;
mod describe;
mod directory;
pub(crate) mod flood;
pub(crate) mod held;
pub(crate) mod hooks;
mod ingress;
pub(crate) mod ingress_need;
mod install;
mod isolation;
pub(crate) mod load;
mod maps;
pub(crate) mod moved;
pub mod object;
mod ports;
pub mod prepare;
pub mod probe;
pub mod reader;
mod record;
pub mod single_mac;
mod sockets;
pub(crate) mod step_back;
mod strict;
pub(crate) mod take_over;
pub mod trace;
mod traced;
mod update;

pub use crate::{
    datapath::bpf::{
        clean_up::clean_up,
        maps::tables::sum,
        probe::{Depth, probe},
        reader::{ProgramRuns, Reader, Usage},
        take_over::take_over,
        trace::{TraceWatch, Traced, Tracing},
    },
    model::options::{DEFAULT_MAX_CHILDREN, MOST_CHILDREN, Options},
};
