//! The data path on a master, seen from above: one trait, two implementations.
//!
//! `bpf::Bpf` is the programs on the master; `kernel::Kernel` is plain kernel macvlan, with
//! the reason why it is no more than that. Commands hold a `Box<dyn Datapath>` and ask neither
//! which it is.

pub(crate) mod announce;
pub mod bpf;
pub(crate) mod choose;
mod device_totals;
pub(crate) mod kernel;
pub(crate) mod shim;

use anyhow::Result;
use futures_util::future::LocalBoxFuture;

use crate::model::{
    counters::Counters, description::Description, held::Held, master::Master, members::Members,
};

/// A data path that is in place.
pub trait Datapath {
    /// What was taken, and why not more.
    fn description(&self) -> &Description;

    /// The children it knows, as it was last read or written.
    fn members(&self) -> &Members;

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

    /// Who has which address on a wire that carries one MAC; nothing of other wires.
    ///
    /// # Errors
    ///
    /// The map cannot be read.
    fn held(&self) -> Result<Vec<Held>> {
        Ok(Vec::new())
    }

    /// Takes it off the master. The children stay.
    ///
    /// # Errors
    ///
    /// When a part cannot be removed; all others are.
    fn detach<'a>(&'a mut self, master: &'a Master) -> LocalBoxFuture<'a, Result<()>>;
}
