//! The BPF data path: programs, maps and links of one master, pinned in one directory.
//!
//! Attach builds everything in a directory of another name and renames it when all is in place;
//! detach renames it away first. So a directory under its own name is whole, and whatever bears
//! another name was left by a run that was killed, and is removed by the next one.

pub mod features;
mod hooks;
mod link;
mod maps;
mod meters;
mod object;
mod own;
mod owners;
mod reader;
mod record;
mod retired;
mod trace;
mod vouching;

use std::{
    collections::{BTreeMap, BTreeSet},
    fs, io,
    net::IpAddr,
    num::NonZeroU32,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, anyhow};
use aya::{Ebpf, EbpfLoader};
use futures_util::future::LocalBoxFuture;
use macvlan_common::{
    ABI_VERSION,
    child::{Mode, Policy},
    config::Config as Flags,
    limit::MOST_FRAMES,
    mac::Mac,
    names,
};

pub use self::maps::sum;
pub use self::reader::{ProgramRuns, Reader, Usage};
pub use self::trace::{TraceWatch, Traced, Tracing};
use self::{
    hooks::Hooks,
    maps::Maps,
    object::{allow_memory, object},
    record::{Lasting, Record},
};
use super::{
    Carrier, Counters, Datapath, Degraded, Demux, Description, Hairpin,
    choose::{DropUnknown, TcChoice, XdpChoice, XdpPlan, plan_xdp},
};
use crate::{
    bpffs,
    bpffs::Lifetime,
    crash,
    master::{Master, MasterKey},
    model::Child,
    neighbours::Own,
    netlink::Netlink,
    netns::{held_open, known},
    policy::Groups,
    rate_limit::RateLimits,
    session::Members,
};

/// Children that fit unless told otherwise.
pub const DEFAULT_MAX_CHILDREN: u32 = 4096;

/// Most children that may be asked for.
pub const MOST_CHILDREN: u32 = 1_048_576;

/// The limit of storms that a person asks for.
///
/// # Errors
///
/// When it would let nothing through, or is more than can be counted.
pub fn storm_limit(per_second: u32) -> Result<NonZeroU32> {
    let limit = NonZeroU32::new(per_second).filter(|limit| limit.get() <= MOST_FRAMES);
    limit.ok_or_else(|| {
        anyhow!(
            "a storm limit is 1 to {MOST_FRAMES} frames per second, not {per_second}; for none, leave it out"
        )
    })
}

/// What an attach may be told; `None` means "as it is" or, where nothing is, the default.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Options {
    /// Where to demultiplex.
    pub xdp: Option<XdpChoice>,
    /// How to attach to TC.
    pub tc: Option<TcChoice>,
    /// Leave children of others alone.
    pub no_adopt: bool,
    /// Let requests for a known address go to all, as those for unknown ones do.
    pub no_directed_neigh: bool,
    /// How many broadcast and multicast frames a second may come from the wire, and as many from each
    /// child; `None` is no limit.
    pub storm_limit: Option<NonZeroU32>,
    /// How many children fit.
    pub max_children: Option<u32>,
    /// What becomes of unicast from the wire to nobody here.
    pub drop_unknown: Option<DropUnknown>,
    /// Whether the switch sends frames back out of the port they came in by.
    pub vepa_switch: Option<bool>,
}

