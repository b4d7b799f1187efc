//! A followed master while it is there: its map kept in step with its children.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
    time::Duration,
};

use anyhow::Result;
use macvlan_common::{child::Policy, mac::Mac};
use tokio::time::Instant;

use crate::{
    datapath::{
        Datapath as _,
        bpf::{held::Held, hooks::child_pins::as_held, probe::ProbeMemory},
        kernel::Kernel,
        shim,
    },
    discovery::ports::remove_bereft,
    discovery::{
        claims::claims,
        datapath::{FoundDatapath, look_for_datapath_or},
        homes,
        neighbours::Addresses,
    },
    follow::{
        notes::{Note, Report},
        snapshot::MasterSnapshot,
        tell,
        watch::{change::What, watcher::Watcher},
    },
    kernel::{
        lock::Lock,
        netlink::{events::changed::DeviceKey, link::Totals},
    },
    model::{
        child::Child,
        description::{Degraded, Description},
        fit::fit,
        held::AddressTrouble,
        master::Master,
        members::{Asked, Members, members},
        own_mac::{carry, correct, let_go},
        status::{self, CLAIMED, UNSETTLED as UNSETTLED_TEXT},
    },
    policy::{change::PolicyChange, rules::Policies},
};

/// How long to leave a MAC or an address that is only claimed before looking again.
const CLAIMS_PAUSE: Duration = Duration::from_secs(3);

/// How long a child may be without a known container before people are told.
const UNSETTLED: Duration = Duration::from_secs(3);

/// A master that is there: what carries it, and what is to be written into its map.
pub struct AttachedMaster {
    /// The device.
    pub master: Master,
    /// What carries it, and whom that knows.
    description: Description,
    members: Members,
    trouble: AddressTrouble,
    /// `--single-mac=auto` comes to other programs by now.
    differs_from_auto: bool,
    /// How often another one has come to claim an address of a child.
    contests: u64,
    pins: Option<PathBuf>,
    /// The same, open: should the BPF file system be unmounted.
    held: Held,
    /// What the kernel counted of each child, where it carries them alone.
    totals: BTreeMap<DeviceKey, Totals>,
    /// When we looked last, BPF was unavailable.
    refused: bool,
    /// Somebody took the data path off, and may put it back: we do not.
    is_left: bool,
    /// What came of trying whether BPF is available.
    probes: ProbeMemory,
    /// Children of others belong to it.
    adopts: bool,
    /// What is to be set with the next sync, whatever it was.
    overrides: BTreeMap<Mac, PolicyChange>,
    /// MACs that children had before those that they have now.
    former: BTreeMap<Mac, Mac>,
    /// Children whose rules are not known before their namespaces have names.
    nameless: BTreeSet<Mac>,
    /// MACs that children only claim.
    claimed: BTreeSet<Mac>,
    /// What people were told of what devices of children say of themselves.
    told: BTreeSet<String>,
    /// MACs of devices that are gone since the last sync.
    gone: BTreeSet<Mac>,
    /// MACs of devices that came since, after another with that MAC had gone.
    fresh: BTreeSet<Mac>,
    /// Children whose containers are not known, since when, and whether people were told.
    unsettled: BTreeMap<Mac, (Instant, bool)>,
    /// Why not everybody told whose namespaces are.
    pub silent: Option<String>,
    /// When to bring the map to what the kernel has.
    pub due: Option<Instant>,
    /// Addresses of the children and of the master.
    pub addresses: Addresses,
    /// The last thing that people were warned of: once is enough.
    warned: String,
}

/// What came of a sync.
pub enum Synced {
    /// The map is what the kernel has.
    Done,
    /// Another command is at work.
    Busy,
    /// The same, and what is asked for comes to another data path by now.
    Unwanted,
    /// The data path is of no use any more, and why.
    Lost(String),
}

