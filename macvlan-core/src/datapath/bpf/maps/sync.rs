//! Brings the maps of children to what was observed, step by step: after each, programs find what they
//! can work with.

use std::{
    collections::{BTreeMap, BTreeSet},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};
use aya::maps::{MapError, PerCpuValues};
use macvlan_common::{
    child::{ChildEntry, Policy},
    counters::ChildCounters,
    mac::Mac,
    presence::Presence,
};

use crate::{
    datapath::bpf::maps::tables::{Maps, Member, sum},
    kernel::crash,
    model::{master::Master, members::Members},
    policy::{groups::Groups, rate::RateLimits},
};

/// Entries of children come from a pool that the kernel refills in the background: a burst of inserts can
/// find it empty (`bpf_mem_alloc`, kernel/bpf/memalloc.c), for longer where processors are busy.
const REFILL: Duration = Duration::from_secs(5);

impl Maps {
    /// Makes the maps hold exactly `wanted`, and the settings fit them.
    ///
    /// Each step leaves what the programs can work with: a new child's policy is written before
    /// it can be looked up, rates before the policy that tells of them; its place in the index and its filter
    /// bit are set last and cleared first. One whose device is down has neither. Gives what is not kept for children
    /// that come back, for want of room.
    ///
    /// # Errors
    ///
    /// There are more children than fit, or a map cannot be read or written.
    pub fn sync(&mut self, master: &Master, members: &Members) -> Result<Vec<String>> {
        let wanted = &members.policies;
        if wanted.len() > self.max_children as usize {
            bail!(
                "{} children are more than the maximum of {}: detach, then attach with --max-children {}",
                wanted.len(),
                self.max_children,
                wanted.len().next_power_of_two()
            );
        }
        // Before what it is kept of: who is stopped here has forgotten nothing.
        let lost = self.kept.write(&members.kept, |keeper| members.kept.is_in_use(keeper, wanted))?;
        let allowed = self.own.allow(&members.own)?;
        let named = self.groups()?;
        self.name_groups(&named, &members.groups)?;
        let present = self.entries()?;
        let wanted_keys: BTreeMap<u64, Policy> =
            wanted.iter().map(|(mac, policy)| (mac.key(), *policy)).collect();

        let stays = |key: &u64| wanted_keys.contains_key(key);
        let absent: BTreeSet<u64> = members.absent.iter().map(|mac| mac.key()).collect();
        let is_up = |key: &u64| !absent.contains(key);
        let mut filter = self.read_filter()?;
        let mut index = self.read_index()?;
        let mut slots: BTreeMap<u64, u32> =
            present.iter().filter(|(key, _)| stays(key)).map(|(key, member)| (*key, member.slot)).collect();
        let up = |(key, slot): (&u64, &u32)| is_up(key).then_some((*key, *slot));
        self.write_index(&mut index, slots.iter().filter_map(up))?;
        self.write_filter(&mut filter, slots.keys().copied().filter(is_up))?;
        for (key, member) in present.iter().filter(|(key, _)| !stays(key)) {
            self.retire(*key, member)?;
        }

        let used: BTreeSet<u32> = slots.values().copied().collect();
        let mut free = (0..self.max_children).filter(|slot| !used.contains(slot));
        let mut limited = BTreeSet::new();
        let meters = self.meters.all()?;
        let is_back = |key: &u64| !present.contains_key(key);
        let retired = match wanted_keys.keys().any(is_back) {
            true => self.retired.all()?,
            false => BTreeMap::new(),
        };
        for (key, policy) in &wanted_keys {
            let member = present.get(key);
            let slot =
                member.map_or_else(|| free.next().context("no free slot"), |member| Ok(member.slot))?;
            slots.insert(*key, slot);
            if policy.is_limited() {
                let present = meters.get(&slot).copied().unwrap_or_default();
                self.meters.change(slot, &present, &members.rates_of(Mac::from_key(*key)))?;
                limited.insert(slot);
            }
            match member {
                Some(member) if member.policy == *policy => {}
                Some(_) => self.set_policy(slot, *policy)?,
                None => {
                    self.set_policy(slot, *policy)?;
                    self.set_presence(slot, is_up(key))?;
                    self.insert(*key, slot, retired.get(key).copied())?;
                }
            }
            if member.is_some_and(|member| member.presence.is_absent() == is_up(key)) {
                self.set_presence(slot, is_up(key))?;
            }
        }
        for slot in meters.keys().filter(|slot| !limited.contains(*slot)) {
            self.meters.forget(*slot)?;
        }
        self.write_filter(&mut filter, wanted_keys.keys().copied().filter(is_up))?;
        self.write_index(&mut index, slots.iter().filter_map(up))?;
        self.write_config(master, &wanted_keys, &absent)?;
        self.forget_groups(&named, &members.groups)?;
        self.own.forget_others(&allowed, &members.own)?;
        Ok(lost)
    }