/// The programs on one master.
pub struct Bpf {
    directory: PathBuf,
    maps: Maps,
    record: Record,
    description: Description,
    netlink: Netlink,
    /// The programs were brought to this version; those on children's own devices are to be, too.
    renewed: bool,
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
            Ok(false) => return Found::Nothing,
            Err(error) => return Found::Broken(format!("cannot read {directory:?}: {error}")),
        }
        match Self::open(netlink, master, directory).await {
            Ok(bpf) => Found::Whole(Box::new(bpf)),
            Err(error) => Found::Broken(format!("{error:#}")),
        }
    }

    async fn open(netlink: &Netlink, master: &Master, directory: PathBuf) -> Result<Self> {
        // Before anything else is read: a layout that is not ours says nothing to us.
        if let Some(reason) = foreign_layout(&directory, &master.name) {
            return Err(anyhow!(reason));
        }
        let record = Record::from_text(&maps::read_record(&directory)?)?;
        let maps = Maps::open(&directory)?;
        hooks::verify(netlink, &directory, master, &record).await?;
        let description = describe(&record, &maps, &directory)?;
        Ok(Self { directory, maps, record, description, netlink: netlink.clone(), renewed: false })
    }

    /// Puts the programs on `master`, with these children.
    ///
    /// # Errors
    ///
    /// When the machine cannot do it; nothing is left then.
    pub async fn install(
        netlink: &Netlink,
        master: &Master,
        options: &Options,
        members: &Members,
    ) -> Result<Self> {
        let (root, lifetime) = bpffs::prepare()?;
        let building = root.join(format!("{}{BUILDING}", master.key));
        bpffs::remove_directory(&building)?;
        fs::create_dir_all(&building).with_context(|| format!("cannot make {building:?}"))?;
        crash::point("making a pin directory");
        let built = Self::build(netlink, master, options, members, &building, &lifetime).await;
        match built {
            Ok((maps, record)) => {
                let directory = directory(master);
                fs::rename(&building, &directory).with_context(|| format!("cannot rename {building:?}"))?;
                crash::point("naming a pin directory whole");
                let description = describe(&record, &maps, &directory)?;
                Ok(Self { directory, maps, record, description, netlink: netlink.clone(), renewed: false })
            }
            Err(error) => {
                take_off(netlink, master, &building).await?;
                bpffs::remove_root();
                Err(error)
            }
        }
    }

    async fn build(
        netlink: &Netlink,
        master: &Master,
        options: &Options,
        members: &Members,
        building: &Path,
        lifetime: &Lifetime,
    ) -> Result<(Maps, Record)> {
        let max_children = options.max_children.unwrap_or(DEFAULT_MAX_CHILDREN);
        let mut object = load_object(building, Some(max_children))?;
        crash::point("pinning the maps");
        let mut maps = Maps::open(building)?;
        maps.draw_secrets()?;
        maps.set_directs(!options.no_directed_neigh)?;
        maps.set_storm_limit(options.storm_limit)?;
        let mut record = Record {
            abi: ABI_VERSION,
            object: record::object_digest(),
            xdp: options.xdp.unwrap_or_default(),
            tc: options.tc.unwrap_or_default(),
            adopts: !options.no_adopt,
            drop_unknown: options.drop_unknown.unwrap_or_default(),
            vepa_switch: options.vepa_switch.unwrap_or_default(),
            directs: !options.no_directed_neigh,
            storm_limit: options.storm_limit,
            demux: Demux::Tc,
            hairpin: Hairpin::Off,
            owns_clsact: false,
            netns_inode: master.netns.id().inode(),
            degraded: Vec::new(),
        };
        maps.set_guard(guard_flags(&record, &members.policies))?;
        maps.sync(master, members)?;
        let mut hooks = Hooks::load(&mut object, building)?;
        let (hairpin, reason) = hooks
            .attach_tc(netlink, master, record.tc, |owns_clsact| {
                record.owns_clsact = owns_clsact;
                if owns_clsact {
                    mark_clsact(building)?;
                }
                maps.write_record(&record.to_text()?)
            })
            .await?;
        record.hairpin = hairpin;
        record.degraded.extend(reason);
        let (demux, reason) = hooks.attach_xdp(master, record.xdp, &mut maps)?;
        record.demux = demux;
        record.degraded.extend(reason);
        if *lifetime == Lifetime::MountNamespace {
            record.degraded.push(Degraded::new(
                "pins",
                "machine",
                "mount namespace",
                "the BPF file system had to be mounted in a mount namespace that ends with this session: \
                 so will the data path",
            ));
        }
        maps.write_record(&record.to_text()?)?;
        Ok((maps, record))
    }

    /// What [`update`](Self::update) would change, in words.
    ///
    /// # Errors
    ///
    /// When something cannot change in place.
    pub fn changes(&self, master: &Master, options: &Options) -> Result<Vec<String>> {
        if let Some(wanted) = options.max_children
            && wanted != self.maps.max_children()
        {
            return Err(anyhow!(
                "the maximum of {} children cannot be changed in place: detach first",
                self.maps.max_children()
            ));
        }
        let tc = match options.tc {
            None | Some(TcChoice::Auto) => self.record.hairpin,
            Some(TcChoice::Tcx) => Hairpin::Tcx,
            Some(TcChoice::Clsact) => Hairpin::Clsact,
        };
        if tc != self.record.hairpin && options.tc != Some(self.record.tc) {
            return Err(anyhow!(
                "the data path is attached by {} and cannot change to {} in place: detach first",
                self.record.hairpin.as_str(),
                tc.as_str()
            ));
        }
        let mut changes = Vec::new();
        let name = &master.name;
        if self.record.adopts == options.no_adopt {
            let verb =
                if options.no_adopt { "leave children of others alone" } else { "adopt children of others" };
            changes.push(format!("{verb} on {name:?}"));
        }
        if let Some(wanted) = options.drop_unknown.filter(|wanted| *wanted != self.record.drop_unknown) {
            changes.push(format!("set drop-unknown of {name:?} to {}", wanted.as_str()));
        }
        if let Some(wanted) = options.vepa_switch.filter(|wanted| *wanted != self.record.vepa_switch) {
            let verb = if wanted { "expect" } else { "expect no" };
            changes.push(format!("{verb} reflective switch behind {name:?}"));
        }
        if self.record.directs == options.no_directed_neigh {
            let whom = if options.no_directed_neigh { "everybody" } else { "its owner alone" };
            changes.push(format!("send requests for a known address on {name:?} to {whom}"));
        }
        if self.record.storm_limit != options.storm_limit {
            changes.push(match options.storm_limit {
                Some(limit) => format!("limit storms on {name:?} to {limit} frames per second"),
                None => format!("lift the limit of storms on {name:?}"),
            });
        }
        // What was asked for before was tried before: whatever it came to stays.
        if let Some(xdp) = options.xdp.filter(|xdp| *xdp != self.record.xdp) {
            let (word, demux) = (xdp.as_str(), self.record.demux.as_str());
            changes.push(format!("set xdp of {name:?} to {word}; the demultiplexer is {demux} now"));
        }
        if !self.record.is_current() {
            changes.push(format!("bring the programs on {name:?} to this version"));
        }
        Ok(changes)
    }

    /// Brings an existing data path to these options, and its programs to this version. That they are of
    /// this version is on record once [`vouch`](Self::vouch) has renewed those on the children's devices.
    ///
    /// # Errors
    ///
    /// When the machine cannot do it.
    pub fn update(&mut self, master: &Master, options: &Options) -> Result<()> {
        self.changes(master, options)?;
        self.record.adopts = !options.no_adopt;
        self.record.directs = !options.no_directed_neigh;
        self.record.storm_limit = options.storm_limit;
        let xdp = options.xdp.unwrap_or(self.record.xdp);
        let demux = match plan_xdp(xdp, master.kind.as_deref()) {
            XdpPlan::Skip(_) => Demux::Tc,
            XdpPlan::Try(demux) => demux,
        };
        // A running trace puts the plain programs back itself.
        let is_current = self.record.is_current() || self.is_being_traced();
        if !is_current || self.record.demux != demux {
            let mut object = load_object(&self.directory, None)?;
            let mut hooks = Hooks::load_beside(&mut object, &self.directory, false)?;
            hooks.replace_tc(master, self.record.hairpin)?;
            if self.record.demux != demux || hooks.replace_xdp(demux).is_err() {
                hooks.detach_xdp(&mut self.maps)?;
                let (demux, reason) = hooks.attach_xdp(master, xdp, &mut self.maps)?;
                self.record.demux = demux;
                self.record.degraded.retain(|degraded| degraded.feature != "demux");
                self.record.degraded.extend(reason);
            }
            self.renewed = true;
        }
        self.record.xdp = xdp;
        self.record.drop_unknown = options.drop_unknown.unwrap_or(self.record.drop_unknown);
        self.record.vepa_switch = options.vepa_switch.unwrap_or(self.record.vepa_switch);
        self.maps.set_guard(guard_flags(&self.record, &self.maps.members()?))?;
        // A run that was killed on its way to another mode may have left the other flag.
        self.maps.set_demux(self.record.demux)?;
        self.maps.set_directs(self.record.directs)?;
        self.maps.set_storm_limit(self.record.storm_limit)?;
        self.maps.write_record(&self.record.to_text()?)?;
        self.description = describe(&self.record, &self.maps, &self.directory)?;
        Ok(())
    }

    /// Makes it know one child more, or less without a policy.
    ///
    /// # Errors
    ///
    /// When they are too many, or the kernel refuses.
    pub fn sync_one(
        &mut self,
        master: &Master,
        mac: Mac,
        policy: Option<Policy>,
        groups: Groups,
    ) -> Result<()> {
        self.maps.sync_one(master, mac, policy, groups)?;
        self.description = describe(&self.record, &self.maps, &self.directory)?;
        Ok(())
    }

    /// How many children fit.
    pub fn max_children(&self) -> u32 {
        self.maps.max_children()
    }

    /// Whether a trace was killed and left its programs: attaching again puts the others back.
    pub fn is_traced_in_vain(&self) -> bool {
        self.record.is_traced() && !self.is_being_traced()
    }

    /// What becomes of unicast from the wire to nobody here.
    pub fn drop_unknown(&self) -> DropUnknown {
        self.record.drop_unknown
    }

    /// Says who has which address on `master`; what children and host say besides is kept while it
    /// is fresh.
    ///
    /// # Errors
    ///
    /// When the kernel refuses.
    pub fn set_owners(&mut self, master: &Master, told: &BTreeMap<IpAddr, Mac>) -> Result<()> {
        if !self.record.directs {
            return self.maps.set_owners(&BTreeMap::new(), &BTreeSet::new());
        }
        let mut speakers: BTreeSet<Mac> = self.maps.members()?.into_keys().collect();
        speakers.insert(master.mac);
        self.maps.set_owners(told, &speakers)
    }

    /// Lets the devices of those members that want it vouch for their frames, and those of no others.
    /// What cannot be is in the [description](Datapath::description).
    ///
    /// # Errors
    ///
    /// When the kernel refuses to change pins or maps.
    pub async fn vouch(&mut self, children: &[&Child], members: &BTreeMap<Mac, Policy>) -> Result<()> {
        let vouching = vouching::put(&self.netlink, &self.directory, children, members, self.renewed);
        let vouching = vouching.await?;
        self.maps.set_vouched(&vouching.by)?;
        vouching::take_off_others(&self.directory, children, members, &vouching.by)?;
        let before = self.record.clone();
        // Only now are all programs of this version: a run that is killed before leaves it to the next.
        if std::mem::take(&mut self.renewed) {
            self.record.object = record::object_digest();
        }
        self.record.degraded.retain(|degraded| degraded.feature != VOUCHING);
        if let Some((child, why)) = vouching.not.first() {
            let others = vouching.not.len() - 1;
            let others = if others == 0 { String::new() } else { format!(" and {others} other children") };
            let reason = format!("{child}{others}: {why}");
            self.record.degraded.push(Degraded::new(VOUCHING, "device", "master", &reason));
        }
        if self.record != before {
            self.maps.write_record(&self.record.to_text()?)?;
        }
        self.description = describe(&self.record, &self.maps, &self.directory)?;
        Ok(())
    }

    /// The addresses of children held to theirs.
    ///
    /// # Errors
    ///
    /// When the kernel refuses to tell.
    pub fn own(&self) -> Result<Own> {
        self.maps.own()
    }

    /// Where maps, programs and links are pinned.
    pub fn pins(&self) -> &Path {
        &self.directory
    }

    /// Takes everything off the master.
    ///
    /// # Errors
    ///
    /// When a part cannot be removed; all others are.
    pub async fn remove(&mut self, master: &Master) -> Result<()> {
        let leaving = self.directory.with_file_name(format!("{}{LEAVING}", master.key));
        bpffs::remove_directory(&leaving)?;
        fs::rename(&self.directory, &leaving)
            .with_context(|| format!("cannot rename {:?}", self.directory))?;
        crash::point("naming a pin directory half");
        take_off(&self.netlink, master, &leaving).await?;
        bpffs::remove_root();
        Ok(())
    }
}

