//! Typed handles of the pinned maps: the only place in user space that reads or writes them.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
};

use anyhow::{Context, Result};
use aya::maps::{Array, HashMap, Map, MapData, MapError, PerCpuArray, PerCpuHashMap};
use macvlan_common::{
    child::{ChildEntry, Policy},
    config::{Config, RECORD_LEN, Record},
    counters::{ChildCounters, MasterCounters},
    group::GroupName,
    index::Bucket,
    limit::Pace,
    mac::Mac,
    names,
    presence::Presence,
};

use crate::{
    datapath::bpf::maps::{
        allowed_addresses::AllowedAddressMap, batch::Batch, by_slot::BySlot, kept::KeptMap, meters::MeterMap,
        neighbour_table::NeighbourTable, retired::RetiredCounters,
    },
    kernel::crash,
    model::{counters::Counters, members::Members, neighbours::ToldAddresses},
    policy::{groups::Groups, rate::RateLimits},
};

/// The maps of one master.
pub struct Maps {
    pub(crate) config: Array<MapData, Config>,
    /// The same maps, to be read as a whole.
    pub(crate) batches: Batches,
    pub(crate) children: PerCpuHashMap<MapData, u64, ChildEntry>,
    pub(crate) policy: Array<MapData, Policy>,
    pub(crate) presence: Array<MapData, Presence>,
    pub(crate) filter: Array<MapData, u64>,
    pub(crate) index: Array<MapData, Bucket>,
    pub(crate) by_slot: BySlot,
    totals: PerCpuArray<MapData, MasterCounters>,
    record: Array<MapData, Record>,
    pub(crate) retired: RetiredCounters,
    pub(crate) groups: HashMap<MapData, u32, GroupName>,
    pub(crate) owners: NeighbourTable,
    pub(crate) own: AllowedAddressMap,
    pub(crate) pace: Array<MapData, Pace>,
    pub(crate) meters: MeterMap,
    pub(crate) kept: KeptMap,
    pub(crate) max_children: u32,
}

/// Maps that are read as a whole.
pub(crate) struct Batches {
    children: Batch,
    policy: Batch,
    presence: Batch,
    pub filter: Batch,
    pub index: Batch,
    groups: Batch,
}

/// A child as the maps hold it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Member {
    pub slot: u32,
    pub policy: Policy,
    pub presence: Presence,
}

impl Maps {
    /// Opens the maps pinned in `directory`.
    ///
    /// # Errors
    ///
    /// When one is missing or is not what it should be.
    pub fn open(directory: &Path) -> Result<Self> {
        let open = |name: &str| open(directory, name);
        let policy = open(names::POLICY)?;
        let max_children = policy.info()?.max_entries();
        let owners = open(names::OWNERS)?;
        let own = open(names::OWN)?;
        let own_room = own.info()?.max_entries();
        let places = open(names::PLACES)?;
        let meters = open(names::METERS)?;
        let children = open(names::CHILDREN)?;
        let (filter, index, groups) = (open(names::FILTER)?, open(names::INDEX)?, open(names::GROUPS)?);
        let presence = open(names::PRESENCE)?;
        Ok(Self {
            batches: Batches {
                children: Batch::of(&children)?,
                policy: Batch::of(&policy)?,
                presence: Batch::of(&presence)?,
                filter: Batch::of(&filter)?,
                index: Batch::of(&index)?,
                groups: Batch::of(&groups)?,
            },
            config: Map::Array(open(names::CONFIG)?).try_into()?,
            children: Map::PerCpuHashMap(children).try_into()?,
            policy: Map::Array(policy).try_into()?,
            presence: Map::Array(presence).try_into()?,
            filter: Map::Array(filter).try_into()?,
            index: Map::Array(index).try_into()?,
            by_slot: BySlot::new(Map::PerCpuArray(open(names::SLOT_COUNTERS)?).try_into()?),
            totals: Map::PerCpuArray(open(names::TOTALS)?).try_into()?,
            record: Map::Array(open(names::RECORD)?).try_into()?,
            pace: Map::Array(open(names::PACE)?).try_into()?,
            meters: MeterMap::new(meters)?,
            kept: KeptMap::new(open(names::KEPT)?)?,
            retired: RetiredCounters::new(open(names::RETIRED)?, max_children)?,
            groups: Map::HashMap(groups).try_into()?,
            own: AllowedAddressMap::new(own, own_room)?,
            owners: NeighbourTable::new(owners, places)?,
            max_children,
        })
    }

    /// How many children fit.
    pub fn max_children(&self) -> u32 {
        self.max_children
    }

    /// How many children are in the maps.
    ///
    /// # Errors
    ///
    /// The map cannot be read.
    pub fn count_children(&self) -> Result<usize> {
        let keys: Result<BTreeSet<u64>, MapError> = self.children.keys().collect();
        Ok(keys.context("cannot read the children map")?.len())
    }

    /// The children in the maps.
    ///
    /// # Errors
    ///
    /// A map cannot be read.
    pub fn members(&self) -> Result<Members> {
        let mut members = Members {
            groups: self.groups()?,
            own: self.own.read()?,
            kept: self.kept.read()?,
            ..Members::default()
        };
        let meters = self.meters.all()?;
        for (key, Member { slot, policy, presence }) in self.entries()? {
            let mac = Mac::from_key(key);
            members.policies.insert(mac, policy);
            if policy.is_limited() {
                members.rates.insert(mac, meters.get(&slot).map(RateLimits::of).unwrap_or_default());
            }
            if presence.is_absent() {
                members.absent.insert(mac);
            }
            if presence.is_elsewhere() {
                members.elsewhere.insert(mac);
            }
        }
        Ok(members)
    }

