//! Everything that `macvlan-ctl` and `macvlan-cni` do, as a library.
//!
//! Each folder imports only those above it in this list (`cargo xtask hygiene` holds that), so a
//! command is read from the bottom up and an import never leads back down:
//!
//! * [`kernel`] speaks to the kernel: netlink, namespaces, the BPF file system, ethtool, locks.
//! * [`policy`] is what children may do: rules, groups, rates.
//! * [`model`] has the nouns: a child, a master, what is asked for, what there is.
//! * [`config`] reads the configuration file.
//! * [`datapath`] is what carries the frames: the programs, the kernel alone, or a shim.
//! * [`discovery`] finds what is there now: masters, children, addresses, containers.
//! * [`plan`] decides and describes; it changes nothing.
//! * [`apply`] acts, and takes it back when something fails.
//! * [`commands`] has one file for each verb; [`follow`] watches, and keeps masters in step.

pub mod apply;
pub mod commands;
pub mod config;
pub mod datapath;
pub mod discovery;
pub mod follow;
pub mod kernel;
pub mod model;
pub mod plan;
pub mod policy;
