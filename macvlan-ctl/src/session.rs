//! A command's hold on one master: locked, cleaned up after killed runs, observed.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

use anyhow::{Context, Result, bail};
use macvlan_common::{child::Policy, mac::Mac};

use crate::{
    datapath::{
        Datapath,
        bpf::{self, Bpf, Depth, Found},
        kernel::Kernel,
    },
    lock::Lock,
    master::Master,
    model::{Child, Place},
    neighbours::{Addresses, Own},
    netlink::Netlink,
    observe::{self, Observed},
    policy::{Groups, PolicyChange},
    rate_limit::RateLimits,
    shim::Shim,
};

/// The programs on a master; `Err` says why there are none.
pub type Attached = Result<Box<Bpf>, String>;

/// One master, held by one command.
pub struct Session {
    /// A socket in the master's namespace.
    pub netlink: Netlink,
    /// The master.
    pub master: Master,
    /// Every child there is.
    pub observed: Observed,
    /// The programs on the master.
    pub attached: Attached,
    /// Why this machine lets us have no BPF, where nothing is attached and that is so.
    pub refusal: Option<String>,
    broken: bool,
    lock: Option<Lock>,
}

/// The children that a data path is to know.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Members {
    /// Their policies.
    pub policies: BTreeMap<Mac, Policy>,
    /// The groups that they are in.
    pub groups: Groups,
    /// The rates of those that are limited.
    pub rates: BTreeMap<Mac, RateLimits>,
    /// The addresses of those that are held to theirs.
    pub own: Own,
}

impl Members {
    /// Those that a data path knows, without their addresses.
    ///
    /// # Errors
    ///
    /// When the kernel refuses to tell.
    pub fn of(datapath: &dyn Datapath) -> Result<Self> {
        let (policies, groups) = (datapath.members()?, datapath.groups()?);
        Ok(Self { policies, groups, rates: datapath.rates()?, own: Own::new() })
    }

    /// The rates of a child.
    pub fn rates_of(&self, mac: Mac) -> RateLimits {
        self.rates.get(&mac).copied().unwrap_or_default()
    }

    /// Everything that is set for a child, where it is known.
    pub fn setting_of(&self, mac: Mac) -> Option<PolicyChange> {
        let policy = self.policies.get(&mac)?;
        Some(PolicyChange::of(*policy, self.rates_of(mac), &self.groups))
    }
}

/// Whether a command may change anything.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// It only looks: no lock, no cleaning up.
    Read,
    /// It may.
    Change,
}

impl Session {
    /// Takes hold of the master named `name` in the namespace of the calling thread.
    ///
    /// # Errors
    ///
    /// When it cannot be a master, or another command does not let go of it.
    pub async fn open(name: &str, access: Access) -> Result<Self> {
        let netlink = Netlink::open()?;
        let master = Master::find(&netlink, name).await?;
        let lock = match access {
            Access::Change => Some(Lock::take(&master)?),
            Access::Read => None,
        };
        if access == Access::Change {
            bpf::clean_up(&netlink, &master, false).await.context("cannot clean up after an earlier run")?;
        }
        // What changes a master has all of the programs judged when it installs them.
        let depth = match access {
            Access::Read => Depth::Whole,
            Access::Change => Depth::Shallow,
        };
        let FoundDatapath { attached, broken, refusal } = look_for_datapath(&netlink, &master, depth).await;
        let observed = observe::children(&netlink, access).await?;
        let mut session = Self { netlink, master, observed, attached, refusal, broken, lock };
        if access == Access::Change {
            session.remove_unfinished().await?;
        }
        Ok(session)
    }

    /// The children of the master.
    pub fn children(&self) -> &[Child] {
        self.observed.of(self.master.index)
    }

    /// The shims of the master: one, unless a run was killed.
    pub fn shims(&self) -> &[Shim] {
        self.observed.shims_of(self.master.index)
    }

    /// The master, its programs, and the lock that keeps other commands away from them.
    pub fn into_parts(self) -> (Master, Attached, Option<Lock>) {
        (self.master, self.attached, self.lock)
    }

    /// Looks at the children anew.
    ///
    /// # Errors
    ///
    /// When the kernel refuses to tell.
    pub async fn observe(&mut self) -> Result<()> {
        self.observed = observe::children(&self.netlink, Access::Change).await?;
        Ok(())
    }