impl AttachedMaster {
    /// A master that was just attached to.
    ///
    /// # Errors
    ///
    /// When netlink refuses a socket.
    pub fn new(master: Master, policies: &Policies, adopts: bool, watcher: &Watcher) -> Result<Self> {
        let children = as_held(master.index, &watcher.children(master.index));
        let asked = children.iter().map(|child| (child.mac, policies.of(child.identity(&watcher.homes))));
        Ok(Self {
            overrides: asked.filter(|(_, policy)| !policy.is_empty()).collect(),
            master,
            description: Kernel::new("not looked at yet").description().clone(),
            members: Members::default(),
            trouble: AddressTrouble::default(),
            differs_from_auto: false,
            contests: 0,
            pins: None,
            held: Held::default(),
            totals: BTreeMap::new(),
            refused: false,
            is_left: false,
            probes: ProbeMemory::default(),
            adopts,
            former: BTreeMap::new(),
            nameless: BTreeSet::new(),
            claimed: BTreeSet::new(),
            told: BTreeSet::new(),
            gone: BTreeSet::new(),
            fresh: BTreeSet::new(),
            unsettled: BTreeMap::new(),
            silent: None,
            due: Some(Instant::now()),
            addresses: Addresses::open()?,
            warned: String::new(),
        })
    }

    /// What onlookers see.
    pub fn view(&self, watcher: &Watcher) -> MasterSnapshot {
        let children = self.children(watcher);
        let children: Vec<&Child> = children.iter().collect();
        let status = status::compose(&self.master, None, &self.description, &self.members, &children);
        // What was told to stay out is not missed.
        let is_missed = |child: &&&Child| self.description.adopts || child.is_ours();
        let macs: BTreeSet<Mac> = children.iter().filter(is_missed).map(|child| child.mac).collect();
        let strange = status.children.iter().filter(|child| !child.adopted && macs.contains(&child.address));
        MasterSnapshot {
            unadopted: strange.count(),
            is_up: self.master.up,
            contests: self.contests,
            totals: self.totals_by_mac(&children),
            ..MasterSnapshot::new(status, self.pins.clone())
        }
    }

    /// Its children, by the MACs that they are held to.
    fn children(&self, watcher: &Watcher) -> Vec<Child> {
        as_held(self.master.index, &watcher.children(self.master.index))
    }

    /// Of two children with one MAC the one that is up has it (`macvlan_addr_busy`).
    fn totals_by_mac(&self, children: &[&Child]) -> BTreeMap<Mac, Totals> {
        let mut children = children.to_vec();
        children.sort_by_key(|child| child.up);
        let totals = |child: &&Child| self.totals.get(&(child.place.nsid, child.index)).copied();
        children.into_iter().filter_map(|child| Some((child.mac, totals(&child)?))).collect()
    }

    /// Takes notice of addresses that changed: a shim leads to those of the children, with the master's; what comes from a
    /// wire that carries one MAC is given to children by theirs.
    pub fn note_addresses(&mut self, changed: &BTreeSet<DeviceKey>, watcher: &Watcher) {
        let index = self.master.index;
        let is_of_ours =
            || watcher.children(index).iter().any(|child| changed.contains(&(child.place.nsid, child.index)));
        let hangs_on_them = self.is_single() || !watcher.shims(index).is_empty();
        if hangs_on_them && (changed.contains(&(None, index)) || is_of_ours()) {
            self.due = Some(Instant::now());
        }
    }

    /// Warns of something, once.
    pub fn warn(&mut self, text: String, report: Report<'_>) {
        if self.warned != text {
            report(Note::Warning(text.clone()));
            self.warned = text;
        }
    }

    /// A child that is new gets what the rules say; one that has another MAC keeps what it had.
    pub fn note_child(&mut self, policies: &Policies, what: &What, child: &Child, watcher: &Watcher) {
        match what {
            What::Added => {
                if self.gone.contains(&child.mac) && !child.is_ours() {
                    self.fresh.insert(child.mac);
                }
                self.override_by_rules(policies, child, watcher);
                if policies.ask_where() && child.place.nsid.is_some() && child.place.label.is_none() {
                    self.nameless.insert(child.mac);
                }
            }
            What::Removed => {
                self.gone.insert(child.mac);
                self.nameless.remove(&child.mac);
            }
            What::Readdressed(was) => {
                let first = self.former.remove(was).unwrap_or(*was);
                self.former.insert(child.mac, first);
            }
            _ => {}
        }
    }

