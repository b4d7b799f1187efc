//! The data path on a master, seen from above: one trait, two implementations.
//!
//! `bpf::Bpf` is the programs on the master; `kernel::Kernel` is plain kernel macvlan, with
//! the reason why it is no more than that. Commands hold a `Box<dyn Datapath>` and ask neither
//! which it is.

pub mod bpf;
pub(crate) mod choose;
pub(crate) mod kernel;
pub(crate) mod shim;

use std::collections::BTreeMap;

use anyhow::Result;
use futures_util::future::LocalBoxFuture;
use macvlan_common::{child::Policy, mac::Mac, presence::Presence};

use crate::{
    model::{counters::Counters, description::Description, master::Master, members::Members},
    policy::{groups::Groups, rate::RateLimits},
};

/// A data path that is in place.
pub trait Datapath {
    /// What was taken, and why not more.
    fn description(&self) -> &Description;

    /// The children it knows, by MAC.
    ///
    /// # Errors
    ///
    /// A map cannot be read.
    fn members(&self) -> Result<BTreeMap<Mac, Policy>>;

    /// Where their MACs are.
    ///
    /// # Errors
    ///
    /// When the kernel refuses to tell.
    fn presences(&self) -> Result<BTreeMap<Mac, Presence>>;

    /// The groups that they are in.
    ///
    /// # Errors
    ///
    /// A map cannot be read.
    fn groups(&self) -> Result<Groups>;

    /// The rates of those that are limited.
    ///
    /// # Errors
    ///
    /// A map cannot be read.
    fn rates(&self) -> Result<BTreeMap<Mac, RateLimits>>;

    /// Makes it know exactly these children.
    ///
    /// # Errors
    ///
    /// There are more children than fit, or a map cannot be written.
    fn sync(&mut self, master: &Master, members: &Members) -> Result<()>;

    /// Everything counted so far.
    ///
    /// # Errors
    ///
    /// A map cannot be read.
    fn counters(&self) -> Result<Counters>;

    /// Takes it off the master. The children stay.
    ///
    /// # Errors
    ///
    /// When a part cannot be removed; all others are.
    fn detach<'a>(&'a mut self, master: &'a Master) -> LocalBoxFuture<'a, Result<()>>;
}

/// The children that a data path knows, without their addresses.
///
/// # Errors
///
/// The kernel does not read out a map.
pub fn members_of(datapath: &dyn Datapath) -> Result<Members> {
    let presences = datapath.presences()?;
    let with = |is: fn(Presence) -> bool| {
        presences.iter().filter(|(_, presence)| is(**presence)).map(|(mac, _)| *mac).collect()
    };
    Ok(Members {
        absent: with(Presence::is_absent),
        elsewhere: with(Presence::is_elsewhere),
        policies: datapath.members()?,
        groups: datapath.groups()?,
        rates: datapath.rates()?,
        ..Members::default()
    })
}
