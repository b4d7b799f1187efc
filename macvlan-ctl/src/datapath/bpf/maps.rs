//! Typed handles of the pinned maps: the only place in user space that reads or writes them.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    path::Path,
    thread,
    time::Duration,
};

use anyhow::{Context, Result, bail};
use aya::maps::{Array, HashMap, Map, MapData, MapError, PerCpuArray, PerCpuHashMap, PerCpuValues};
use macvlan_common::{
    child::{ChildEntry, Policy},
    config::{Config, RECORD_LEN, Record},
    counters::{ChildCounters, MasterCounters},
    group::GroupName,
    index::Bucket,
    limit::Pace,
    mac::Mac,
    names,
};

use super::{meters::MeterMap, own::OwnAddresses, owners::Owners, retired::RetiredCounters, wire_rx::WireRx};
use crate::{
    crash, datapath::Counters, master::Master, neighbours::Own, policy::Groups, rate_limit::RateLimits,
    session::Members,
};

/// The maps of one master.
pub struct Maps {
    pub(super) config: Array<MapData, Config>,
    children: PerCpuHashMap<MapData, u64, ChildEntry>,
    policy: Array<MapData, Policy>,
    pub(super) filter: Array<MapData, u64>,
    pub(super) index: Array<MapData, Bucket>,
    wire_rx: WireRx,
    totals: PerCpuArray<MapData, MasterCounters>,
    record: Array<MapData, Record>,
    retired: RetiredCounters,
    groups: HashMap<MapData, u32, GroupName>,
    owners: Owners,
    own: OwnAddresses,
    pub(super) pace: Array<MapData, Pace>,
    meters: MeterMap,
    max_children: u32,
}

