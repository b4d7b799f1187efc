//! The library behind `macvlan-ctl`.
//!
//! A command walks down this list: [`session`] takes hold of a master ([`master`], [`lock`]),
//! cleans up after killed runs and finds all children ([`observe`]); [`plan`] checks what was asked
//! for ([`model`], [`policy`], [`rate_limit`], [`config`]) against that, with [`addressing`]; [`steps`] puts it in words;
//! [`execute`] carries it out: [`create`] makes children, [`change`] changes them, [`datapath`] puts
//! the programs on the master or says why it cannot, [`shim`] is the kernel's own way instead. [`attach`], [`apply`], [`detach`], [`child`],
//! [`status`] and [`stats`] are the commands, and [`doctor`] says what they will find. [`watch`] hears
//! of what changes, [`follow`] keeps a data path in step with it; [`exporter`], [`top`], with
//! [`rates`], and [`trace`] show it.
//! [`cni`] is the plugin `macvlan-cni`, which container runtimes run.
//! [`demo`] and [`mod@bench`] build a [`lab`] of their own and try all that there, or measure it.
//! [`neighbours`] knows who has which address. [`netlink`], [`netns`] and [`bpffs`] speak to the kernel;
//! [`crash`] is for tests of killed runs.

pub mod addressing;
pub mod apply;
pub mod attach;
pub mod bench;
pub mod bpffs;
pub mod change;
pub mod child;
pub mod cni;
pub mod config;
pub mod container;
pub mod crash;
pub mod create;
pub mod datapath;
pub mod demo;
pub mod detach;
pub mod doctor;
pub mod execute;
pub mod exporter;
pub mod follow;
pub mod groups;
pub mod ids;
pub mod lab;
pub mod lock;
pub mod master;
pub mod model;
pub mod neighbours;
pub mod netlink;
pub mod netns;
pub mod observe;
pub mod plan;
pub mod policy;
pub mod rate_limit;
pub mod rates;
pub mod session;
pub mod shim;
pub mod stats;
pub mod status;
pub mod steps;
pub mod top;
pub mod trace;
pub mod unknown;
pub mod view;
pub mod watch;
