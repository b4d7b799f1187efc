//! The library behind `macvlan-ctl`.
//!
//! A command walks down this list: [`session`] takes hold of a master ([`master`], [`lock`]),
//! cleans up after killed runs and finds all children ([`observe`]); [`plan`] checks what was asked
//! for ([`model`]) against that; [`create`] makes children; [`datapath`] puts the programs on the
//! master or says why it cannot. [`attach`], [`detach`], [`child`], [`status`], [`stats`] and
//! [`trace`] are the commands. [`netlink`], [`netns`] and [`bpffs`] speak to the kernel.

pub mod attach;
pub mod bpffs;
pub mod child;
pub mod container;
pub mod create;
pub mod datapath;
pub mod demo;
pub mod detach;
pub mod ids;
pub mod lock;
pub mod master;
pub mod model;
pub mod netlink;
pub mod netns;
pub mod observe;
pub mod plan;
pub mod session;
pub mod stats;
pub mod status;
pub mod trace;
pub mod view;
