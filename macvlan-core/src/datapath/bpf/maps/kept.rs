//! Settings that outlive children.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context as _, Result};
use aya::maps::{HashMap, Map, MapData, MapError};
use macvlan_common::{
    child::{Kept as Entry, KeptName, Mode},
    group::GroupName,
};

use crate::{
    datapath::bpf::maps::{batch::Batch, clock},
    kernel::crash,
    model::kept::{Keeper, Kept, KeptSetting},
    policy::{change::PolicyChange, groups::Groups, rate::RateLimits},
};

/// The number of a kept group: a master's own are used anew.
const GROUP: u16 = 1;

/// The map of settings that are kept.
pub struct KeptMap {
    map: HashMap<MapData, KeptName, Entry>,
    batch: Batch,
    room: usize,
}

impl KeptMap {
    /// What is in this map.
    ///
    /// # Errors
    ///
    /// It is of another kind, or the process has too many files open.
    pub fn new(map: MapData) -> Result<Self> {
        let room = map.info()?.max_entries() as usize;
        Ok(Self { batch: Batch::of(&map)?, map: Map::HashMap(map).try_into()?, room })
    }

    fn entries(&self) -> Result<BTreeMap<KeptName, Entry>> {
        Ok(self.batch.hash().context("cannot read the settings that are kept")?.into_iter().collect())
    }

    /// All that is kept.
    ///
    /// # Errors
    ///
    /// The process lacks `CAP_BPF`.
    pub fn read(&self) -> Result<Kept> {
        let entries = self.entries()?.into_iter();
        Ok(Kept(entries.filter_map(|(name, entry)| Some((keeper(name.as_str())?, read(&entry)))).collect()))
    }

    /// Keeps exactly this or, where there is no room, less: what is kept by a MAC goes first, and of that what was
    /// kept first; nothing of children that are `present`. Gives what is kept no more for want of room.
    ///
    /// # Errors
    ///
    /// The map cannot be read or written.
    pub fn write(&mut self, kept: &Kept, is_present: impl Fn(&Keeper) -> bool) -> Result<Vec<String>> {
        let present = self.entries()?;
        let mut wanted: BTreeMap<KeptName, (&Keeper, &KeptSetting)> = BTreeMap::new();
        let mut lost = Vec::new();
        for (keeper, setting) in &kept.0 {
            match KeptName::new(&text(keeper)) {
                Some(name) => drop(wanted.insert(name, (keeper, setting))),
                None => lost.push(text(keeper)),
            }
        }
        if wanted.len() > self.room {
            let since = |name: &KeptName| present.get(name).map_or(u64::MAX, |entry| entry.since);
            let mut idle: Vec<_> = wanted.iter().filter(|(_, (keeper, _))| !is_present(keeper)).collect();
            idle.sort_by_key(|(name, (keeper, _))| (matches!(keeper, Keeper::Container(_)), since(name)));
            let excess: BTreeSet<KeptName> =
                idle.into_iter().map(|(name, _)| *name).take(wanted.len() - self.room).collect();
            lost.extend(excess.iter().map(|name| name.as_str().to_owned()));
            wanted.retain(|name, _| !excess.contains(name));
        }
        for name in present.keys().filter(|name| !wanted.contains_key(*name)) {
            match self.map.remove(name) {
                Ok(()) | Err(MapError::KeyNotFound) => {}
                Err(error) => return Err(error).context("cannot forget settings that were kept"),
            }
            crash::point("forgetting kept settings")?;
        }
        for (name, (_, setting)) in wanted {
            if present.get(&name).is_none_or(|entry| read(entry) != *setting) {
                self.map.insert(name, entry(setting)?, 0).context("cannot keep the settings of a child")?;
                crash::point("keeping settings")?;
            }
        }
        Ok(lost)
    }
}

fn text(keeper: &Keeper) -> String {
    match keeper {
        Keeper::Mac(mac) => mac.to_string(),
        Keeper::Container(name) => name.clone(),
    }
}

fn keeper(text: &str) -> Option<Keeper> {
    match text.parse() {
        Ok(mac) => Some(Keeper::Mac(mac)),
        Err(_) => text.contains(':').then(|| Keeper::Container(text.to_owned())),
    }
}

fn read(entry: &Entry) -> KeptSetting {
    let groups: Groups = [(GROUP, entry.group)].into_iter().collect();
    let setting = PolicyChange::of(entry.policy, RateLimits::of(&entry.rates), &groups);
    KeptSetting { setting, of: entry.of.as_str().to_owned() }
}

fn entry(kept: &KeptSetting) -> Result<Entry> {
    let since = clock::since_boot()?;
    let mut groups = Groups::default();
    let policy = kept.setting.apply(None, Mode::Bridge, &mut groups)?;
    let rates = kept.setting.apply_rates(RateLimits::default()).meters();
    let group = groups.name_of(policy.group()).unwrap_or_else(GroupName::default);
    let of = KeptName::new(&kept.of).context("a container's name is too long to be kept")?;
    Ok(Entry { since, policy, rates, group, of })
}

#[cfg(test)]
mod tests {
    use macvlan_common::child::AntiSpoof;

    use super::*;

    #[test]
    fn what_is_kept_is_read_back() {
        let change = PolicyChange {
            host_access: Some(false),
            group: Some("shop".parse().ok()),
            anti_spoof: Some(AntiSpoof::Ip),
            rate_rx: Some("10mbit".parse().ok()),
            ..PolicyChange::default()
        };
        let mut groups = Groups::default();
        let policy = change.apply(None, Mode::Bridge, &mut groups).unwrap();
        let setting = PolicyChange::of(policy, change.apply_rates(RateLimits::default()), &groups);
        let kept = KeptSetting { setting, of: "docker:web".into() };
        assert_eq!(read(&entry(&kept).unwrap()), kept);
    }

    #[test]
    fn a_keeper_is_read_back() {
        let mac = Keeper::Mac("02:00:00:00:00:07".parse().unwrap());
        for name in [mac, Keeper::Container("docker:web".into())] {
            assert_eq!(keeper(&text(&name)), Some(name));
        }
        assert_eq!(keeper(""), None);
    }
}