    /// Makes the maps hold one child more, with its policy and its rates, or less without these, and
    /// these groups, as far as a child is in them. Its device counts as up. It does what [`sync`](Self::sync) would, but reads
    /// one word of the filter and one bucket of the index where that reads all.
    ///
    /// # Errors
    ///
    /// There is no room for another child, or a map cannot be read or written.
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
        let is_up = |key: &u64, member: &Member| *key == mac.key() || !member.presence.is_absent();
        let up = present.iter().filter(|(key, member)| is_up(key, member));
        let slots = || up.clone().map(|(key, member)| (*key, member.slot));
        let mut wanted: BTreeMap<u64, Policy> =
            present.iter().map(|(key, member)| (*key, member.policy)).collect();
        match member {
            Some((policy, _)) => wanted.insert(key, policy),
            None => wanted.remove(&key),
        };
        match (present.get(&key), member) {
            (Some(present), Some((policy, limits))) => {
                self.set_member(present.slot, policy, &limits)?;
                if present.presence.is_absent() {
                    self.set_presence(present.slot, true)?;
                    self.write_filter_word(key, up.clone().map(|(key, _)| key))?;
                    self.write_bucket(key, slots())?;
                }
            }
            (Some(present), None) => {
                self.write_bucket(key, slots().filter(|(other, _)| *other != key))?;
                self.write_filter_word(key, up.clone().map(|(key, _)| key).filter(|other| **other != key))?;
                self.retire(key, present)?;
                self.meters.forget(present.slot)?;
            }
            (None, Some((policy, limits))) => {
                let used: BTreeSet<u32> = present.values().map(|member| member.slot).collect();
                let free = (0..self.max_children).find(|slot| !used.contains(slot));
                let slot = free.with_context(|| {
                    format!("there is no room for more than {} children", self.max_children)
                })?;
                self.set_member(slot, policy, &limits)?;
                self.set_presence(slot, true)?;
                self.insert(key, slot, self.retired.of(key)?)?;
                self.write_filter_word(key, up.clone().map(|(key, _)| key).chain([&key]))?;
                self.write_bucket(key, slots().chain([(key, slot)]))?;
            }
            (None, None) => return Ok(()),
        }
        let absent = present.iter().filter(|(key, member)| !is_up(key, member)).map(|(key, _)| *key);
        self.write_config(master, &wanted, &absent.collect())?;
        self.forget_groups(&named, &groups.used_by(wanted.values()))
    }

    /// Before a policy names a group, the group has its name.
    fn name_groups(&mut self, present: &Groups, wanted: &Groups) -> Result<()> {
        for (number, name) in wanted.iter().filter(|(number, name)| present.name_of(*number) != Some(*name)) {
            self.groups.insert(u32::from(number), name, 0).context("cannot write the groups map")?;
            crash::point("naming a group")?;
        }
        Ok(())
    }

    fn forget_groups(&mut self, present: &Groups, wanted: &Groups) -> Result<()> {
        for (number, _) in present.iter().filter(|(number, _)| wanted.name_of(*number).is_none()) {
            self.groups.remove(&u32::from(number)).context("cannot remove a group from its map")?;
            crash::point("forgetting a group")?;
        }
        Ok(())
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

    pub(crate) fn set_policy(&mut self, slot: u32, policy: Policy) -> Result<()> {
        self.policy.set(slot, policy, 0).context("cannot write the policy map")?;
        crash::point("writing a policy")?;
        Ok(())
    }

    /// The child at a slot goes or comes: what the programs had learnt of it is void.
    fn set_presence(&mut self, slot: u32, is_up: bool) -> Result<()> {
        let presence = Presence::of_device(!is_up);
        self.presence.set(slot, presence, 0).context("cannot write the map of presences")?;
        crash::point("writing a presence")?;
        Ok(())
    }

    /// Adds a child, with what it had counted where it was there before.
    fn insert(&mut self, key: u64, slot: u32, retired: Option<ChildCounters>) -> Result<()> {
        self.by_slot.clear(slot)?;
        let cpus = aya::util::nr_cpus().map_err(|(_, error)| error).context("cannot count the CPUs")?;
        let mut entries = vec![ChildEntry { slot, ..ChildEntry::default() }; cpus];
        if let (Some(first), Some(retired)) = (entries.first_mut(), retired) {
            first.counters = retired;
        }
        let deadline = Instant::now() + REFILL;
        loop {
            let values = PerCpuValues::try_from(entries.clone())?;
            match self.children.insert(key, values, 0) {
                Err(MapError::SyscallError(error))
                    if error.io_error.raw_os_error() == Some(libc::ENOMEM) && Instant::now() < deadline =>
                {
                    thread::sleep(Duration::from_millis(1));
                }
                other => break other.context("cannot add a child to the map")?,
            }
        }
        crash::point("adding a child to the map")?;
        match retired {
            Some(_) => self.retired.forget(key),
            None => Ok(()),
        }
    }

    /// Removes a child, and keeps what it counted.
    fn retire(&mut self, key: u64, member: &Member) -> Result<()> {
        // One that was left alone has no claim to its MAC when it comes back.
        if !member.policy.is_hosts() {
            let shares = self.children.get(&key, 0).context("cannot read the counters of a child")?;
            let mut counters = sum(&shares);
            self.by_slot.add_to(&mut counters, member.slot)?;
            self.retired.keep(key, counters)?;
            crash::point("keeping the counters of a child that goes")?;
        }
        self.children.remove(&key).context("cannot remove a child from the map")?;
        crash::point("removing a child from the map")?;
        Ok(())
    }
}
