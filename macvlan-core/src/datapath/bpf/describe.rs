//! What is said of a data path, and what its programs are told of its settings.

use std::{collections::BTreeMap, path::Path};

use anyhow::Result;
use macvlan_common::{
    child::{Mode, Policy},
    config::Config as Flags,
    mac::Mac,
};

use crate::{
    datapath::bpf::{
        hooks::driver_program::Lower, ingress_need, isolation, maps::tables::Maps, ports, record::Record,
        traced,
    },
    model::{
        description::{Carrier, Degraded, Description, Hairpin, HostFlood},
        keyword::Keyword,
        master::Master,
        options::{DropUnknown, Isolation},
    },
};

/// What the master itself tells of a data path.
#[derive(Debug, Clone)]
pub struct OnMaster {
    /// The master's name.
    pub name: String,
    /// The master's MAC.
    pub mac: Mac,
    /// The master, as the macvlan driver knows it.
    pub lower: Lower,
    /// What made it, see [`Master::kind`].
    pub kind: Option<String>,
    /// What is less because of the programs of others there.
    pub degraded: Vec<Degraded>,
}

impl OnMaster {
    /// What `master` tells, with what is less because of the programs of others on it.
    pub fn of(master: &Master, degraded: Vec<Degraded>) -> Self {
        let lower = Lower { index: master.index, netns: master.netns.id().inode() };
        Self { name: master.name.clone(), mac: master.mac, lower, kind: master.kind.clone(), degraded }
    }
}

/// What is in place with these children, and why not more.
///
/// # Errors
///
/// The configuration map cannot be read.
pub fn describe(
    record: &Record,
    maps: &Maps,
    members: &BTreeMap<Mac, Policy>,
    directory: &Path,
    on_master: &OnMaster,
) -> Result<Description> {
    let has_passthru = members.values().any(|policy| policy.mode() == Mode::Passthru);
    let config = maps.read_config()?;
    let mut description = Description {
        carrier: Carrier::Bpf,
        demux: record.demux,
        hairpin: record.hairpin,
        ingress: !record.lean,
        host_flood: host_flood(&config, members),
        degraded: record.degraded.clone(),
        adopts: record.options.adopt,
        drop_unknown: record.options.drop_unknown,
        vepa_switch: record.options.vepa_switch,
        single_mac: record.single && !has_passthru,
        isolation: if config.is_strict() { Isolation::Strict } else { Isolation::Off },
        directs: record.options.directed_neigh && !has_passthru,
        storm_limit: record.options.storm_limit.per_second(),
    };
    if record.options.drop_unknown != DropUnknown::Off && needs_unknown(members) {
        description.degraded.push(Degraded::new(
            "drop-unknown",
            record.options.drop_unknown.as_str(),
            DropUnknown::Off.as_str(),
            "a child in mode source or passthru receives such frames",
        ));
    }
    let asks = |policy: &Policy| policy.asks_inspection() && policy.mode() == Mode::Passthru;
    if members.values().any(asks) {
        description.degraded.push(Degraded::new(
            "guard",
            "anti-spoof ip, ra off or dhcp-server off",
            "off",
            "a passthru child bears the host's MAC: nobody can tell their frames apart",
        ));
    }
    let asks_other = |policy: &Policy| matches!(policy.mode(), Mode::Passthru | Mode::Source);
    if record.single && members.values().any(asks_other) {
        let got = if has_passthru { "off" } else { "on, but for those in mode source" };
        description.degraded.push(Degraded::new(
            "single-mac",
            "on",
            got,
            "a child in mode source or passthru takes frames by other things than IP addresses",
        ));
    }
    description.degraded.extend(ingress_need::degraded(record, members, config.flood));
    description.degraded.extend(crowded(maps, members)?);
    description.degraded.extend(ports::degraded(&config, &on_master.name, on_master.kind.as_deref()));
    description.degraded.extend(isolation::degraded(record, members));
    description.degraded.extend(traced::degraded(record, directory));
    description.degraded.extend(on_master.degraded.iter().cloned());
    let known = Mac::from_key(config.master);
    if known != on_master.mac && description.hairpin != Hairpin::Off {
        description.degraded.push(Degraded::new(
            "hairpin",
            description.hairpin.as_str(),
            Hairpin::Off.as_str(),
            format!(
                "the device's MAC is {} now, and the programs turn around for {known}: macvlan-ctl attach {}, \
                 or let run follow it",
                on_master.mac, on_master.name
            ),
        ));
        description.hairpin = Hairpin::Off;
    }
    if has_passthru && description.hairpin != Hairpin::Off {
        description.degraded.push(Degraded::new(
            "hairpin",
            description.hairpin.as_str(),
            Hairpin::Off.as_str(),
            "a passthru child takes all traffic of the master",
        ));
        description.hairpin = Hairpin::Off;
    }
    Ok(description)
}

/// The children that have more addresses than they may use.
fn crowded(maps: &Maps, members: &BTreeMap<Mac, Policy>) -> Result<Vec<Degraded>> {
    let held = members.values().filter(|policy| policy.is_held_to_addresses()).count();
    let crowded = if held == 0 { BTreeMap::new() } else { maps.own.used_up(held)? };
    let degraded = |(mac, count): (Mac, usize)| {
        let used = format!("{count} addresses");
        let reason = format!(
            "child {mac} has {count} addresses, which is its share, or more: frames from others are dropped"
        );
        Degraded::new("anti-spoof", "every address", &used, reason)
    };
    Ok(crowded.into_iter().map(degraded).collect())
}

fn host_flood(config: &Flags, members: &BTreeMap<Mac, Policy>) -> HostFlood {
    let hears_host = Flags::flags_of(members.values().copied()) & Flags::FLOOD != 0;
    let has_passthru = members.values().any(|policy| policy.mode() == Mode::Passthru);
    match (hears_host && !has_passthru, config.flood) {
        (false, _) => HostFlood::Off,
        (true, 0) => HostFlood::Master,
        (true, _) => HostFlood::Device,
    }
}

/// The settings of the programs that do not follow from the children alone.
pub fn guard_flags(record: &Record, members: &BTreeMap<Mac, Policy>) -> u64 {
    let options = &record.options;
    let drops = options.drop_unknown != DropUnknown::Off && !needs_unknown(members);
    (if drops { Flags::DROP_UNKNOWN } else { 0 }) | if options.vepa_switch { Flags::VEPA_SWITCH } else { 0 }
}

/// Whether a child takes frames for MACs that are not its own.
fn needs_unknown(members: &BTreeMap<Mac, Policy>) -> bool {
    members.values().any(|policy| matches!(policy.mode(), Mode::Source | Mode::Passthru))
}
