//! Has the kernel make the maps and judge the programs.

use std::path::Path;

use anyhow::{Result, anyhow};
use aya::{Ebpf, EbpfLoader};
use macvlan_common::names;

use super::{
    hooks::Hooks,
    object::{allow_memory, object},
    owners, trace,
};
use crate::bpffs;

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
    trace::keep_rings_small(&mut loader);
    allow_memory();
    let mut object = loader.load(object()).map_err(|error| no_maps(&error))?;
    if depth == Depth::Shallow && Hooks::try_load(&mut object, &[names::CHILD_EGRESS]).is_ok() {
        return Ok(());
    }
    Hooks::try_load(&mut object, &[names::INGRESS, names::EGRESS])
}

/// Loads the object; its maps are made and pinned in `directory`, or found there.
pub fn load_object(directory: &Path, max_children: Option<u32>) -> Result<Ebpf> {
    let mut loader = loader(directory);
    trace::keep_rings_small(&mut loader);
    if let Some(max_children) = max_children {
        loader.map_max_entries(names::CHILDREN, max_children);
        loader.map_max_entries(names::POLICY, max_children);
        loader.map_max_entries(names::WIRE_RX, max_children);
        loader.map_max_entries(names::RETIRED, max_children);
        loader.map_max_entries(names::METERS, max_children);
        // Beside the children's buckets, the wire's.
        loader.map_max_entries(names::STORM, max_children.saturating_add(1));
        loader.map_max_entries(names::OWNERS, owners::room_beside(max_children));
        loader.map_max_entries(names::OWN, owners::room_beside(max_children));
        loader.map_max_entries(names::PLACES, owners::room_beside(max_children));
    }
    allow_memory();
    loader.load(object()).map_err(|error| no_maps(&error))
}

/// Makes the lasting maps and pins them in `directory`, or finds them there.
pub fn loader<'a>(directory: &Path) -> EbpfLoader<'a> {
    let mut loader = EbpfLoader::new();
    for name in names::MAPS {
        loader.map_pin_path(name, directory.join(name));
    }
    loader
}

pub fn no_maps(error: &aya::EbpfError) -> anyhow::Error {
    anyhow!("cannot make the BPF maps: {}", flat(error))
}

/// An error and its causes on one line.
pub fn flat(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text = format!("{text}: {cause_text}");
        }
        source = cause.source();
    }
    let line = text.split('\n').next().unwrap_or_default();
    // "Operation not permitted (os error 1)" says the same without the number.
    match line.split_once(" (os error ") {
        Some((head, _)) => head.to_lowercase(),
        None => line.trim().to_owned(),
    }
}