    /// Leaves a data path with maps of another layout to the version that made it.
    ///
    /// # Errors
    ///
    /// When that is what is on the master; says what to do.
    pub fn require_our_layout(&self) -> Result<()> {
        match bpf::incompatible(&self.master) {
            Some(reason) => bail!("{reason}"),
            None => Ok(()),
        }
    }

    /// Whether unusable remains of a data path are on the master.
    pub const fn is_broken(&self) -> bool {
        self.broken
    }

    /// What the data path holds of children: [`Datapath::sync`](crate::datapath::Datapath) brings it back.
    ///
    /// # Errors
    ///
    /// When the kernel refuses to tell.
    pub fn members(&self) -> Result<Members> {
        match &self.attached {
            Ok(bpf) => Ok(Members { own: bpf.own()?, ..Members::of(bpf.as_ref())? }),
            Err(_) => Ok(Members::default()),
        }
    }

    /// Removes programs that are of no use any more.
    ///
    /// # Errors
    ///
    /// When they cannot be removed.
    pub async fn remove_broken(&mut self) -> Result<()> {
        if self.broken {
            bpf::clean_up(&self.netlink, &self.master, true).await?;
            self.broken = false;
        }
        Ok(())
    }

    /// Which children the data path is to know, and their policies: what was set for one stays.
    ///
    /// # Errors
    ///
    /// When the kernel refuses to tell of those it knows, or they cannot have such policies.
    pub fn wanted_members(&self, adopts: bool, changes: &BTreeMap<Mac, PolicyChange>) -> Result<Members> {
        let present = match &self.attached {
            Ok(bpf) => Members::of(bpf.as_ref())?,
            Err(_) => Members::default(),
        };
        let children: Vec<&Child> = self.children().iter().collect();
        members(&children, present, adopts, changes)
    }

    /// Finds the addresses of those `members` that are held to theirs. Gives who has which address on
    /// the master, for the programs to direct requests by.
    ///
    /// # Errors
    ///
    /// When one that is to be held to its addresses, and `must_have` some, has none that is its own.
    pub async fn find_addresses(
        &self,
        members: &mut Members,
        must_have: bool,
    ) -> Result<BTreeMap<IpAddr, Mac>> {
        let (before, was) = match &self.attached {
            Ok(bpf) => (bpf.members()?, bpf.own()?),
            Err(_) => Default::default(),
        };
        let children: Vec<&Child> = self.children().iter().collect();
        let mut addresses = Addresses::open()?;
        let (index, mac) = (self.master.index, self.master.mac);
        members.own = addresses.own(index, &children, &members.policies, &was).await;
        let has_none = |child: &&&Child| {
            let held = |policies: &BTreeMap<Mac, Policy>| {
                policies.get(&child.mac).is_some_and(|policy| policy.is_held_to_addresses())
            };
            let own = members.own.get(&child.mac);
            held(&members.policies) && !held(&before) && own.is_none_or(BTreeSet::is_empty)
        };
        if must_have && let Some(child) = children.iter().find(has_none) {
            bail!(
                "cannot guard child {}: anti-spoof ip, but no address of it is known: add one or use mac",
                child.title()
            );
        }
        Ok(addresses.owners((index, mac), &children, &members.policies).await)
    }

    /// Removes these children of the master.
    ///
    /// # Errors
    ///
    /// The first failure, after all others were tried.
    pub async fn delete(&self, children: &[Child]) -> Result<()> {
        let mut by_place: BTreeMap<&Place, Vec<u32>> = BTreeMap::new();
        for child in children {
            by_place.entry(&child.place).or_default().push(child.index);
        }
        let mut outcome = Ok(());
        for (place, indexes) in by_place {
            let deleted = match self.observed.netlink_at(&self.netlink, place).await {
                Ok(Some(inside)) => inside.delete_links(&indexes).await,
                _ => self.delete_from_outside(place, &indexes).await,
            };
            outcome = outcome.and(deleted.context("cannot delete children"));
        }
        outcome
    }

