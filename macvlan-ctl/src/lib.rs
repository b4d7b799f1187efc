//! The library behind `macvlan-ctl`: what shows a data path ([`top`], [`trace`], [`exporter`]).

pub mod exporter;
pub mod top;
pub mod trace;
