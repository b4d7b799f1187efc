//! Labs of network namespaces, and what `macvlan-ctl` measures and shows in them.
//!
//! * [`lab`]: what [`bench`](mod@bench), [`demo`] and the tests of this project are built from.
//! * [`bench`](mod@bench): the measurements of `macvlan-ctl bench`.
//! * [`demo`]: `macvlan-ctl demo`.

pub mod bench;
pub mod demo;
pub mod lab;

pub use bench::real;
