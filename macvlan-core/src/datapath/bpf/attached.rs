//! The programs on one master: finding them, and what they hold.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Result, anyhow};
use futures_util::future::LocalBoxFuture;
use macvlan_common::{ABI_VERSION, child::Policy, mac::Mac};

use crate::{
    datapath::{
        Datapath,
        bpf::{
            describe::{OnMaster, describe, guard_flags},
            directory::directory,
            hooks::{on_device::OnDevice, pinned, strays},
            isolation,
            maps::{
                holders::HolderTable,
                tables::{self, Maps},
            },
            moved,
            record::{Lasting, Record},
        },
        device_totals::totals,
    },
    kernel::netlink::{Netlink, events::changed::DeviceKey, link::Totals},
    model::{
        child::Child,
        counters::Counters,
        description::{Degraded, Description},
        held::Held,
        master::Master,
        members::Members,
        neighbours::ToldAddresses,
        options::OptionValues,
    },
    policy::{groups::Groups, rate::RateLimits},
};

/// The programs on one master.
pub struct Bpf {
    pub(crate) directory: PathBuf,
    pub(crate) maps: Maps,
    pub(crate) record: Record,
    /// What the maps held when they were last read or written.
    pub(crate) members: Members,
    pub(crate) description: Description,
    pub(crate) netlink: Netlink,
    /// The programs were brought to this version; those on children's own devices are to be, too.
    pub(crate) renewed: bool,
    /// The wire is to be told where the children's addresses are, for that has changed.
    pub(crate) is_new_to_wire: bool,
    /// What the master itself told when it was looked at.
    pub(crate) on_master: OnMaster,
    /// What the children's devices counted of themselves, where no program of ours sees all of it.
    pub(crate) totals: BTreeMap<DeviceKey, Totals>,
}

/// What is in a master's pin directory.
pub enum Found {
    /// A whole data path.
    Whole(Box<Bpf>),
    /// Something that is of no use, and why.
    Broken(String),
    /// Nothing.
    Nothing,
}

impl Bpf {
    /// The data path of `master`, as earlier commands left it.
    pub async fn find(netlink: &Netlink, master: &Master) -> Found {
        let directory = directory(master);
        match fs::exists(&directory) {
            Ok(true) => {}
            Ok(false) => return Self::find_unnamed(netlink, master).await,
            Err(error) => return Found::Broken(format!("cannot read {directory:?}: {error}")),
        }
        match Self::open(netlink, master, directory).await {
            Ok(bpf) => Found::Whole(Box::new(bpf)),
            Err(error) => Found::Broken(format!("{error:#}")),
        }
    }

    /// Looks for what is on `master` though nothing is pinned under its key.
    async fn find_unnamed(netlink: &Netlink, master: &Master) -> Found {
        let name = &master.name;
        if let Some(moved) = moved::find(netlink, master).await {
            let reason = format!(
                "it came from another network namespace with the programs on: macvlan-ctl attach {name} takes \
                 them over, macvlan-ctl detach {name} takes them off"
            );
            return match Self::open(netlink, master, moved).await {
                Ok(mut bpf) => {
                    let degraded = Degraded::new("pins", "this namespace", "another namespace", reason);
                    bpf.on_master.degraded.push(degraded);
                    match bpf.describe_anew() {
                        Ok(()) => Found::Whole(Box::new(bpf)),
                        Err(error) => Found::Broken(format!("{error:#}")),
                    }
                }
                Err(error) => Found::Broken(format!("{error:#}; {reason}")),
            };
        }
        let is_stray = |there: OnDevice| !strays::of(&there).is_empty();
        if OnDevice::read(netlink, master.index).await.is_ok_and(is_stray) {
            return Found::Broken(format!(
                "our programs are on {name:?}, but nothing is pinned: the BPF file system was unmounted, or they \
                 are of another mount namespace; macvlan-ctl attach {name} replaces them"
            ));
        }
        Found::Nothing
    }

