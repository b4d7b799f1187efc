//! The nouns: a child, a master, what is asked for and what there is. No input or output.

pub mod attachment;
pub mod child;
pub mod child_name;
pub mod container;
pub mod counters;
pub mod description;
pub mod keyword;
pub mod master;
pub(crate) mod members;
pub(crate) mod neighbours;
pub mod options;
pub mod parse;
pub mod rates;
pub mod request;
pub(crate) mod shim;
pub mod spec;
pub mod stats;
pub mod status;
