//! One master in a command's hands: locked, cleaned up after killed runs, looked at.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, Result, bail};
use macvlan_common::{child::Policy, mac::Mac, port::Half};

use crate::{
    datapath::{
        Datapath as _,
        bpf::{attached, clean_up, prepare::Prepared, probe::Depth, single_mac::is_single, take_over},
    },
    discovery::{
        access::Access,
        children::{Observed, find_children},
        claims::claims,
        datapath::{Attached, FoundDatapath, look_for_datapath},
        homes::{self, AskedHomes},
        masters::find_master,
        neighbours::Addresses,
    },
    kernel::{
        lock::Lock,
        marks::{Mark, Marks},
        netlink::{Netlink, events::changed::DeviceKey},
        netns::{Netns, place::Place},
    },
    model::{
        child::Child,
        flood::FloodDevice,
        master::Master,
        members::{Asked, Members, members},
        neighbours::ToldAddresses,
        options::{DEFAULT_MAX_CHILDREN, OptionValues},
        own_mac::{carry, correct, let_go},
        request::AttachRequest,
        shim::Shim,
    },
    policy::{change::PolicyChange, rules::Policies},
};

/// One master, held by one command.
pub struct LockedMaster {
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
    /// The programs that are not on the master yet.
    pub(crate) prepared: Option<Prepared>,
    /// Whose the children's namespaces are, where that matters.
    pub homes: AskedHomes,
    broken: bool,
    lock: Option<Lock>,
}

impl LockedMaster {
    /// Takes hold of the master named `name` in the namespace of the calling thread.
    ///
    /// # Errors
    ///
    /// When it cannot be a master, or another command does not let go of it.
    pub async fn open(name: &str, access: Access) -> Result<Self> {
        Self::open_for(name, access, None).await
    }

    /// The same, for who installs the programs next where there are none: these are made ready meanwhile.
    ///
    /// # Errors
    ///
    /// As of [`open`](Self::open).
    pub async fn open_to_attach(name: &str, access: Access, request: &AttachRequest) -> Result<Self> {
        Self::open_for(name, access, (access == Access::Change).then_some(request)).await
    }

    async fn open_for(name: &str, access: Access, request: Option<&AttachRequest>) -> Result<Self> {
        let netlink = Netlink::open()?;
        let master = find_master(&netlink, name).await?;
        let lock = match access {
            Access::Change => Some(Lock::take(&master.key, &master.name).await?),
            Access::Read => None,
        };
        if access == Access::Change {
            take_over(&netlink, &master).await.context("cannot take over its data path")?;
            clean_up(&netlink, &master, false).await.context("cannot clean up after an earlier run")?;
        }
        // What changes a master has all of the programs judged when it installs them.
        let depth = match access {
            Access::Read => Depth::Whole,
            Access::Change => Depth::Shallow,
        };
        let FoundDatapath { attached, broken, refusal } = look_for_datapath(&netlink, &master, depth).await;
        let observed = Observed::default();
        let homes = AskedHomes::default();
        let mut locked =
            Self { netlink, master, observed, attached, refusal, prepared: None, homes, broken, lock };
        if let Some(request) = request
            && locked.attached.is_err()
            && locked.refusal.is_none()
        {
            let single = is_single(&locked.wanted_options(request), &locked.master);
            locked.prepared = Some(Prepared::begin(locked.wanted_max_children(request), single));
        }
        locked.take(find_children(&locked.netlink, access).await?);
        if access == Access::Change {
            locked.mark_those_of_before().await?;
            locked.forget_marks().await?;
            locked.remove_unfinished().await?;
        }
        Ok(locked)
    }

    /// The children of the master.
    pub fn children(&self) -> &[Child] {
        self.observed.of(self.master.index)
    }

    /// The shims of the master: one, unless a run was killed.
    pub fn shims(&self) -> &[Shim] {
        self.observed.shims_of(self.master.index)
    }

    /// The flood devices of the master: one, unless a run was killed.
    pub fn floods(&self) -> &[FloodDevice] {
        self.observed.floods_of(self.master.index)
    }

    /// The master, its programs, and the lock that keeps other commands away from them.
    pub fn into_parts(self) -> (Master, Attached, Option<Lock>) {
        (self.master, self.attached, self.lock)
    }

    /// Looks at the children anew.
    ///
    /// # Errors
    ///
    /// Netlink does not list the devices.
    pub async fn observe(&mut self) -> Result<()> {
        let observed = find_children(&self.netlink, Access::Change).await?;
        self.take(observed);
        self.forget_marks().await?;
        self.ask_homes().await;
        Ok(())
    }

    /// Marks a child as made by us, for `maker`. The caller says so: nothing the child's device says is proof.
    ///
    /// # Errors
    ///
    /// The mark cannot be made.
    pub async fn mark(&self, child: &Child, maker: &str) -> Result<()> {
        let netns = self.observed.netns_at(&self.netlink, &child.place).await.ok().flatten();
        let namespace = netns.and_then(|netns| netns.run(Netns::current_tag).ok());
        let mark = Mark { namespace, master: self.master.index, mac: child.mac, maker: maker.to_owned() };
        Marks::open()?.set(child.key(), &mark)
    }

