//! What the BPF programs and the control program agree on.
//!
//! * [`decide`](mod@decide): the forwarding decision, one pure function run by every hook; [`frame`] is
//!   what it is asked, [`verdict`] what it answers, [`plain`](mod@plain) the short way of nearly every frame.
//! * [`mac`], [`child`], [`config`], [`counters`], [`filter`], [`index`]: keys and values of the BPF maps.
//! * [`presence`]: where a child's MAC is, and the one notion of who is local.
//! * [`tag`]: what the programs tell each other of a frame; [`sending`]: what those on the driver tell.
//! * [`flood`], [`port`]: devices of ours on the master.
//! * [`group`]: names of the groups that children are in.
//! * [`trace`]: what a traced program tells of a frame.
//! * [`l3`], [`neigh`]: ARP and neighbour discovery, and who has which address.
//! * [`inspect`](mod@inspect): whether a guarded child may send what lies behind its MACs.
//! * [`single_mac`]: children speak with the master's MAC on the wire.
//! * [`limit`], [`rate`]: how many frames in a second, and how much of one child.
//! * [`gso`]: how many bytes a segmentation-offloaded frame is on the wire.
//! * [`names`]: map and program names, each written once.
//!
//! Everything here is `no_std`, allocates nothing and touches no packet and no map: the kernel
//! side parses, looks up and acts, this crate judges.
#![cfg_attr(not(any(test, feature = "std")), no_std)]

#[cfg(any(test, feature = "cases"))]
pub mod cases;
pub mod child;
pub mod config;
pub mod counters;
pub mod decide;
pub mod filter;
pub mod flood;
pub mod frame;
pub mod group;
pub mod gso;
pub mod index;
pub mod inspect;
pub mod l3;
pub mod limit;
pub mod mac;
pub mod names;
pub mod neigh;
pub mod plain;
mod pod;
pub mod port;
pub mod presence;
pub mod rate;
pub mod sending;
pub mod single_mac;
pub mod socket;
pub mod tag;
pub mod trace;
pub mod verdict;

/// Layout version of every map. Programs and maps of different versions are never mixed.
pub const ABI_VERSION: u32 = 11;
