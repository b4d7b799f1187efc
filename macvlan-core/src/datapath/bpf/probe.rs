//! Whether this machine lets us have BPF.

use anyhow::Result;
use aya::EbpfLoader;
use macvlan_common::names;

use crate::{
    datapath::bpf::{
        hooks::tc::Hooks,
        load::no_maps,
        object::{allow_memory, keep_rings_small, object},
    },
    kernel::bpffs,
};

/// How much of the programs the kernel judges in [`probe`]. The verifier takes its time for each.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Depth {
    /// The smallest one: for who installs all of them next, and hears then of what is refused.
    Shallow,
    /// Those without which there is no data path.
    Whole,
}

/// Whether this machine lets us have BPF at all; changes nothing.
///
/// # Errors
///
/// Why not.
pub fn probe(depth: Depth) -> Result<()> {
    bpffs::probe()?;
    let mut loader = EbpfLoader::new();
    keep_rings_small(&mut loader);
    allow_memory();
    let mut object = loader.load(object()).map_err(|error| no_maps(&error))?;
    if depth == Depth::Shallow && Hooks::try_load(&mut object, &[names::CHILD_EGRESS]).is_ok() {
        return Ok(());
    }
    Hooks::try_load(&mut object, &[names::INGRESS, names::EGRESS])
}