    /// Removes devices of a namespace that only its id is known of.
    async fn delete_from_outside(&self, place: &Place, indexes: &[u32]) -> Result<()> {
        for index in indexes {
            self.netlink.delete_link(*index, place.nsid).await?;
        }
        Ok(())
    }

    /// Removes children that a killed run had begun to make.
    async fn remove_unfinished(&mut self) -> Result<()> {
        let unfinished: Vec<Child> =
            self.children().iter().filter(|child| child.unfinished).cloned().collect();
        if unfinished.is_empty() {
            return Ok(());
        }
        self.delete(&unfinished).await?;
        self.observe().await
    }
}

/// Which of these children a data path is to know, and their policies: what was set for one that is
/// `present` stays, unless `changes` say otherwise.
///
/// # Errors
///
/// When there are too many groups, or one is to be held to its addresses beside strangers.
pub fn members(
    children: &[&Child],
    present: Members,
    adopts: bool,
    changes: &BTreeMap<Mac, PolicyChange>,
) -> Result<Members> {
    let Members { policies: present, mut groups, rates: present_rates, .. } = present;
    let (mut members, mut rates) = (BTreeMap::new(), BTreeMap::new());
    let is_wanted = |child: &&&Child| (adopts || child.is_ours()) && !child.unfinished;
    // One that is up has the address for itself (`macvlan_addr_busy`): it comes last, and wins.
    let mut children: Vec<&&Child> = children.iter().filter(is_wanted).collect();
    children.sort_by_key(|child| child.up);
    for child in children {
        let change = changes.get(&child.mac).copied().unwrap_or_default();
        let policy = change.apply(present.get(&child.mac).copied(), child.mode, &mut groups)?;
        if policy.is_guarded() && !adopts {
            bail!(
                "anti-spoof of child {} needs every child to be known: leave out --no-adopt, or adopt = false",
                child.title()
            );
        }
        let limits = change.apply_rates(present_rates.get(&child.mac).copied().unwrap_or_default());
        members.insert(child.mac, policy.with_limit(!limits.is_empty()));
        rates.insert(child.mac, limits);
    }
    rates.retain(|_, limits| !limits.is_empty());
    let groups = groups.used_by(members.values());
    Ok(Members { policies: members, groups, rates, own: Own::new() })
}

/// The programs on `master`, or why there are none; and whether unusable remains of some are there.
pub async fn find_datapath(netlink: &Netlink, master: &Master) -> (Attached, bool) {
    let found = look_for_datapath(netlink, master, Depth::Whole).await;
    (found.attached, found.broken)
}

/// What is on a master, and what could be.
pub struct FoundDatapath {
    /// The programs, or why there are none.
    pub attached: Attached,
    /// Unusable remains of some are there.
    pub broken: bool,
    /// Why this machine lets us have no BPF, where nothing usable is attached and that is so.
    pub refusal: Option<String>,
}

/// Looks at a master and, where no data path is on it, tries whether one could be: as far as `depth`
/// goes.
pub async fn look_for_datapath(netlink: &Netlink, master: &Master, depth: Depth) -> FoundDatapath {
    let found = Bpf::find(netlink, master).await;
    if let Found::Whole(bpf) = found {
        return FoundDatapath { attached: Ok(bpf), broken: false, refusal: None };
    }
    let refusal = bpf::probe(depth).err().map(|error| format!("BPF cannot be had: {error:#}"));
    let (reason, broken) = match found {
        Found::Broken(reason) => (reason, true),
        _ => {
            let not_attached = format!("not attached: macvlan-ctl attach {}", master.name);
            (refusal.clone().unwrap_or(not_attached), false)
        }
    };
    FoundDatapath { attached: Err(reason), broken, refusal }
}

/// The data path of a master: the programs, or the driver and what it tells, and why not more.
///
/// # Errors
///
/// When the kernel refuses to tell of the children.
pub async fn datapath_of(
    netlink: &Netlink,
    master: &Master,
    attached: Attached,
    observed: &Observed,
) -> Result<Box<dyn Datapath>> {
    match attached {
        Ok(bpf) => Ok(bpf),
        Err(reason) => {
            let children: Vec<&Child> = observed.of(master.index).iter().collect();
            let shims = observed.shims_of(master.index);
            Ok(Box::new(Kernel::look(netlink, master, shims, &children, reason).await?))
        }
    }
}
