//! Programs of ours on a device that no pin leads to: the BPF file system was unmounted under filters, or it is
//! that of another mount namespace.

use aya::{
    maps::MapInfo,
    programs::{ProgramInfo, loaded_links, loaded_programs},
};
use macvlan_common::names;

use crate::datapath::bpf::hooks::{link, on_device::OnDevice};

/// Ids of those on this device. They are known by their name and by the map that every one of them has, which
/// nobody without the rights to load programs on the machine can imitate.
pub fn of(there: &OnDevice) -> Vec<u32> {
    let on_device: Vec<u32> = there.programs.iter().filter_map(|program| program.id).collect();
    if on_device.is_empty() {
        return Vec::new();
    }
    let programs = loaded_programs().filter_map(Result::ok);
    programs.filter(|info| on_device.contains(&info.id()) && is_ours(info)).map(|info| info.id()).collect()
}

fn is_ours(info: &ProgramInfo) -> bool {
    let twins = names::TRACED.iter().flat_map(|(program, twin)| [*program, *twin]);
    let mut known = twins.chain([
        names::INGRESS,
        names::EGRESS,
        names::XDP,
        names::XDP_FRAGS,
        names::SINGLE_INGRESS,
        names::SINGLE_EGRESS,
    ]);
    let is_named = info.name_as_str().is_some_and(|name| known.any(|ours| ours == name));
    let maps = || info.map_ids().ok().flatten().unwrap_or_default();
    let is_config = |id: u32| MapInfo::from_id(id).is_ok_and(|map| map.name_as_str() == Some(names::CONFIG));
    is_named && maps().into_iter().any(is_config)
}

/// Takes the links of these programs off their devices, whoever holds them: going down first.
pub fn detach_links(programs: &[u32]) {
    let egress: Vec<u32> = loaded_programs()
        .filter_map(Result::ok)
        .filter(|info| {
            programs.contains(&info.id())
                && info
                    .name_as_str()
                    .is_some_and(|name| [names::EGRESS, names::SINGLE_EGRESS].contains(&name))
        })
        .map(|info| info.id())
        .collect();
    let links = loaded_links().filter_map(Result::ok);
    let mut links: Vec<(u32, u32)> = links.map(|link| (link.program_id(), link.id())).collect();
    links.retain(|(program, _)| programs.contains(program));
    links.sort_by_key(|(program, _)| !egress.contains(program));
    for (_, id) in links {
        // It may have gone by itself.
        if let Err(error) = link::detach_link_by_id(id) {
            log::debug!("{error:#}");
        }
    }
}
