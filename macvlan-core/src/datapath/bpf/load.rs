//! Has the kernel make the maps and load the programs.

use std::path::Path;

use anyhow::{Result, anyhow};
use aya::{Ebpf, EbpfLoader};
use macvlan_common::names;

use crate::datapath::bpf::{
    hooks::refusal::flat,
    maps::neighbour_table,
    object::{allow_memory, keep_rings_small, object},
};

/// Loads the object; its maps are made and pinned in `directory`, or found there.
pub fn load_object(directory: &Path, max_children: Option<u32>) -> Result<Ebpf> {
    let mut loader = loader(directory);
    keep_rings_small(&mut loader);
    if let Some(max_children) = max_children {
        loader.map_max_entries(names::CHILDREN, max_children);
        loader.map_max_entries(names::POLICY, max_children);
        loader.map_max_entries(names::PRESENCE, max_children);
        loader.map_max_entries(names::WIRE_RX, max_children);
        loader.map_max_entries(names::RETIRED, max_children);
        loader.map_max_entries(names::METERS, max_children);
        // Beside the children's buckets, the wire's.
        loader.map_max_entries(names::STORM, max_children.saturating_add(1));
        loader.map_max_entries(names::OWNERS, neighbour_table::room_beside(max_children));
        loader.map_max_entries(names::OWN, neighbour_table::room_beside(max_children));
        loader.map_max_entries(names::PLACES, neighbour_table::room_beside(max_children));
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