/// Whether something of ours is pinned for `master`.
pub fn is_pinned(master: &Master) -> bool {
    fs::exists(directory(master)).unwrap_or(false)
}

/// Why the data path that is pinned for `master` is not for this version to touch, where another
/// one has made it with maps of another layout.
pub fn incompatible(master: &Master) -> Option<String> {
    foreign_layout(&directory(master), &master.name)
}

fn foreign_layout(directory: &Path, name: &str) -> Option<String> {
    let record = maps::read_record(directory).and_then(|text| Lasting::from_text(&text)).ok()?;
    let reason = format!(
        "its data path is of another version of macvlan-ctl (map layout {}, ours is {ABI_VERSION}) and goes on \
         working; to replace it, with counters and host access anew, first run: macvlan-ctl detach {name}",
        record.abi
    );
    (!record.is_compatible()).then_some(reason)
}

/// Ids of the programs that are pinned for `master`: what tells ours from others of the same name.
pub fn program_ids(master: &Master) -> Vec<u32> {
    hooks::program_ids(&directory(master))
}

/// Removes what a killed run left of a data path, and a data path that is of no use.
///
/// # Errors
///
/// When something cannot be removed.
pub async fn clean_up(netlink: &Netlink, master: &Master, broken: bool) -> Result<()> {
    let mut names = vec![format!("{}{BUILDING}", master.key), format!("{}{LEAVING}", master.key)];
    if broken {
        names.push(master.key.to_string());
    }
    for name in names {
        let directory = bpffs::root().join(name);
        if fs::exists(&directory).unwrap_or(false) {
            take_off(netlink, master, &directory).await?;
        }
    }
    remove_orphans(netlink).await?;
    bpffs::remove_root();
    Ok(())
}