    /// Rules about namespaces, for children whose namespaces have got their names since.
    pub fn apply_late_rules(&mut self, policies: &Policies, watcher: &Watcher) {
        if self.nameless.is_empty() {
            return;
        }
        for child in &self.children(watcher) {
            if child.place.label.is_some() && self.nameless.remove(&child.mac) {
                self.override_by_rules(policies, child, watcher);
            }
        }
    }

    /// Whether programs belong on devices of its children, now or once they come back, or on the driver.
    pub fn guards(&self) -> bool {
        let present = self.members.policies.iter();
        let is_guarded = |policy: &Policy| policy.is_guarded() || policy.is_inspected();
        let is_any = present.map(|(_, policy)| policy).any(is_guarded);
        is_any || self.members.kept.want_programs() || self.description.is_strict()
    }

    /// Whether its wire carries one MAC.
    pub fn is_single(&self) -> bool {
        self.description.single_mac
    }

    /// Whether what children may do hangs on whose their namespaces are.
    pub fn asks_whose(&self, policies: &Policies) -> bool {
        self.pins.is_some() && homes::matter(policies, &self.members)
    }

    /// Rules about containers, for children whose container is known now.
    pub fn note_home(&mut self, policies: &Policies, nsid: i32, watcher: &Watcher) {
        for child in &self.children(watcher) {
            if child.place.nsid == Some(nsid) {
                self.override_by_rules(policies, child, watcher);
                self.due = Some(Instant::now());
            }
        }
    }

    fn override_by_rules(&mut self, policies: &Policies, child: &Child, watcher: &Watcher) {
        let policy = policies.of(child.identity(&watcher.homes));
        if !policy.is_empty() {
            let change = self.overrides.entry(child.mac).or_default();
            *change = policy.or(*change);
        }
    }

