//! Labs of network namespaces, and what `macvlan-ctl` measures and shows in them.

mod arrivals;
mod batch;
pub mod bench;
pub mod contender;
pub mod contender_lab;
pub mod cpu;
pub mod crowd;
pub mod demo;
mod frame;
pub mod generator;
mod lab;
mod machine;
pub mod measure;
mod memory;
pub mod mounts;
pub mod page;
pub mod path;
pub mod program;
mod quantity;
pub mod real;
pub mod report;
mod sections;
pub mod table;
pub mod traffic;
mod wiring;