/// Takes off `master` what is pinned in a directory, whole or not, and removes the directory.
async fn take_off(netlink: &Netlink, master: &Master, directory: &Path) -> Result<()> {
    let record = maps::read_record(directory).and_then(|text| Lasting::from_text(&text));
    let is_marked = fs::symlink_metadata(directory.join(CLSACT_MARK)).is_ok();
    let owns_clsact = is_marked || record.is_ok_and(|record| record.owns_clsact);
    hooks::remove(netlink, master, directory, owns_clsact).await?;
    bpffs::remove_directory(directory)
}

/// Says that the clsact qdisc is ours to whoever cannot read the record, for bpf(2) is refused. The
/// BPF file system has no plain files, but links.
fn mark_clsact(directory: &Path) -> Result<()> {
    let mark = directory.join(CLSACT_MARK);
    symlink("ours", &mark).with_context(|| format!("cannot make {mark:?}"))
}

/// Removes pin directories of masters that are gone.
async fn remove_orphans(netlink: &Netlink) -> Result<()> {
    let entries = match fs::read_dir(bpffs::root()) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error).context("cannot read the pin directory"),
    };
    for entry in entries {
        let directory = entry?.path();
        if is_orphan(netlink, &directory).await {
            bpffs::remove_directory(&directory)?;
        }
    }
    Ok(())
}

