//! A pinned map that the kernel empties when a device goes: the master's, for a data path without links, which
//! would tell; and those of children whose settings are their devices', as long as these are there.
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

/// File name of the pin of a master's, and the name of all of them in the kernel.
pub const DEVICE: &str = "device";

/// Pins a map at `pin` that holds the device with this index of the calling thread's namespace.
///
/// # Errors
///
/// When the device is gone, the pin is there already, or the process lacks `CAP_NET_ADMIN` or `CAP_BPF`.
pub fn put(pin: &Path, index: u32) -> Result<()> {
    const CANNOT: &str = "cannot make the map of the device";
    let map = MapData::create(definition(), DEVICE, None).map_err(|error| anyhow!("{}", flat(&error)));
    let map = map.context(CANNOT)?;
    map.pin(pin).map_err(|error| anyhow!("{}", flat(&error))).context(CANNOT)?;
    let mut map = DevMap::try_from(Map::DevMap(map)).context(CANNOT)?;
    map.set(0, index, None, 0).map_err(|error| anyhow!("{}", flat(&error))).context(CANNOT)
}

/// The index of the device of the map at `pin`, 0 where that is gone; `None` where no map tells.
pub fn index_at(pin: &Path) -> Option<u32> {
    let map = MapData::from_pin(pin).ok()?;
    match DevMap::try_from(Map::DevMap(map)).ok()?.get(0, 0) {
        Ok(device) => Some(device.if_index),
        Err(MapError::KeyNotFound) => Some(0),
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
