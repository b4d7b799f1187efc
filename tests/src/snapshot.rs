//! Everything that a command on a lab may change, to be compared before and after one that failed.

use std::{
    collections::BTreeMap,
    io::{self, Write as _},
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use aya::{
    maps::{HashMap, Map, MapData},
    programs::{SchedClassifier, TcAttachType},
};
use macvlan_common::{l3::Address, names, neigh::Owner};
use serde_json::Value;

use crate::{
    cli::run,
    control::{Pinned, pinned, record},
    fail::OrFail as _,
    lab::{Lab, Station},
    leak::{forget_changing, pins},
    require,
};

/// Maps whose contents are what commands write, and no counts.
const CONTENTS: [&str; 6] =
    [names::CONFIG, names::FILTER, names::INDEX, names::GROUPS, names::OWN, names::PACE];

/// Maps that frames change: only their keys are compared.
const KEYS: [&str; 2] = [names::CHILDREN, names::METERS];

/// What there is in a lab, by what it is called in a message.
#[derive(Debug, Clone, PartialEq)]
pub struct Snapshot(BTreeMap<String, Value>);

impl Snapshot {
    /// As it is now, on the host and at these stations.
    #[track_caller]
    pub fn of(lab: &Lab, stations: &[&Station]) -> Self {
        let mut all = BTreeMap::new();
        for station in [&lab.host].into_iter().chain(stations.iter().copied()) {
            let mut note = |what: &str, value| all.insert(format!("{what} at {}", station.dev), value);
            let ipv4 = ["link show", "addr show", "neigh show nud permanent", "route show table all"];
            let [links, addresses, neighbours, routes] = ip(station, "-4", ipv4);
            note("programs of children", children_programs(station, &links));
            note("links", links);
            note("addresses", addresses);
            note("neighbours", neighbours);
            note("IPv4 routes", routes);
            let ipv6 = ["addr show", "neigh show nud permanent", "route show table all"];
            let [addresses, neighbours, routes] = ip(station, "-6", ipv6);
            note("IPv6 addresses", addresses);
            note("IPv6 neighbours", neighbours);
            note("IPv6 routes", routes);
            note("qdiscs", tc(station, "qdisc show"));
        }
        let dev = lab.host.dev.as_str();
        for side in ["ingress", "egress"] {
            all.insert(format!("{side} filters"), tc(&lab.host, &format!("filter show dev {dev} {side}")));
        }
        for side in [TcAttachType::Ingress, TcAttachType::Egress] {
            let programs = lab.host.ns.enter(|| tcx(dev, side));
            all.insert(format!("TCX programs, {side:?}"), programs.into());
        }
        let pins = pins(lab);
        let paths = pins.iter().map(|pin| pin.to_string_lossy().into_owned());
        all.insert("pins".into(), paths.collect::<Vec<_>>().into());
        if pins.iter().any(|pin| pin.ends_with(names::RECORD)) {
            all.extend(maps(lab));
            let mut status = lab.ctl(&["-j", "status", dev]).succeeded().json();
            forget(&mut status);
            all.insert("status".into(), status);
        }
        Self(all)
    }

    /// Waits until everything is as it is here: the kernel takes some things away later than it says.
    ///
    /// # Panics
    ///
    /// When something stays different.
    #[track_caller]
    pub fn wait_for(&self, lab: &Lab, stations: &[&Station], when: &str) {
        const PATIENCE: Duration = Duration::from_secs(5);
        let start = Instant::now();
        loop {
            let now = Self::of(lab, stations);
            if now == *self {
                return;
            }
            if start.elapsed() > PATIENCE {
                panic!("not as before, {when}:\n{}", self.differences(&now));
            }
            thread::sleep(Duration::from_millis(20));
        }
    }

    fn differences(&self, now: &Self) -> String {
        let names = self.0.keys().chain(now.0.keys());
        let mut names: Vec<&String> = names.filter(|name| self.0.get(*name) != now.0.get(*name)).collect();
        names.dedup();
        let text = |all: &Self, name: &str| all.0.get(name).map(Value::to_string).unwrap_or_default();
        let lines = names
            .iter()
            .map(|name| format!("{name}:\n  before: {}\n  now:    {}\n", text(self, name), text(now, name)));
        lines.collect()
    }
}

/// Takes out what changes by itself, and the numbers of programs.
fn forget(value: &mut Value) {
    forget_changing(value);
    forget_programs(value);
}

fn forget_programs(value: &mut Value) {
    match value {
        Value::Array(items) => items.iter_mut().for_each(forget_programs),
        Value::Object(fields) => {
            if let Some(Value::Object(program)) = fields.get_mut("prog") {
                program.retain(|name, _| name == "name" || name == "tag");
            }
            for name in ["age", "expires", "xdp_prog_id"] {
                fields.remove(name);
            }
            fields.values_mut().for_each(forget_programs);
        }
        _ => {}
    }
}

/// What `ip` shows of a family in a station's namespace, by one process for all.
#[track_caller]
fn ip<const N: usize>(station: &Station, family: &str, shows: [&str; N]) -> [Value; N] {
    let text: String = shows.iter().map(|show| format!("{show}\n")).collect();
    let mut command = station.ns.command("ip");
    let text = fed(command.args(["-j", "-d", family, "-batch", "-"]), &text);
    let mut values = serde_json::Deserializer::from_str(&text).into_iter::<Value>();
    shows.map(|show| {
        let mut value =
            values.next().or_fail(format!("find what `ip {family} {show}` says")).or_fail("read JSON");
        forget(&mut value);
        value
    })
}

/// What a command prints that reads this.
#[track_caller]
fn fed(command: &mut Command, input: &str) -> String {
    let (reader, mut writer) = io::pipe().or_fail("make a pipe");
    // A pipe holds 64 KiB.
    writer.write_all(input.as_bytes()).or_fail("fill a pipe");
    drop(writer);
    run(command.stdin(Stdio::from(reader)))
}

#[track_caller]
fn tc(station: &Station, args: &str) -> Value {
    let text = run(station.ns.command("tc").arg("-j").args(args.split_whitespace()));
    if text.trim().is_empty() {
        return Value::Null;
    }
    let mut value = serde_json::from_str(&text).or_fail(format!("read the output of `tc -j {args}`"));
    forget(&mut value);
    value
}

/// The programs on the macvlan devices of a station, by their names.
#[track_caller]
fn children_programs(station: &Station, links: &Value) -> Value {
    let children = links
        .as_array()
        .into_iter()
        .flatten()
        .filter(|link| matches!(link["linkinfo"]["info_kind"].as_str(), Some("macvlan" | "macvtap")));
    let names: Vec<&str> = children.filter_map(|link| link["ifname"].as_str()).collect();
    let programs = station.ns.enter(|| {
        let of = |name: &&str| ((*name).to_owned(), Value::from(tcx(name, TcAttachType::Egress)));
        names.iter().map(of).collect::<serde_json::Map<_, _>>()
    });
    programs.into()
}

#[track_caller]
fn tcx(device: &str, side: TcAttachType) -> Vec<String> {
    if require::tcx().is_err() {
        // Where there are no such hooks, nothing hangs on them.
        return Vec::new();
    }
    let (_, programs) = SchedClassifier::query_tcx(device, side).or_fail("query TCX programs");
    programs.iter().map(|program| program.name_as_str().unwrap_or_default().to_owned()).collect()
}

/// What is in the pinned maps.
#[track_caller]
fn maps(lab: &Lab) -> BTreeMap<String, Value> {
    let pins = pins(lab);
    let path = |name: &str| {
        let pin = pins.iter().find(|pin| pin.ends_with(name)).or_fail(format!("find the pin {name}"));
        pin.display().to_string()
    };
    let names = CONTENTS.into_iter().chain(KEYS);
    let lines: String = names.clone().map(|name| format!("map dump pinned {}\n", path(name))).collect();
    let mut bpftool = lab.command(&lab.host.ns, "bpftool");
    let text = fed(bpftool.args(["-j", "batch", "file", "-"]), &lines);
    let dumps: Vec<Value> = serde_json::from_str(&text).or_fail(format!("read what bpftool says: {text}"));
    let mut all = BTreeMap::new();
    for (name, mut dump) in names.zip(dumps) {
        if let Some(items) = dump["output"].as_array_mut() {
            if KEYS.contains(&name) {
                items.iter_mut().for_each(|item| *item = item["key"].take());
            }
            items.sort_by_key(Value::to_string);
        }
        all.insert(format!("map {name}"), dump["output"].take());
    }
    all.insert("record".into(), record(lab));
    let owners = path(names::OWNERS);
    let owners = lab.mounts().enter(|| {
        let map = MapData::from_pin(&owners).or_fail("open the address map");
        let map: HashMap<MapData, Address, Owner> =
            Map::HashMap(map).try_into().or_fail("take the address map for what it is");
        let all = map.iter().map(|item| {
            let (address, owner) = item.or_fail("read the address map");
            format!("{address:?} {:x} {}", owner.mac, owner.kind)
        });
        let mut all: Vec<String> = all.collect();
        all.sort();
        all
    });
    all.insert("map of addresses".into(), owners.into());
    let programs = pinned(lab).into_iter().map(|(name, what)| {
        let kind = match what {
            Pinned::Map(_) => "map",
            Pinned::Program(_) => "program",
            Pinned::Link(..) => "link",
        };
        (name, Value::from(kind))
    });
    all.insert("what is pinned".into(), programs.collect::<serde_json::Map<_, _>>().into());
    all
}