    /// Brings the map to what the kernel has.
    ///
    /// # Errors
    ///
    /// A map cannot be written, or the device is gone.
    pub async fn sync(
        &mut self,
        policies: &Policies,
        watcher: &Watcher,
        report: Report<'_>,
    ) -> Result<Synced> {
        let Some(_lock) = Lock::try_take(&self.master.key)? else { return Ok(Synced::Busy) };
        remove_bereft(watcher.netlink(), &watcher.children(self.master.index)).await?;
        if self.pins.is_some()
            && let Err(error) = self.put_back_pins(watcher, report).await
        {
            self.live_without_pins(&error, report);
            return Ok(Synced::Done);
        }
        let found = look_for_datapath_or(watcher.netlink(), &self.master, || self.probes.refusal()).await;
        let FoundDatapath { attached, broken, refusal } = found;
        // The BPF file system was unmounted while this looked.
        if attached.is_err() && self.held.lacks_pins(watcher.netlink(), &self.master).await? {
            return Ok(Synced::Busy);
        }
        let was_refused = std::mem::replace(&mut self.refused, refusal.is_some());
        let mut bpf = match attached {
            Ok(bpf) => bpf,
            Err(reason) if broken => return Ok(Synced::Lost(reason)),
            Err(reason) => {
                self.held = Held::default();
                if self.pins.take().is_some() {
                    self.is_left = true;
                    report(Note::Warning(format!("{}: another command has detached it", self.master.name)));
                }
                if was_refused && !self.is_left && refusal.is_none() {
                    return Ok(Synced::Lost("BPF is available now".into()));
                }
                return self.sync_kernel(reason, watcher).await;
            }
        };
        if bpf.is_traced_in_vain() {
            return Ok(Synced::Lost("a trace was killed and left its programs".into()));
        }
        let mut children = self.children(watcher);
        let_go(&mut children, &mut self.overrides);
        correct(&mut self.former, &children);
        let children: Vec<&Child> = children.iter().collect();
        let present = bpf.members().clone();
        let is_suspect = |_: &Child| !bpf.options().vepa_switch;
        let claimed = claims(self.master.index, &children, &present, is_suspect, |mac| bpf.knew(mac)).await?;
        carry(&self.former, &present, &claimed, &mut self.overrides);
        let Members { policies: known, own, .. } = present.clone();
        let adopts = bpf.description().adopts;
        let asked = Asked {
            adopts,
            changes: &self.overrides,
            claimed: &claimed,
            rules: Some(policies),
            are_all_rules: true,
            homes: &watcher.homes,
            fresh: &self.fresh,
            former: &self.former.values().copied().collect(),
        };
        let mut wanted = members(&self.master, &children, present, asked)?;
        let left_out = fit(&mut wanted, &children, &known, bpf.max_children() as usize);
        wanted.own = self.addresses.own(self.master.index, &children, &wanted.policies, &own).await;
        bpf.sync(&self.master, &wanted)?;
        let master = (self.master.index, self.master.mac);
        bpf.vouch(&children, &wanted.policies).await?;
        let owners = self.addresses.owners(master, &children, &wanted.policies).await;
        bpf.set_owners(&self.master, &owners)?;
        if bpf.is_single() {
            let told = self.addresses.holders(self.master.index, &children, &wanted.policies).await?;
            bpf.set_holders(&self.master, &told)?.go_on();
        }
        bpf.keep_flood(&self.master, &watcher.floods(self.master.index), &children).await?;
        self.overrides.clear();
        self.former.clear();
        self.gone.clear();
        self.fresh.clear();
        self.note_unsettled(&children, &wanted, report);
        self.note_claims(&children, &claimed, report);
        tell::claims(&self.master, &mut self.told, (&children, &wanted), report);
        if left_out > 0 {
            let text = format!(
                "{}: {left_out} children are beyond the maximum of {}: they run as plain kernel macvlan; \
                 attach again with --max-children after a detach",
                self.master.name,
                bpf.max_children()
            );
            self.warn(text, report);
        }
        // What was less from the start, attaching told.
        if self.pins.is_some() {
            let (before, now) = (&self.description.degraded, &bpf.description().degraded);
            tell::degraded(&self.master.name, before, now, report);
        }
        self.description = bpf.description().clone();
        self.held.hold(bpf.pins())?;
        self.is_left = false;
        self.pins = Some(bpf.pins().to_owned());
        for change in tell::differing(&self.master, (&self.members, &wanted), &children) {
            report(Note::Change(&change));
        }
        self.members = wanted;
        bpf.look_at_devices(&children).await?;
        self.totals.clone_from(bpf.totals());
        self.note_trouble(bpf.address_trouble()?, watcher, report);
        let differs = self.master.up && bpf.differs_from_auto(&self.master);
        let was_different = std::mem::replace(&mut self.differs_from_auto, differs);
        Ok(if differs && !was_different { Synced::Unwanted } else { Synced::Done })
    }

    /// Tells of addresses of children that others have come to claim, and of those for which there is no room.
    fn note_trouble(&mut self, now: AddressTrouble, watcher: &Watcher, report: Report<'_>) {
        let before = std::mem::replace(&mut self.trouble, now);
        let Some(link) = watcher.device(self.master.index) else { return };
        let children = watcher.children(self.master.index);
        for change in tell::address_trouble(link, (&before, &self.trouble), &children) {
            self.contests += u64::from(matches!(change.what, What::Contested(_)));
            report(Note::Change(&change));
        }
    }