    /// Versions that marked nothing believed a child's alias. Of those that a data path of theirs knows, it is
    /// believed once.
    async fn mark_those_of_before(&mut self) -> Result<()> {
        let Ok(bpf) = &self.attached else { return Ok(()) };
        if bpf.marks_children() {
            return Ok(());
        }
        let known = self.members().policies;
        let is_one = |child: &&Child| !child.is_ours() && known.contains_key(&child.mac);
        for child in self.children().iter().filter(is_one) {
            if let Some(claims) = &child.claims {
                self.mark(child, claims).await?;
            }
        }
        if let Ok(bpf) = &mut self.attached {
            bpf.now_marks_children()?;
        }
        self.take(find_children(&self.netlink, Access::Change).await?);
        Ok(())
    }

    /// Removes the marks of devices that are gone: others may have their numbers by now.
    async fn forget_marks(&self) -> Result<()> {
        let marks = Marks::open()?;
        let ours: BTreeSet<DeviceKey> =
            self.children().iter().filter(|child| child.is_ours()).map(Child::key).collect();
        let stale = |key: &DeviceKey, mark: &Mark| mark.master == self.master.index && !ours.contains(key);
        let marked = marks.all().unwrap_or_default();
        let stale: Vec<(&DeviceKey, &Mark)> = marked.iter().filter(|(key, mark)| stale(key, mark)).collect();
        if stale.is_empty() {
            return Ok(());
        }
        // A namespace that did not answer a moment ago proves nothing.
        let numbered = self.netlink.nsids().await?;
        for (&key, mark) in stale {
            let nsid = key.0.filter(|nsid| numbered.contains(nsid));
            let child = self.children().iter().find(|child| child.key() == key);
            let is_gone = match (nsid, child) {
                (None, _) => true,
                (Some(_), Some(child)) => self.is_for_another(mark, child).await,
                (Some(_), None) => {
                    self.netlink.link_by_index(key.1, nsid).await.is_ok_and(|link| link.is_none())
                }
            };
            if is_gone {
                marks.remove(key)?;
            }
        }
        Ok(())
    }

    /// Whether a mark is for certain that of another device than the one with its numbers.
    async fn is_for_another(&self, mark: &Mark, child: &Child) -> bool {
        let netns = self.observed.netns_at(&self.netlink, &child.place).await.ok().flatten();
        let tag = netns.and_then(|netns| netns.run(Netns::current_tag).ok());
        let can_tell = tag.is_some() || mark.namespace.is_none();
        can_tell && !mark.is_of(child.mac, tag.as_deref())
    }

    /// Learns whose the children's namespaces are, if these rules, or what is set or kept, ask for that.
    pub async fn learn_homes(&mut self, rules: &Policies) {
        if homes::matter(rules, &self.members()) {
            self.homes.begin();
            self.ask_homes().await;
        }
    }

    /// Learns it because something is to be set, which is to be kept.
    pub async fn learn_homes_to_keep(&mut self) {
        self.homes.begin();
        self.ask_homes().await;
    }

    async fn ask_homes(&mut self) {
        let places = self.observed.of(self.master.index).iter().map(|child| &child.place);
        self.homes.learn(&self.netlink, places).await;
    }

    /// Takes what was found. A child that the data path knows was finished once, whatever its device says:
    /// a container could shed its settings otherwise.
    fn take(&mut self, observed: Observed) {
        self.observed = observed;
        let known = self.members().policies;
        let children = self.observed.children.get_mut(&self.master.index).into_iter().flatten();
        let may_lie = |child: &&mut Child| child.port.is_none() && known.contains_key(&child.mac);
        for child in children.filter(may_lie) {
            child.unfinished = false;
        }
    }

    /// What is to hold of the data path once `request` is done: what that leaves out is as it is, also on
    /// a data path that is of no use any more and is replaced.
    pub fn wanted_options(&self, request: &AttachRequest) -> OptionValues {
        let present = match &self.attached {
            Ok(bpf) => Some(bpf.options()),
            Err(_) => attached::recorded_options(&self.master),
        };
        request.options.over(present.unwrap_or(request.at_first))
    }

    /// How many children are to fit once `request` is done, likewise.
    pub fn wanted_max_children(&self, request: &AttachRequest) -> u32 {
        request.options.max_children.unwrap_or_else(|| self.max_children())
    }

    /// How many children fit, or at first will.
    pub fn max_children(&self) -> u32 {
        let present = match &self.attached {
            Ok(bpf) => Some(bpf.max_children()),
            Err(_) => attached::recorded_max_children(&self.master),
        };
        present.unwrap_or(DEFAULT_MAX_CHILDREN)
    }

