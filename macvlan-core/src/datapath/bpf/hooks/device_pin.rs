//! A pinned map that the kernel empties when the master's device goes: for a data path without links, which
//! would tell.
//!
//! No program reads it. A device map (`BPF_MAP_TYPE_DEVMAP`) lets go of a device that is unregistered, by
//! itself, with its namespace, or on its way to another one (`dev_map_notification` in
//! kernel/bpf/devmap.c); its filters go then, too.

use std::path::Path;

use anyhow::{Context as _, Result, anyhow};
use aya::maps::{DevMap, Map, MapData, MapError, MapType};
use aya_obj::{
    EbpfSectionKind,
    maps::{LegacyMap, PinningType, bpf_map_def},
};

use crate::datapath::bpf::hooks::refusal::flat;

/// File name of the pin, and the map's name in the kernel.
pub const DEVICE: &str = "device";

/// Pins a map in `directory` that holds the device with this index of the calling thread's namespace.
///
/// # Errors
///
/// When the device is gone, the pin is there already, or the process lacks `CAP_NET_ADMIN` or `CAP_BPF`.
pub fn pin(directory: &Path, index: u32) -> Result<()> {
    const CANNOT: &str = "cannot make the map of the device";
    let map = MapData::create(definition(), DEVICE, None).map_err(|error| anyhow!("{}", flat(&error)));
    let map = map.context(CANNOT)?;
    map.pin(directory.join(DEVICE)).map_err(|error| anyhow!("{}", flat(&error))).context(CANNOT)?;
    let mut map = DevMap::try_from(Map::DevMap(map)).context(CANNOT)?;
    map.set(0, index, None, 0).map_err(|error| anyhow!("{}", flat(&error))).context(CANNOT)
}

/// Whether the device of the map in `directory` is there; `None` where no map tells.
pub fn is_there(directory: &Path) -> Option<bool> {
    let map = MapData::from_pin(directory.join(DEVICE)).ok()?;
    match DevMap::try_from(Map::DevMap(map)).ok()?.get(0, 0) {
        Ok(_) => Some(true),
        Err(MapError::KeyNotFound) => Some(false),
        Err(_) => None,
    }
}

fn definition() -> aya_obj::Map {
    // An index and, since kernel 5.8, a program for it (`struct bpf_devmap_val`).
    let value_size = if aya::features().devmap_prog_id() { 8 } else { 4 };
    aya_obj::Map::Legacy(LegacyMap {
        def: bpf_map_def {
            map_type: MapType::DevMap as u32,
            key_size: 4,
            value_size,
            max_entries: 1,
            map_flags: 0,
            id: 0,
            pinning: PinningType::None,
        },
        inner_def: None,
        section_index: 0,
        section_kind: EbpfSectionKind::Maps,
        symbol_index: None,
        data: Vec::new(),
    })
}