    async fn open(netlink: &Netlink, master: &Master, directory: PathBuf) -> Result<Self> {
        // Before anything else is read: a layout that is not ours says nothing to us.
        let text = tables::read_record(&directory)?;
        if let Some(reason) = foreign_layout(&text, &master.name) {
            return Err(anyhow!(reason));
        }
        let record = Record::from_text(&text)?;
        let maps = Maps::open(&directory)?;
        let degraded = pinned::verify(netlink, &directory, master, &record).await?;
        let mut on_master = OnMaster::of(master, degraded);
        let config = maps.read_config()?;
        on_master.degraded.extend(isolation::missed(&config, &directory, on_master.lower, &master.name));
        let members = maps.members()?;
        let description = describe(&record, &maps, &members.policies, &directory, &on_master)?;
        let netlink = netlink.clone();
        Ok(Self {
            directory,
            maps,
            record,
            members,
            description,
            netlink,
            renewed: false,
            is_new_to_wire: false,
            on_master,
            totals: BTreeMap::new(),
        })
    }

    /// Makes it know one child more, with its policy and its rates, or less without these.
    ///
    /// # Errors
    ///
    /// There is no room for another child, or a map cannot be written.
    pub fn sync_one(
        &mut self,
        master: &Master,
        mac: Mac,
        member: Option<(Policy, RateLimits)>,
        groups: Groups,
    ) -> Result<()> {
        if let Some((policy, _)) = member {
            let options = self.record.options;
            self.prepare_ingress(master, &options, self.record.single, &[(mac, policy)].into())?;
        }
        self.maps.sync_one(master, mac, member, groups)?;
        if self.record.single && member.is_none() {
            HolderTable::open(&self.directory)?.forget(mac)?;
        }
        let members = self.maps.members()?;
        self.now_holds(members)
    }

    /// Remembers that the maps hold these children.
    ///
    /// # Errors
    ///
    /// The configuration map cannot be read.
    pub(crate) fn now_holds(&mut self, members: Members) -> Result<()> {
        self.members = members;
        self.describe_anew()
    }

    /// Says what is in place after a change.
    ///
    /// # Errors
    ///
    /// The configuration map cannot be read.
    pub(crate) fn describe_anew(&mut self) -> Result<()> {
        self.description =
            describe(&self.record, &self.maps, &self.members.policies, &self.directory, &self.on_master)?;
        Ok(())
    }

    /// Whether children that we made are marked, as far as it knows them: by versions that mark them.
    pub fn marks_children(&self) -> bool {
        self.record.marks
    }

    /// They are by now.
    ///
    /// # Errors
    ///
    /// The record cannot be written.
    pub fn now_marks_children(&mut self) -> Result<()> {
        self.record.marks = true;
        self.maps.write_record(&self.record.to_text()?)
    }

    /// How many children fit.
    pub fn max_children(&self) -> u32 {
        self.maps.max_children()
    }

    /// Whether a child with this MAC was there, and went.
    ///
    /// # Errors
    ///
    /// The map cannot be read.
    pub fn knew(&self, mac: Mac) -> Result<bool> {
        self.maps.knew(mac)
    }

    /// Whether a trace was killed and left its programs: attaching again puts the others back.
    pub fn is_traced_in_vain(&self) -> bool {
        self.record.is_traced() && !self.is_being_traced()
    }

    /// What was asked for of it.
    pub fn options(&self) -> OptionValues {
        self.record.options
    }

    /// Says who has which address on `master`; what children and host say besides is kept while it
    /// is fresh.
    ///
    /// # Errors
    ///
    /// The neighbour table cannot be written.
    pub fn set_owners(&mut self, master: &Master, told: &ToldAddresses) -> Result<()> {
        if !self.record.options.directed_neigh {
            return self.maps.set_owners(&ToldAddresses::new(), &BTreeSet::new());
        }
        let mut speakers: BTreeSet<Mac> = self.members.policies.keys().copied().collect();
        speakers.insert(master.mac);
        self.maps.set_owners(told, &speakers)
    }

    /// Reads what the devices of these children count of themselves, where no program of ours sees all of it.
    ///
    /// # Errors
    ///
    /// Those of this namespace cannot be read.
    pub async fn look_at_devices(&mut self, children: &[&Child]) -> Result<()> {
        if self.record.lean {
            self.totals = totals(&self.netlink, children).await?;
        }
        Ok(())
    }