    /// Leaves a data path with maps of another layout to the version that made it.
    ///
    /// # Errors
    ///
    /// When that is what is on the master; says what to do.
    pub fn require_our_layout(&self) -> Result<()> {
        match attached::incompatible(&self.master) {
            Some(reason) => bail!("{reason}"),
            None => Ok(()),
        }
    }

    /// Whether unusable remains of a data path are on the master.
    pub const fn is_broken(&self) -> bool {
        self.broken
    }

    /// What the data path holds of children: [`Datapath::sync`](crate::datapath::Datapath) brings it back.
    pub fn members(&self) -> Members {
        self.attached.as_ref().map_or_else(|_| Members::default(), |bpf| bpf.members().clone())
    }

    /// Removes programs that are of no use any more.
    ///
    /// # Errors
    ///
    /// When they cannot be removed.
    pub async fn remove_broken(&mut self) -> Result<()> {
        if self.broken {
            clean_up(&self.netlink, &self.master, true).await?;
            self.broken = false;
        }
        Ok(())
    }

    /// Which children the data path is to know, and their policies: what was set for one stays.
    ///
    /// # Errors
    ///
    /// A child cannot have such a policy, or netlink does not list routes or neighbours.
    pub async fn wanted_members(
        &mut self,
        adopts: bool,
        mut changes: BTreeMap<Mac, PolicyChange>,
        rules: Option<&Policies>,
        former: &BTreeSet<Mac>,
    ) -> Result<Members> {
        if let Some(children) = self.observed.children.get_mut(&self.master.index) {
            let_go(children, &mut changes);
        }
        let children: Vec<&Child> = self.children().iter().collect();
        let present = self.members();
        let trusts_table = self.attached.as_ref().is_ok_and(|bpf| !bpf.options().vepa_switch);
        // One of ours may have been made a moment ago, with the MAC that was asked for.
        let is_suspect = |child: &Child| trusts_table && !child.is_ours();
        let was_there = |mac| self.attached.as_ref().map_or(Ok(false), |bpf| bpf.knew(mac));
        let claimed = claims(self.master.index, &children, &present, is_suspect, was_there).await?;
        let mut by_device = BTreeMap::new();
        correct(&mut by_device, self.children());
        carry(&by_device, &present, &claimed, &mut changes);
        let former = &former.iter().chain(by_device.values()).copied().collect();
        let changes = &changes;
        let (homes, fresh) = (&self.homes.homes, &BTreeSet::new());
        let are_all_rules = rules.is_some_and(|rules| !rules.is_empty());
        let asked = Asked { adopts, changes, claimed: &claimed, rules, are_all_rules, homes, fresh, former };
        members(&self.master, &children, present, asked)
    }

    /// Finds the addresses of those `members` that are held to theirs. Gives who has which address on
    /// the master, for the programs to direct requests by.
    ///
    /// # Errors
    ///
    /// When one that is to be held to its addresses, and `must_have` some, has none that is its own.
    pub async fn find_addresses(&self, members: &mut Members, must_have: bool) -> Result<ToldAddresses> {
        let Members { policies: before, own: was, .. } = self.members();
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
        let mut by_place: BTreeMap<Place, Vec<u32>> = BTreeMap::new();
        for child in children {
            let indexes = by_place.entry(child.device().0).or_default();
            indexes.push(child.key().1);
            indexes.extend(child.port.as_ref().map(|port| port.index_of(Half::HostEnd)));
        }
        let mut outcome = Ok(());
        for (place, indexes) in by_place {
            let deleted = match self.observed.netlink_at(&self.netlink, &place).await {
                Ok(Some(inside)) => inside.delete_links(&indexes).await,
                _ => self.delete_from_outside(&place, &indexes).await,
            };
            outcome = outcome.and(deleted.context("cannot delete children"));
        }
        outcome?;
        let marks = Marks::open()?;
        children.iter().try_for_each(|child| marks.remove(child.key()))
    }

    /// Removes devices of a namespace that only its id is known of.
    async fn delete_from_outside(&self, place: &Place, indexes: &[u32]) -> Result<()> {
        for index in indexes {
            self.netlink.delete_link(*index, place.nsid).await?;
        }
        Ok(())
    }

    /// Removes children that a killed run, or one without an answer, had begun to make, and ports whose containers are
    /// gone.
    ///
    /// # Errors
    ///
    /// The namespace of one cannot be entered, `CAP_NET_ADMIN` is missing there, or devices cannot be listed.
    pub async fn remove_unfinished(&mut self) -> Result<()> {
        let unfinished: Vec<Child> =
            self.children().iter().filter(|child| child.unfinished).cloned().collect();
        if unfinished.is_empty() && self.observed.bereft.is_empty() {
            return Ok(());
        }
        for host_end in &self.observed.bereft {
            self.netlink.delete_link(*host_end, None).await?;
        }
        self.delete(&unfinished).await?;
        self.observe().await
    }
}
