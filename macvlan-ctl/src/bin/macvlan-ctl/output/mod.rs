//! Printing: the same structures as JSON, or as tables that fit 80 columns.

mod json;
mod stats;
mod status;
mod table;

pub use crate::output::{
    json::print_json,
    stats::print_stats,
    status::{print_children, print_status},
};
