//! Children made by the command under test, and what its maps hold of them.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

use aya::{
    maps::{Array, Map, MapData, PerCpuHashMap},
    programs::{
        ProgramInfo,
        links::{FdLink, PinnedLink},
    },
};
use macvlan_common::{
    child::ChildEntry,
    config::{RECORD_LEN, Record},
    mac::Mac,
    names,
};
use serde_json::{Value, json};

use crate::{
    fail::OrFail as _,
    lab::{Lab, Station},
    mounts::BPFFS,
};

/// The owner's mark on a child that the command made.
pub const ALIAS: &str = "macvlan-ctl";

/// The pinned map of the device that filters are on.
const DEVICE: &str = "device";

/// The specification of a child that is to be this station, with these further settings.
pub fn spec(station: &Station, settings: &str) -> String {
    let Station { ns, dev, mac, ip, .. } = station;
    let comma = if settings.is_empty() { "" } else { "," };
    format!("{dev},netns={},mac={mac},ip={ip}/24{comma}{settings}", ns.path().display())
}

/// The specification of the child of this name at this station, for what there is of it already.
pub fn named(station: &Station, settings: &str) -> String {
    let comma = if settings.is_empty() { "" } else { "," };
    format!("{},netns={}{comma}{settings}", station.dev, station.ns.path().display())
}

/// The only element of an array.
#[track_caller]
pub fn only(array: &Value) -> &Value {
    match array.as_array().map(Vec::as_slice) {
        Some([element]) => element,
        _ => panic!("an array of one element is wanted: {array:#}"),
    }
}

/// `status -j` of the lab's master.
#[track_caller]
pub fn status(lab: &Lab) -> Value {
    only(&lab.ctl(&["-j", "status", &lab.host.dev]).succeeded().json()).clone()
}

/// The child of this name in an output of `status -j`.
#[track_caller]
pub fn child<'a>(status: &'a Value, name: &str) -> &'a Value {
    let found =
        status["children"].as_array().and_then(|all| all.iter().find(|child| child["ifname"] == name));
    found.or_fail(format!("find child {name:?} in {status:#}"))
}

/// Names of the children in an output of `status -j` that the data path knows.
#[track_caller]
pub fn names_of(status: &Value) -> BTreeSet<String> {
    let children = status["children"].as_array().or_fail("read the children in `status -j`");
    let adopted = children.iter().filter(|child| child["adopted"] == true);
    adopted.map(|child| child["ifname"].as_str().or_fail("read a name").to_owned()).collect()
}

/// MACs in the children map of the lab's only master that is attached, read past the command.
#[track_caller]
pub fn members(lab: &Lab) -> BTreeSet<Mac> {
    lab.mounts().enter(|| {
        let map = MapData::from_pin(pin_directory().join(names::CHILDREN)).or_fail("open the children map");
        let map: PerCpuHashMap<_, u64, ChildEntry> =
            Map::PerCpuHashMap(map).try_into().or_fail("take the children map for what it is");
        map.keys().map(|key| Mac::from_key(key.or_fail("read the children map"))).collect()
    })
}

/// Makes the data path of the lab's only master look like one that another version of the program
/// has put there: the next `attach` brings it to this one.
#[track_caller]
pub fn make_older(lab: &Lab) {
    change_record(lab, |record| record["object"] = "0000".into());
}

/// Makes it look like one of a version that took a child for its own by its alias.
#[track_caller]
pub fn make_unmarked(lab: &Lab) {
    change_record(lab, |record| {
        record.as_object_mut().or_fail("read the record").remove("marks");
    });
}

/// Makes it look like one of another version whose maps are laid out in a way unknown here.
#[track_caller]
pub fn make_foreign(lab: &Lab, layout: u32) {
    change_record(lab, |record| {
        let owns_clsact = record["owns_clsact"].clone();
        *record = json!({ "abi": layout, "owns_clsact": owns_clsact, "unheard": [1, 2] });
    });
}

/// The record that the last attach left in the lab's only data path.
#[track_caller]
pub fn record(lab: &Lab) -> Value {
    lab.mounts().enter(|| {
        let record = open_record().get(&0, 0).or_fail("read the record");
        serde_json::from_slice(&record.text[..record.len as usize]).or_fail("read the record")
    })
}

#[track_caller]
fn change_record(lab: &Lab, change: impl FnOnce(&mut Value)) {
    let mut text = record(lab);
    change(&mut text);
    let text = text.to_string();
    lab.mounts().enter(|| {
        let mut record = Record { len: text.len() as u32, text: [0; RECORD_LEN] };
        record.text[..text.len()].copy_from_slice(text.as_bytes());
        open_record().set(0, record, 0).or_fail("write the record");
    });
}

#[track_caller]
fn open_record() -> Array<MapData, Record> {
    let map = MapData::from_pin(pin_directory().join(names::RECORD)).or_fail("open the record map");
    Map::Array(map).try_into().or_fail("take the record map for what it is")
}

/// What a pin is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pinned {
    /// A map of this id.
    Map(u32),
    /// A program of this id.
    Program(u32),
    /// A link of this id, and its program's.
    Link(u32, u32),
}

/// What is pinned for the lab's only master, by file name.
#[track_caller]
pub fn pinned(lab: &Lab) -> BTreeMap<String, Pinned> {
    let look = |path: PathBuf| {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let pinned =
            if names::MAPS.contains(&name.as_str()) || name == DEVICE || name.starts_with("child_note_") {
                let map = MapData::from_pin(&path).or_fail("open a pinned map");
                Pinned::Map(map.info().or_fail("look at a pinned map").id())
            } else if name.starts_with("link_") || name.starts_with("child_") {
                let link = FdLink::from(PinnedLink::from_pin(&path).or_fail("open a pinned link"));
                let info = link.info().or_fail("look at a pinned link");
                Pinned::Link(info.id(), info.program_id())
            } else {
                Pinned::Program(ProgramInfo::from_pin(&path).or_fail("open a pinned program").id())
            };
        (name, pinned)
    };
    lab.mounts().enter(|| {
        let pins = fs::read_dir(pin_directory()).or_fail("list the pins");
        let paths = pins.map(|pin| pin.or_fail("list the pins").path());
        // A symbolic link says that the clsact qdisc is ours.
        paths.filter(|path| !path.is_symlink()).map(look).collect()
    })
}

/// The only pin directory in the mounts of the calling thread.
#[track_caller]
fn pin_directory() -> PathBuf {
    let root = Path::new(BPFFS).join(ALIAS);
    let entries = fs::read_dir(&root).or_fail("list the pin directories");
    let directories = entries.map(|entry| entry.or_fail("list pin directories").path());
    // Beside the masters' there is what says which children are ours.
    let mut directories = directories.filter(|path| !path.ends_with("made"));
    let directory = directories.next().or_fail("find a pin directory");
    assert!(directories.next().is_none(), "more than one pin directory in {}", root.display());
    directory
}

/// The macvlan and macvtap devices in a station's namespace, as `ip -j -d link` tells of them.
#[track_caller]
pub fn devices(station: &Station) -> Vec<Value> {
    let links = station.ns.ip_json("link show");
    let is_child = |link: &&Value| {
        let kind = link["linkinfo"]["info_kind"].as_str();
        matches!(kind, Some("macvlan" | "macvtap"))
    };
    links.as_array().into_iter().flatten().filter(is_child).cloned().collect()
}