/// Whether the master of a pin directory is gone. A link tells; where there is none (clsact), the
/// device is looked for or, in another namespace, that namespace.
async fn is_orphan(netlink: &Netlink, directory: &Path) -> bool {
    if hooks::lost_device(directory) {
        return true;
    }
    let Ok(record) = maps::read_record(directory).and_then(|text| Record::from_text(&text)) else {
        // A run that still works on it has not written its record yet.
        return false;
    };
    let name = directory.file_name().unwrap_or_default().to_string_lossy();
    let own_prefix = MasterKey::prefix().unwrap_or_default();
    match name.strip_prefix(&own_prefix).map(str::parse) {
        Some(Ok(index)) => netlink.link_by_index(index, None).await.is_ok_and(|link| link.is_none()),
        Some(Err(_)) => false,
        None => !known().into_iter().chain(held_open()).any(|netns| netns.id.inode() == record.netns_inode),
    }
}

/// How much of the programs the kernel judges in [`probe`]. The verifier takes its time for each.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Depth {
    /// The smallest one: for who installs all of them next, and hears then of what is refused.
    Shallow,
    /// Those without which there is no data path.
    Whole,
}

/// Whether this machine lets us have BPF at all; changes nothing.
///
/// # Errors
///
/// Why not.
pub fn probe(depth: Depth) -> Result<()> {
    bpffs::probe()?;
    let mut loader = EbpfLoader::new();
    loader.map_max_entries(trace::RING, 1);
    allow_memory();
    let mut object = loader.load(object()).map_err(|error| no_maps(&error))?;
    if depth == Depth::Shallow && Hooks::try_load(&mut object, &[names::CHILD_EGRESS]).is_ok() {
        return Ok(());
    }
    Hooks::try_load(&mut object, &[names::INGRESS, names::EGRESS])
}

/// What is less where a child's own device cannot vouch for its frames.
const VOUCHING: &str = "anti-spoof";

/// Appended to the name of a directory that is not whole. The BPF file system allows no dots.
const BUILDING: &str = "-building";
/// File name of the mark that the clsact qdisc is ours.
const CLSACT_MARK: &str = "clsact_ours";
const LEAVING: &str = "-leaving";

fn directory(master: &Master) -> PathBuf {
    bpffs::root().join(master.key.to_string())
}

