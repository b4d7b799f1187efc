//! The nouns: a child, a master, what is asked for and what there is. No input or output.

pub mod attachment;
pub mod child;
pub mod child_name;
pub mod container;
pub mod counters;
pub mod description;
pub(crate) mod fit;
pub(crate) mod flood;
pub mod held;
pub(crate) mod kept;
pub mod keyword;
pub mod known_by;
pub mod master;
pub mod master_name;
pub(crate) mod members;
pub(crate) mod neighbours;
pub mod options;
pub mod own_mac;
pub mod parse;
pub mod printable;
pub mod rates;
pub mod request;
pub(crate) mod shim;
pub mod spec;
pub mod stats;
pub mod status;