    /// What the children's devices counted of themselves, as far as it was [read](Self::look_at_devices).
    pub fn totals(&self) -> &BTreeMap<DeviceKey, Totals> {
        &self.totals
    }

    /// Where maps, programs and links are pinned.
    pub fn pins(&self) -> &Path {
        &self.directory
    }
}

/// What is less where settings cannot be kept for all children that are gone.
pub const KEPT: &str = "kept settings";

/// Says what is forgotten for want of room.
fn kept_no_more(lost: &[String]) -> Option<Degraded> {
    let reason = format!(
        "no room to keep the settings of {} that are gone: {}; should they come back, set them again",
        lost.len(),
        lost.join(", ")
    );
    (!lost.is_empty()).then(|| Degraded::new(KEPT, "all", "the latest", reason))
}

/// Whether something of ours is pinned for `master`.
pub fn is_pinned(master: &Master) -> bool {
    fs::exists(directory(master)).unwrap_or(false)
}

/// What was asked for of the data path that is pinned for `master`, be it broken.
pub fn recorded_options(master: &Master) -> Option<OptionValues> {
    let record = tables::read_record(&directory(master)).and_then(|text| Record::from_text(&text)).ok()?;
    (record.netns_inode == master.netns.id().inode()).then_some(record.options)
}

/// How many children fit the maps that are pinned for `master`, be its data path broken.
pub fn recorded_max_children(master: &Master) -> Option<u32> {
    Maps::open(&directory(master)).ok().map(|maps| maps.max_children())
}

/// Why the data path that is pinned for `master` is not for this version to touch, where another
/// one has made it with maps of another layout.
pub fn incompatible(master: &Master) -> Option<String> {
    foreign_layout(&tables::read_record(&directory(master)).ok()?, &master.name)
}

fn foreign_layout(record: &str, name: &str) -> Option<String> {
    let record = Lasting::from_text(record).ok()?;
    let reason = format!(
        "its data path is of another version of macvlan-ctl (map layout {}, ours is {ABI_VERSION}) and goes on \
         working; to replace it, with counters and host access anew, first run: macvlan-ctl detach {name}",
        record.abi
    );
    (!record.is_compatible()).then_some(reason)
}

/// Ids of the programs of ours for `master`: what tells them from others of the same name.
pub async fn program_ids(netlink: &Netlink, master: &Master) -> Vec<u32> {
    let mut programs = pinned::program_ids(&directory(master));
    if let Some(moved) = moved::find(netlink, master).await {
        programs.extend(pinned::program_ids(&moved));
    }
    if let Ok(there) = OnDevice::read(netlink, master.index).await {
        programs.extend(strays::of(&there));
    }
    programs
}

impl Datapath for Bpf {
    fn description(&self) -> &Description {
        &self.description
    }

    fn members(&self) -> &Members {
        &self.members
    }

    fn sync(&mut self, master: &Master, members: &Members) -> Result<()> {
        let options = self.record.options;
        self.prepare_ingress(master, &options, self.record.single, &members.policies)?;
        self.maps.set_guard(guard_flags(&self.record, &members.policies))?;
        // Under the MAC that the master had, host and children are strangers to the wire.
        self.is_new_to_wire |= self.record.single && self.maps.master()? != master.mac;
        let lost = self.maps.sync(master, members)?;
        self.on_master.degraded.extend(kept_no_more(&lost));
        self.now_holds(members.clone())
    }

    fn counters(&self) -> Result<Counters> {
        Ok(Counters { totals: self.totals.clone(), ..self.maps.counters()? })
    }

    fn held(&self) -> Result<Vec<Held>> {
        if self.record.single { HolderTable::open(&self.directory)?.held() } else { Ok(Vec::new()) }
    }

    fn detach<'a>(&'a mut self, master: &'a Master) -> LocalBoxFuture<'a, Result<()>> {
        Box::pin(self.remove(master))
    }
}