/// Loads the object; its maps are made and pinned in `directory`, or found there.
fn load_object(directory: &Path, max_children: Option<u32>) -> Result<Ebpf> {
    let mut loader = loader(directory);
    // Only traced programs use the ring: one page, the kernel's least, is enough without.
    loader.map_max_entries(trace::RING, 1);
    if let Some(max_children) = max_children {
        loader.map_max_entries(names::CHILDREN, max_children);
        loader.map_max_entries(names::POLICY, max_children);
        loader.map_max_entries(names::RETIRED, max_children);
        loader.map_max_entries(names::METERS, max_children);
        // Beside the children's buckets, the wire's.
        loader.map_max_entries(names::STORM, max_children.saturating_add(1));
        loader.map_max_entries(names::OWNERS, owners::room_beside(max_children));
        loader.map_max_entries(names::OWN, owners::room_beside(max_children));
        loader.map_max_entries(names::PLACES, owners::room_beside(max_children));
    }
    allow_memory();
    loader.load(object()).map_err(|error| no_maps(&error))
}

/// Makes the lasting maps and pins them in `directory`, or finds them there.
fn loader<'a>(directory: &Path) -> EbpfLoader<'a> {
    let mut loader = EbpfLoader::new();
    for name in names::MAPS {
        loader.map_pin_path(name, directory.join(name));
    }
    loader
}

fn no_maps(error: &aya::EbpfError) -> anyhow::Error {
    anyhow!("cannot make the BPF maps: {}", flat(error))
}

/// An error and its causes on one line.
fn flat(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text = format!("{text}: {cause_text}");
        }
        source = cause.source();
    }
    let line = text.split('\n').next().unwrap_or_default();
    // "Operation not permitted (os error 1)" says the same without the number.
    match line.split_once(" (os error ") {
        Some((head, _)) => head.to_lowercase(),
        None => line.trim().to_owned(),
    }
}

fn describe(record: &Record, maps: &Maps, directory: &Path) -> Result<Description> {
    let mut description = Description {
        carrier: Carrier::Bpf,
        demux: record.demux,
        hairpin: record.hairpin,
        degraded: record.degraded.clone(),
        adopts: record.adopts,
        drop_unknown: record.drop_unknown,
        vepa_switch: record.vepa_switch,
        directs: record.directs && !maps.has_passthru()?,
        storm_limit: record.storm_limit,
    };
    if record.drop_unknown != DropUnknown::Off && needs_unknown(&maps.members()?) {
        description.degraded.push(Degraded::new(
            "drop-unknown",
            record.drop_unknown.as_str(),
            DropUnknown::Off.as_str(),
            "a child in mode source or passthru receives such frames",
        ));
    }
    let asks = |policy: &Policy| policy.asks_inspection() && policy.mode() == Mode::Passthru;
    if maps.members()?.values().any(asks) {
        description.degraded.push(Degraded::new(
            "guard",
            "anti-spoof ip, ra off or dhcp-server off",
            "off",
            "a passthru child bears the host's MAC: nobody can tell their frames apart",
        ));
    }
    description.degraded.extend(trace::degraded(record, directory));
    if maps.has_passthru()? && description.hairpin != Hairpin::Off {
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

/// The settings of the programs that do not follow from the children alone.
fn guard_flags(record: &Record, members: &BTreeMap<Mac, Policy>) -> u64 {
    let drops = record.drop_unknown != DropUnknown::Off && !needs_unknown(members);
    (if drops { Flags::DROP_UNKNOWN } else { 0 }) | if record.vepa_switch { Flags::VEPA_SWITCH } else { 0 }
}

/// Whether a child takes frames for MACs that are not its own.
fn needs_unknown(members: &BTreeMap<Mac, Policy>) -> bool {
    members.values().any(|policy| matches!(policy.mode(), Mode::Source | Mode::Passthru))
}

impl Datapath for Bpf {
    fn description(&self) -> &Description {
        &self.description
    }

    fn members(&self) -> Result<BTreeMap<Mac, Policy>> {
        self.maps.members()
    }

    fn groups(&self) -> Result<Groups> {
        self.maps.groups()
    }

    fn rates(&self) -> Result<BTreeMap<Mac, RateLimits>> {
        self.maps.rates()
    }

    fn sync(&mut self, master: &Master, members: &Members) -> Result<()> {
        self.maps.set_guard(guard_flags(&self.record, &members.policies))?;
        self.maps.sync(master, members)?;
        self.description = describe(&self.record, &self.maps, &self.directory)?;
        Ok(())
    }

    fn counters(&self) -> Result<Counters> {
        self.maps.counters()
    }

    fn detach<'a>(&'a mut self, master: &'a Master) -> LocalBoxFuture<'a, Result<()>> {
        Box::pin(self.remove(master))
    }
}