    /// Warns of children whose containers are not known for long.
    fn note_unsettled(&mut self, children: &[&Child], members: &Members, report: Report<'_>) {
        let is_unsettled = |mac: &Mac| members.policies.get(mac).is_some_and(|policy| policy.is_unsettled());
        for child in children.iter().filter(|child| !is_unsettled(&child.mac)) {
            if self.unsettled.remove(&child.mac).is_some_and(|(_, was_told)| was_told) {
                let (master, title, mac) = (&self.master.name, child.title(), child.mac);
                let text = "its container is known now, and its settings hold";
                report(Note::Info(format!("{master}: child {title} ({mac}): {text}")));
            }
        }
        self.unsettled.retain(|mac, _| is_unsettled(mac));
        for child in children.iter().filter(|child| is_unsettled(&child.mac)) {
            let (since, is_told) = self.unsettled.entry(child.mac).or_insert((Instant::now(), false));
            if !*is_told && since.elapsed() >= UNSETTLED {
                *is_told = true;
                let (master, title, mac) = (&self.master.name, child.title(), child.mac);
                let why = self.silent.as_deref().unwrap_or("no engine tells all of it");
                report(Note::Warning(format!("{master}: child {title} ({mac}): {UNSETTLED_TEXT}: {why}")));
            }
        }
    }

    /// Warns of children that claim a gateway's MAC.
    fn note_claims(&mut self, children: &[&Child], claimed: &BTreeSet<Mac>, report: Report<'_>) {
        for child in children.iter().filter(|child| claimed.contains(&child.mac)) {
            if !self.claimed.contains(&child.mac) {
                let (master, title, mac) = (&self.master.name, child.title(), child.mac);
                report(Note::Warning(format!("{master}: child {title} has {CLAIMED}: {mac}")));
            }
        }
        self.claimed.clone_from(claimed);
    }

    /// When to look again though no event comes: the MAC or the address that a gateway had may be a child's once
    /// the host finds no gateway there.
    pub fn due_again(&self) -> Option<Instant> {
        let is_open = !self.claimed.is_empty() || self.addresses.has_rivals();
        is_open.then(|| Instant::now() + CLAIMS_PAUSE)
    }

    /// Pins the data path again where its pins are gone and it is not.
    ///
    /// # Errors
    ///
    /// It cannot be pinned. It stays in place as long as this process.
    async fn put_back_pins(&self, watcher: &Watcher, report: Report<'_>) -> Result<()> {
        if self.held.put_back(watcher.netlink(), &self.master).await? {
            report(Note::Warning(format!(
                "{}: its pins were gone, as when the BPF file system is unmounted: pinned again, nothing was lost",
                self.master.name
            )));
        }
        Ok(())
    }

    /// Says what is without pins: the data path works, and nobody can look into its maps.
    fn live_without_pins(&mut self, error: &anyhow::Error, report: Report<'_>) {
        let reason = format!(
            "the BPF file system was unmounted: {error:#}; the data path goes on as long as this process, and \
             changes of children wait; run: mount -t bpf bpf /sys/fs/bpf"
        );
        let degraded = Degraded::new("pins", "machine", "this process", reason);
        self.warn(format!("{}: {degraded}", self.master.name), report);
        self.description.degraded.retain(|other| !other.is_same(&degraded));
        self.description.degraded.push(degraded);
    }

    /// Keeps the shim in step, where there is one, and reads what the kernel counts.
    async fn sync_kernel(&mut self, reason: String, watcher: &Watcher) -> Result<Synced> {
        let (netlink, index) = (watcher.netlink(), self.master.index);
        let (shims, children) = (watcher.shims(index), watcher.children(index));
        if !shims.is_empty() {
            let mut access = shim::access(&self.overrides);
            if !self.adopts {
                shim::keep_strangers(&mut access, &children);
            }
            shim::raise(netlink, &self.master, &shims, &children, &access).await?;
            self.overrides.clear();
        }
        let kernel = Kernel::look(netlink, &self.master, &shims, &children, reason).await?;
        self.description = kernel.description().clone();
        self.members = kernel.members().clone();
        self.totals = kernel.totals().clone();
        Ok(Synced::Done)
    }
}