    pub(crate) fn entries(&self) -> Result<BTreeMap<u64, Member>> {
        let cpus = aya::util::nr_cpus().map_err(|(_, error)| error).context("cannot count the CPUs")?;
        let children = self.batches.children.first_of_each_cpu::<u64, ChildEntry>(cpus);
        let children = children.context("cannot read the children map")?;
        let end = children.iter().map(|(_, entry)| entry.slot + 1).max().unwrap_or(0);
        let policies = self.batches.policy.array::<Policy>(end.min(self.max_children));
        let policies = policies.context("cannot read the policy map")?;
        let presences = self.batches.presence.array::<Presence>(end.min(self.max_children));
        let presences = presences.context("cannot read the map of presences")?;
        let entries = children.into_iter().map(|(key, ChildEntry { slot, .. })| {
            let policy = policies.get(slot as usize).copied();
            let policy = policy.context("the children map holds a slot that the policy map has not")?;
            let presence = presences.get(slot as usize).copied().unwrap_or_default();
            Ok((key, Member { slot, policy, presence }))
        });
        entries.collect()
    }

    /// Says whose own devices vouch for their frames, in their policies.
    ///
    /// # Errors
    ///
    /// The map cannot be read or written.
    pub fn set_vouched(&mut self, by: &BTreeSet<Mac>) -> Result<()> {
        for (key, member) in self.entries()? {
            let is_vouched = by.contains(&Mac::from_key(key));
            if member.policy.is_vouched() != is_vouched {
                self.set_policy(member.slot, member.policy.with_vouched(is_vouched))?;
            }
        }
        Ok(())
    }

    /// The groups that the children are in.
    ///
    /// # Errors
    ///
    /// The map cannot be read, or holds a number that no group has.
    pub fn groups(&self) -> Result<Groups> {
        let items = self.batches.groups.hash::<u32, GroupName>().context("cannot read the groups map")?;
        let items = items.into_iter().map(|(number, name)| {
            Ok((u16::try_from(number).context("the groups map holds a number that is no group's")?, name))
        });
        items.collect()
    }

    /// Who has which address, and whose word counts besides.
    ///
    /// # Errors
    ///
    /// The map cannot be read or written.
    pub fn set_owners(&mut self, told: &ToldAddresses, speakers: &BTreeSet<Mac>) -> Result<()> {
        self.owners.set(told, speakers)
    }

    /// Whether a child with this MAC was there, and went.
    ///
    /// # Errors
    ///
    /// The map cannot be read.
    pub fn knew(&self, mac: Mac) -> Result<bool> {
        Ok(self.retired.of(mac.key())?.is_some())
    }

    /// All counters, summed over the CPUs.
    ///
    /// # Errors
    ///
    /// A map of counters cannot be read.
    pub fn counters(&self) -> Result<Counters> {
        let mut master = MasterCounters::default();
        let shares = self.totals.get(&0, 0).context("cannot read the counters of the master")?;
        shares.iter().for_each(|share| master.add(share));
        let mut children = BTreeMap::new();
        for item in self.children.iter() {
            let (key, shares) = item.context("cannot read the counters of the children")?;
            let mut counters = sum(&shares);
            self.by_slot.add_to(&mut counters, shares.first().map_or(0, |entry| entry.slot))?;
            children.insert(Mac::from_key(key), counters);
        }
        Ok(Counters { master: Some(master), children, ..Counters::default() })
    }

    /// Leaves `text` for later commands.
    ///
    /// # Errors
    ///
    /// The text is too long, or the map cannot be written.
    pub fn write_record(&mut self, text: &str) -> Result<()> {
        let mut record = Record { len: u32::try_from(text.len())?, text: [0; RECORD_LEN] };
        let room = record.text.get_mut(..text.len()).context("the record does not fit its map")?;
        room.copy_from_slice(text.as_bytes());
        self.record.set(0, record, 0).context("cannot write the record map")?;
        crash::point("writing the record")?;
        Ok(())
    }
}

/// The shares of all CPUs together.
pub fn sum(shares: &[ChildEntry]) -> ChildCounters {
    let mut sum = ChildCounters::default();
    shares.iter().for_each(|share| sum.add(&share.counters));
    sum
}

/// What the last attach left for later commands in `directory`.
///
/// # Errors
///
/// No record is pinned there, its map cannot be read, or it is no text.
pub fn read_record(directory: &Path) -> Result<String> {
    let map: Array<MapData, Record> = Map::Array(open(directory, names::RECORD)?).try_into()?;
    let record = map.get(&0, 0).context("cannot read the record map")?;
    let text = record.text.get(..record.len as usize).context("the record is longer than its map")?;
    String::from_utf8(text.to_vec()).context("the record is not text")
}

/// A map that is pinned in `directory`.
///
/// # Errors
///
/// It is not there, or the process lacks `CAP_BPF`.
pub(crate) fn open(directory: &Path, name: &str) -> Result<MapData> {
    MapData::from_pin(directory.join(name)).with_context(|| format!("cannot open pinned map {name}"))
}