/// A child as the maps hold it.
#[derive(Debug, Clone, Copy)]
struct Member {
    slot: u32,
    policy: Policy,
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
        let room = owners.info()?.max_entries();
        let own = open(names::OWN)?;
        let own_room = own.info()?.max_entries();
        let places = Map::HashMap(open(names::PLACES)?).try_into()?;
        Ok(Self {
            config: Map::Array(open(names::CONFIG)?).try_into()?,
            children: Map::PerCpuHashMap(open(names::CHILDREN)?).try_into()?,
            policy: Map::Array(policy).try_into()?,
            filter: Map::Array(open(names::FILTER)?).try_into()?,
            index: Map::Array(open(names::INDEX)?).try_into()?,
            wire_rx: WireRx::new(Map::PerCpuArray(open(names::WIRE_RX)?).try_into()?),
            totals: Map::PerCpuArray(open(names::TOTALS)?).try_into()?,
            record: Map::Array(open(names::RECORD)?).try_into()?,
            pace: Map::Array(open(names::PACE)?).try_into()?,
            meters: MeterMap::new(Map::HashMap(open(names::METERS)?).try_into()?),
            retired: RetiredCounters::new(Map::HashMap(open(names::RETIRED)?).try_into()?, max_children),
            groups: Map::HashMap(open(names::GROUPS)?).try_into()?,
            own: OwnAddresses::new(Map::HashMap(own).try_into()?, own_room),
            owners: Owners::new(Map::HashMap(owners).try_into()?, places, room),
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
    /// When the kernel refuses to tell.
    pub fn count_children(&self) -> Result<usize> {
        let keys: Result<BTreeSet<u64>, MapError> = self.children.keys().collect();
        Ok(keys.context("cannot read the children map")?.len())
    }

    /// The children in the maps.
    ///
    /// # Errors
    ///
    /// When the kernel refuses to tell.
    pub fn members(&self) -> Result<BTreeMap<Mac, Policy>> {
        Ok(self.entries()?.into_iter().map(|(key, member)| (Mac::from_key(key), member.policy)).collect())
    }

    fn entries(&self) -> Result<BTreeMap<u64, Member>> {
        let mut entries = BTreeMap::new();
        for item in self.children.iter() {
            let (key, values) = item.context("cannot read the children map")?;
            let slot = values.first().map_or(0, |entry| entry.slot);
            let policy = self.policy.get(&slot, 0).context("cannot read the policy map")?;
            entries.insert(key, Member { slot, policy });
        }
        Ok(entries)
    }

    /// Makes the maps hold exactly `wanted`, and the settings fit them.
    ///
    /// Each step leaves what the programs can work with: a new child's policy is written before
    /// it can be looked up, rates before the policy that tells of them; its place in the index and its filter
    /// bit are set last and cleared first.
    ///
    /// # Errors
    ///
    /// When they are too many, or the kernel refuses.
    pub fn sync(&mut self, master: &Master, members: &Members) -> Result<()> {
        let wanted = &members.policies;
        if wanted.len() > self.max_children as usize {
            bail!(
                "{} children are more than the maximum of {}: detach, then attach with --max-children {}",
                wanted.len(),
                self.max_children,
                wanted.len().next_power_of_two()
            );
        }
        self.own.allow(&members.own)?;
        let named = self.groups()?;
        self.name_groups(&named, &members.groups)?;
        let present = self.entries()?;
        let wanted_keys: BTreeMap<u64, Policy> =
            wanted.iter().map(|(mac, policy)| (mac.key(), *policy)).collect();

        let stays = |key: &u64| wanted_keys.contains_key(key);
        let mut filter = self.read_filter()?;
        let mut index = self.read_index()?;
        let mut slots: BTreeMap<u64, u32> =
            present.iter().filter(|(key, _)| stays(key)).map(|(key, member)| (*key, member.slot)).collect();
        self.write_index(&mut index, slots.iter().map(|(key, slot)| (*key, *slot)))?;
        self.write_filter(&mut filter, slots.keys().copied())?;
        for (key, member) in present.iter().filter(|(key, _)| !stays(key)) {
            self.retire(*key, member.slot)?;
        }

        let used: BTreeSet<u32> = slots.values().copied().collect();
        let mut free = (0..self.max_children).filter(|slot| !used.contains(slot));
        let mut limited = BTreeSet::new();
        for (key, policy) in &wanted_keys {
            let member = present.get(key);
            let slot =
                member.map_or_else(|| free.next().context("no free slot"), |member| Ok(member.slot))?;
            slots.insert(*key, slot);
            if policy.is_limited() {
                self.meters.set(slot, &members.rates_of(Mac::from_key(*key)))?;
                limited.insert(slot);
            }
            match member {
                Some(member) if member.policy == *policy => {}
                Some(_) => self.set_policy(slot, *policy)?,
                None => {
                    self.set_policy(slot, *policy)?;
                    self.insert(*key, slot)?;
                }
            }
        }
        self.meters.keep(&limited)?;
        self.write_filter(&mut filter, wanted_keys.keys().copied())?;
        self.write_index(&mut index, slots.into_iter())?;
        self.write_config(master, &wanted_keys)?;
        self.forget_groups(&named, &members.groups)?;
        self.own.forget_others(&members.own)
    }

    /// The addresses of children held to theirs.
    ///
    /// # Errors
    ///
    /// When the kernel refuses to tell.
    pub fn own(&self) -> Result<Own> {
        self.own.read()
    }

    /// Says whose own devices vouch for their frames.
    ///
    /// # Errors
    ///
    /// When the kernel refuses.
    pub fn set_vouched(&mut self, by: &BTreeSet<Mac>) -> Result<()> {
        let mut flag = 0;
        for (key, member) in self.entries()? {
            let is_vouched = by.contains(&Mac::from_key(key));
            flag |= if is_vouched { Config::VOUCHED } else { 0 };
            if member.policy.is_vouched() != is_vouched {
                self.set_policy(member.slot, member.policy.with_vouched(is_vouched))?;
            }
        }
        self.change_config(|config| Config { flags: config.flags & !Config::VOUCHED | flag, ..config })
    }

    /// The groups that the children are in.
    ///
    /// # Errors
    ///
    /// When the kernel refuses to tell.
    pub fn groups(&self) -> Result<Groups> {
        let items = self.groups.iter().map(|item| {
            let (number, name) = item.context("cannot read the groups map")?;
            Ok((u16::try_from(number).context("the groups map holds a number that is no group's")?, name))
        });
        items.collect()
    }

    /// The rates of the children that are limited.
    ///
    /// # Errors
    ///
    /// When the kernel refuses to tell.
    pub fn rates(&self) -> Result<BTreeMap<Mac, RateLimits>> {
        let entries = self.entries()?.into_iter().filter(|(_, member)| member.policy.is_limited());
        entries.map(|(key, member)| Ok((Mac::from_key(key), self.meters.of(member.slot)?))).collect()
    }

    /// Before a policy names a group, the group has its name.
    fn name_groups(&mut self, present: &Groups, wanted: &Groups) -> Result<()> {
        for (number, name) in wanted.iter().filter(|(number, name)| present.name_of(*number) != Some(*name)) {
            self.groups.insert(u32::from(number), name, 0).context("cannot write the groups map")?;
            crash::point("naming a group");
        }
        Ok(())
    }

    fn forget_groups(&mut self, present: &Groups, wanted: &Groups) -> Result<()> {
        for (number, _) in present.iter().filter(|(number, _)| wanted.name_of(*number).is_none()) {
            self.groups.remove(&u32::from(number)).context("cannot remove a group from its map")?;
            crash::point("forgetting a group");
        }
        Ok(())
    }

    /// Makes the maps hold one child more, with its policy and its rates, or less without these, and
    /// these groups, as far as a child is in them. It does what [`sync`](Self::sync) would, but reads
    /// one word of the filter and one bucket of the index where that reads all.
    ///
    /// # Errors
    ///
    /// When they are too many, or the kernel refuses.
    pub fn sync_one(
        &mut self,
        master: &Master,
        mac: Mac,
        member: Option<(Policy, RateLimits)>,
        groups: Groups,
    ) -> Result<()> {
        let key = mac.key();
        let named = self.groups()?;
        self.name_groups(&named, &groups)?;
        let present = self.entries()?;
        let slots = || present.iter().map(|(key, member)| (*key, member.slot));
        let mut wanted: BTreeMap<u64, Policy> =
            present.iter().map(|(key, member)| (*key, member.policy)).collect();
        match member {
            Some((policy, _)) => wanted.insert(key, policy),
            None => wanted.remove(&key),
        };
        match (present.get(&key), member) {
            (Some(present), Some((policy, limits))) => self.set_member(present.slot, policy, &limits)?,
            (Some(present), None) => {
                self.write_bucket(key, slots().filter(|(other, _)| *other != key))?;
                self.write_filter_word(key, wanted.keys())?;
                self.retire(key, present.slot)?;
                self.meters.forget(present.slot)?;
            }
            (None, Some((policy, limits))) => {
                let used: BTreeSet<u32> = present.values().map(|member| member.slot).collect();
                let free = (0..self.max_children).find(|slot| !used.contains(slot));
                let slot = free.with_context(|| {
                    format!("there is no room for more than {} children", self.max_children)
                })?;
                self.set_member(slot, policy, &limits)?;
                self.insert(key, slot)?;
                self.write_filter_word(key, wanted.keys())?;
                self.write_bucket(key, slots().chain([(key, slot)]))?;
            }
            (None, None) => return Ok(()),
        }
        self.write_config(master, &wanted)?;
        self.forget_groups(&named, &groups.used_by(wanted.values()))
    }

    /// Writes what a slot is to hold: rates before the policy that tells of them.
    fn set_member(&mut self, slot: u32, policy: Policy, limits: &RateLimits) -> Result<()> {
        if policy.is_limited() {
            self.meters.set(slot, limits)?;
            self.set_policy(slot, policy)
        } else {
            self.set_policy(slot, policy)?;
            self.meters.forget(slot)
        }
    }

    /// Removes a child, and keeps what it counted.
    fn retire(&mut self, key: u64, slot: u32) -> Result<()> {
        let shares = self.children.get(&key, 0).context("cannot read the counters of a child")?;
        let mut counters = sum(&shares);
        self.wire_rx.add_to(&mut counters, slot)?;
        self.retired.keep(key, counters)?;
        crash::point("keeping the counters of a child that goes");
        self.children.remove(&key).context("cannot remove a child from the map")?;
        crash::point("removing a child from the map");
        Ok(())
    }

    fn set_policy(&mut self, slot: u32, policy: Policy) -> Result<()> {
        self.policy.set(slot, policy, 0).context("cannot write the policy map")?;
        crash::point("writing a policy");
        Ok(())
    }

    fn insert(&mut self, key: u64, slot: u32) -> Result<()> {
        // Entries come from a pool that the kernel refills in the background: a burst of inserts
        // can find it empty for a moment (`bpf_mem_alloc`, kernel/bpf/memalloc.c).
        const TRIES: u32 = 50;
        self.wire_rx.clear(slot)?;
        let cpus = aya::util::nr_cpus().map_err(|(_, error)| error).context("cannot count the CPUs")?;
        let mut entries = vec![ChildEntry { slot, ..ChildEntry::default() }; cpus];
        if let Some(first) = entries.first_mut() {
            first.counters = self.retired.of(key)?;
        }
        for attempt in 1.. {
            let values = PerCpuValues::try_from(entries.clone())?;
            match self.children.insert(key, values, 0) {
                Err(MapError::SyscallError(error))
                    if error.io_error.raw_os_error() == Some(libc::ENOMEM) && attempt < TRIES =>
                {
                    thread::sleep(Duration::from_millis(1));
                }
                other => {
                    other.context("cannot add a child to the map")?;
                    crash::point("adding a child to the map");
                    break;
                }
            }
        }
        self.retired.forget(key)
    }

    /// Who has which address, and whose word counts besides.
    ///
    /// # Errors
    ///
    /// When the kernel refuses.
    pub fn set_owners(&mut self, told: &BTreeMap<IpAddr, Mac>, speakers: &BTreeSet<Mac>) -> Result<()> {
        self.owners.set(told, speakers)
    }

    /// All counters, summed over the CPUs.
    ///
    /// # Errors
    ///
    /// When the kernel refuses to tell.
    pub fn counters(&self) -> Result<Counters> {
        let mut master = MasterCounters::default();
        let shares = self.totals.get(&0, 0).context("cannot read the counters of the master")?;
        shares.iter().for_each(|share| master.add(share));
        let mut children = BTreeMap::new();
        for item in self.children.iter() {
            let (key, shares) = item.context("cannot read the counters of the children")?;
            let mut counters = sum(&shares);
            self.wire_rx.add_to(&mut counters, shares.first().map_or(0, |entry| entry.slot))?;
            children.insert(Mac::from_key(key), counters);
        }
        Ok(Counters { master: Some(master), children, ..Counters::default() })
    }

    /// Leaves `text` for later commands.
    ///
    /// # Errors
    ///
    /// When it is too long, or the kernel refuses.
    pub fn write_record(&mut self, text: &str) -> Result<()> {
        let mut record = Record { len: u32::try_from(text.len())?, text: [0; RECORD_LEN] };
        let room = record.text.get_mut(..text.len()).context("the record does not fit its map")?;
        room.copy_from_slice(text.as_bytes());
        self.record.set(0, record, 0).context("cannot write the record map")?;
        crash::point("writing the record");
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
/// When nothing is there, the kernel refuses to tell, or what is there is no text.
pub fn read_record(directory: &Path) -> Result<String> {
    let map: Array<MapData, Record> = Map::Array(open(directory, names::RECORD)?).try_into()?;
    let record = map.get(&0, 0).context("cannot read the record map")?;
    let text = record.text.get(..record.len as usize).context("the record is longer than its map")?;
    String::from_utf8(text.to_vec()).context("the record is not text")
}

fn open(directory: &Path, name: &str) -> Result<MapData> {
    MapData::from_pin(directory.join(name)).with_context(|| format!("cannot open pinned map {name}"))
}
