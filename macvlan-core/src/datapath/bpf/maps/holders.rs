//! Who has which address on a wire that carries one MAC: what netlink tells, beside what the programs learn.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    path::Path,
};

use anyhow::{Context as _, Result};
use aya::maps::{HashMap, LpmTrie, Map, MapData, MapError, lpm_trie::Key as Prefix};
use macvlan_common::{
    l3::Address,
    mac::Mac,
    names,
    neigh::{PLACES, Place, TRIES, mac_of},
    single_mac::{Holder, Key, judge_place},
};

use crate::{
    datapath::bpf::maps::{batch::Batch, clock, tables},
    model::{
        held::{Held, ToldHolders, Why},
        members::{ip_of, key_of},
    },
};

/// The holders of addresses, where each child's are remembered, and which it may teach.
pub struct HolderTable {
    holders: HashMap<MapData, Key, Holder>,
    taught: HashMap<MapData, u64, Key>,
    on_link: LpmTrie<MapData, Key, u32>,
    all_holders: Batch,
    all_taught: Batch,
    room: usize,
}

/// How many places of a child may be in use before another address of it may find none: each address has so many tries.
const NEARLY_ALL: u64 = PLACES - TRIES;

impl HolderTable {
    /// What is pinned in `directory`. Opened by who asks: of wires that carry more MACs nobody does.
    ///
    /// # Errors
    ///
    /// A map is missing, or is of another kind; or the process has too many files open.
    pub fn open(directory: &Path) -> Result<Self> {
        let [holders, taught, on_link] =
            [names::HOLDERS, names::TAUGHT, names::ON_LINK].map(|name| tables::open(directory, name));
        let (holders, taught, on_link) = (holders?, taught?, on_link?);
        Ok(Self {
            room: holders.info()?.max_entries() as usize,
            all_holders: Batch::of(&holders)?,
            all_taught: Batch::of(&taught)?,
            holders: Map::HashMap(holders).try_into()?,
            taught: Map::HashMap(taught).try_into()?,
            on_link: Map::LpmTrie(on_link).try_into()?,
        })
    }

    /// Makes the maps say what netlink tells, and keep of what was learnt only what children said that are still there.
    /// Of more addresses than there is room for, the programs learn as they are used.
    ///
    /// # Errors
    ///
    /// A map cannot be read or written.
    pub fn set(&mut self, told: &ToldHolders, children: &BTreeSet<Mac>) -> Result<()> {
        self.set_on_link(told)?;
        let mut missing: BTreeMap<Key, Holder> = told
            .holders
            .iter()
            .map(|(address, held)| (Key { vlan: 0, address: key_of(*address) }, holder_of(*held)))
            .collect();
        for (key, holder) in self.all()? {
            match missing.get(&key) {
                Some(wanted) if (wanted.mac, wanted.kind) == (holder.mac, holder.kind) => {
                    missing.remove(&key);
                }
                Some(_) => {}
                None if !holder.is_learnt() || !children.contains(&Mac::from_key(holder.mac)) => {
                    gone(self.holders.remove(&key))?;
                }
                None => {}
            }
        }
        for (key, holder) in missing {
            match self.holders.insert(key, holder, 0) {
                Err(MapError::SyscallError(error))
                    if matches!(error.io_error.raw_os_error(), Some(libc::E2BIG | libc::ENOMEM)) =>
                {
                    break;
                }
                other => other.context("cannot write the table of addresses")?,
            }
        }
        let taught = self.all_taught.hash::<u64, Key>().context("cannot read what children taught")?;
        for (place, _) in taught {
            if !children.contains(&Mac::from_key(mac_of(place))) {
                gone(self.taught.remove(&place))?;
            }
        }
        Ok(())
    }

    /// Forgets what a child has, so that frames to its addresses are the host's.
    ///
    /// # Errors
    ///
    /// The map cannot be read or written.
    pub fn forget(&mut self, mac: Mac) -> Result<()> {
        for (key, holder) in self.all()? {
            if holder.mac == mac.key() {
                gone(self.holders.remove(&key))?;
            }
        }
        Ok(())
    }

    /// Who has which address, and why.
    ///
    /// # Errors
    ///
    /// The map cannot be read.
    pub fn held(&self) -> Result<Vec<Held>> {
        let mut held: Vec<Held> =
            self.all()?.into_iter().filter_map(|(key, holder)| held(key, holder)).collect();
        held.sort();
        Ok(held)
    }

