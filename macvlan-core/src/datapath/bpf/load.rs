//! Has the kernel make the maps and load the programs.

use std::path::Path;

use anyhow::{Context as _, Result, anyhow};
use aya::{Ebpf, EbpfLoader};
use macvlan_common::names;

use crate::{
    datapath::bpf::{
        hooks::refusal::flat,
        maps::neighbour_table,
        object::{keep_rings_small, object},
        sockets::let_ask,
    },
    kernel::program::allow_memory,
};

/// Loads the object with new maps that have room for so many children.
pub fn load_new(max_children: u32) -> Result<Ebpf> {
    let mut loader = EbpfLoader::new();
    loader.map_max_entries(names::CHILDREN, max_children);
    loader.map_max_entries(names::POLICY, max_children);
    loader.map_max_entries(names::PRESENCE, max_children);
    loader.map_max_entries(names::SLOT_COUNTERS, max_children);
    loader.map_max_entries(names::RETIRED, max_children);
    // By their MACs, and by their containers.
    loader.map_max_entries(names::KEPT, max_children.saturating_mul(2));
    loader.map_max_entries(names::METERS, max_children);
    // Beside the children's buckets, the wire's.
    loader.map_max_entries(names::STORM, max_children.saturating_add(1));
    loader.map_max_entries(names::OWNERS, neighbour_table::room_beside(max_children));
    loader.map_max_entries(names::OWN, neighbour_table::room_beside(max_children));
    loader.map_max_entries(names::PLACES, neighbour_table::room_beside(max_children));
    loader.map_max_entries(names::HOLDERS, neighbour_table::room_beside(max_children));
    loader.map_max_entries(names::TAUGHT, neighbour_table::room_beside(max_children));
    load(loader)
}

/// Pins the maps of an object that was loaded with new ones.
pub fn pin_maps(object: &Ebpf, directory: &Path) -> Result<()> {
    for name in names::MAPS {
        let map = object.map(name).with_context(|| format!("no map {name} in the object"))?;
        map.pin(directory.join(name)).map_err(|error| anyhow!("cannot pin map {name}: {}", flat(&error)))?;
    }
    Ok(())
}

/// Loads the object with the maps that are pinned in `directory`.
pub fn load_object(directory: &Path) -> Result<Ebpf> {
    load(loader(directory))
}

fn load(mut loader: EbpfLoader<'_>) -> Result<Ebpf> {
    keep_rings_small(&mut loader);
    allow_memory();
    let_ask(&mut loader);
    loader.load(object()).map_err(|error| no_maps(&error))
}

/// Finds the lasting maps in `directory`.
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
