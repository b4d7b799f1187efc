//! One file for each verb.

pub mod apply;
pub mod attach;
pub mod child_add;
pub mod child_del;
pub mod child_set;
mod children;
pub mod detach;
pub mod doctor;
pub mod stats;
pub mod status;
pub mod work;