    /// How many addresses are known, everybody's together.
    ///
    /// # Errors
    ///
    /// The map cannot be read.
    pub fn len(&self) -> Result<usize> {
        Ok(self.all()?.len())
    }

    /// How many addresses there is room for.
    pub fn room(&self) -> usize {
        self.room
    }

    /// The children that have so many addresses in use that another one may find no place.
    ///
    /// # Errors
    ///
    /// A map or the clock cannot be read.
    pub fn full(&self) -> Result<BTreeSet<Mac>> {
        let now = clock::monotonic()?;
        let holders: BTreeMap<Key, Holder> = self.all()?.into_iter().collect();
        let taught = self.all_taught.hash::<u64, Key>().context("cannot read what children taught")?;
        let mut used: BTreeMap<u64, u64> = BTreeMap::new();
        for (place, key) in taught {
            let mac = mac_of(place);
            if judge_place(holders.get(&key), mac, Holder::BARE, now) == Place::Keep {
                *used.entry(mac).or_default() += 1;
            }
        }
        let full = used.into_iter().filter(|(_, used)| *used >= NEARLY_ALL);
        Ok(full.map(|(mac, _)| Mac::from_key(mac)).collect())
    }

    fn all(&self) -> Result<Vec<(Key, Holder)>> {
        self.all_holders.hash::<Key, Holder>().context("cannot read the table of addresses")
    }

    /// What longer prefixes say comes before what shorter ones do.
    fn set_on_link(&mut self, told: &ToldHolders) -> Result<()> {
        let mut wanted: BTreeMap<(u32, Key), u32> = BTreeMap::new();
        for network in &told.networks {
            let address = network.address.map_or(Address::NONE, key_of);
            let bits = match (network.vlan, network.address) {
                (None, _) => 0,
                (Some(_), None) => Key::VLAN_BITS,
                // The last bits of an IPv4 address as IPv6 maps it.
                (Some(_), Some(IpAddr::V4(_))) => Key::VLAN_BITS + 96 + u32::from(network.prefix),
                (Some(_), Some(IpAddr::V6(_))) => Key::VLAN_BITS + u32::from(network.prefix),
            };
            let key = Key { vlan: network.vlan.unwrap_or_default(), address };
            wanted.insert((bits, key), u32::from(network.may_teach));
        }
        let present: Vec<_> =
            self.on_link.iter().collect::<Result<_, _>>().context("cannot read the networks")?;
        for (prefix, may_teach) in present {
            let key = (prefix.prefix_len(), prefix.data());
            match wanted.get(&key) {
                Some(wanted_too) if *wanted_too == may_teach => {
                    wanted.remove(&key);
                }
                Some(_) => {}
                None => gone(self.on_link.remove(&prefix))?,
            }
        }
        for ((bits, key), may_teach) in wanted {
            let prefix = Prefix::new(bits, key);
            self.on_link.insert(&prefix, may_teach, 0).context("cannot write the networks on the link")?;
        }
        Ok(())
    }
}

fn holder_of(held: Option<Mac>) -> Holder {
    match held {
        Some(Mac::BROADCAST) => Holder { kind: Holder::BROADCAST, ..Holder::default() },
        Some(mac) => Holder { mac: mac.key(), kind: Holder::TOLD, seen: 0 },
        None => Holder { kind: Holder::HOST, ..Holder::default() },
    }
}

fn held(key: Key, holder: Holder) -> Option<Held> {
    let why = match holder.kind {
        Holder::BARE => Why::Heard,
        Holder::CLAIM => Why::Claim,
        Holder::TOLD => Why::Static,
        _ => return None,
    };
    Some(Held { mac: Mac::from_key(holder.mac), vlan: key.vlan, address: ip_of(key.address), why })
}

/// What is to be gone may be so already: programs forget, too.
fn gone(removed: Result<(), MapError>) -> Result<()> {
    match removed {
        Err(MapError::KeyNotFound) => Ok(()),
        Err(MapError::SyscallError(error)) if error.io_error.raw_os_error() == Some(libc::ENOENT) => Ok(()),
        other => other.context("cannot write the table of addresses"),
    }
}
