//! The committed BPF programs, loaded by themselves and run on one frame at a time.

use std::{fs, path::PathBuf, thread, time::Duration};

use aya::{
    Ebpf, TestRun as _, TestRunOptions,
    maps::{Array, HashMap, MapData, MapError, PerCpuArray, PerCpuHashMap, PerCpuValues},
    programs::{ProgramError, SchedClassifier, TestRunAttrs, TestRunResult, Xdp},
    util::nr_cpus,
};
use macvlan_common::{
    cases::World,
    child::{ChildEntry, Policy},
    config::Config,
    counters::{ChildCounters, MasterCounters, SlotCounters},
    filter,
    index::{self, Bucket},
    inspect::OwnAddress,
    l3::Address,
    mac::Mac,
    names,
    presence::Presence,
    rate::Meters,
    sending::Sending,
};

use crate::{
    cli::workspace,
    contexts::{META_ROOM, SK_BUFF_LEN, XDP_DATA, XDP_DATA_END, XDP_INGRESS_IFINDEX, XDP_MD_LEN, field, put},
    fail::OrFail as _,
    handwritten::has_xdp_frags,
};

pub use crate::contexts::{Skb, SkbRun, XdpRun};

/// The object under test: `MACVLAN_BPF_OBJECT`, or the committed one.
pub fn object() -> PathBuf {
    let committed = || workspace().join("macvlan-core/bpf/macvlan.bpfel.o");
    std::env::var_os("MACVLAN_BPF_OBJECT").map_or_else(committed, PathBuf::from)
}

/// Every counter of a world, summed over the CPUs; children in the world's order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Counters {
    /// By index in the world.
    pub children: Vec<ChildCounters>,
    /// The master's.
    pub totals: MasterCounters,
}

/// The programs in the kernel, with maps of their own.
pub struct Programs {
    /// Programs, and whatever they are attached to.
    pub ebpf: Ebpf,
    config: Array<MapData, Config>,
    children: PerCpuHashMap<MapData, u64, ChildEntry>,
    policy: Array<MapData, Policy>,
    presence: Array<MapData, Presence>,
    filter: Array<MapData, u64>,
    index: Array<MapData, Bucket>,
    by_slot: PerCpuArray<MapData, SlotCounters>,
    totals: PerCpuArray<MapData, MasterCounters>,
    meters: HashMap<MapData, u32, Meters>,
    own: HashMap<MapData, OwnAddress, u32>,
    sending: PerCpuArray<MapData, Sending>,
    xdp: Vec<&'static str>,
    present: Vec<u64>,
}

impl Programs {
    /// Loads the object and every program in it.
    #[track_caller]
    pub fn load() -> Self {
        let path = object();
        let bytes = fs::read(&path).or_fail(format!("read {}", path.display()));
        let mut ebpf = Ebpf::load(&bytes).or_fail("load the BPF object");
        let mut xdp = vec![names::XDP];
        xdp.extend(has_xdp_frags().then_some(names::XDP_FRAGS));
        for name in &xdp {
            xdp_mut(&mut ebpf, name).load().or_fail(format!("load {name}"));
        }
        for name in [names::INGRESS, names::EGRESS, names::SINGLE_INGRESS, names::SINGLE_EGRESS] {
            tc_mut(&mut ebpf, name).load().or_fail(format!("load {name}"));
        }
        let mut map = |name: &str| ebpf.take_map(name).or_fail(format!("find map {name}"));
        Self {
            config: map(names::CONFIG).try_into().or_fail("open the settings"),
            children: map(names::CHILDREN).try_into().or_fail("open the children"),
            policy: map(names::POLICY).try_into().or_fail("open the policies"),
            presence: map(names::PRESENCE).try_into().or_fail("open the presences"),
            filter: map(names::FILTER).try_into().or_fail("open the filter"),
            index: map(names::INDEX).try_into().or_fail("open the index"),
            by_slot: map(names::SLOT_COUNTERS).try_into().or_fail("open the counts by slot"),
            meters: map(names::METERS).try_into().or_fail("open the rates"),
            totals: map(names::TOTALS).try_into().or_fail("open the totals"),
            sending: map(names::SENDING).try_into().or_fail("open what the driver says"),
            own: map(names::OWN).try_into().or_fail("open the children's addresses"),
            ebpf,
            xdp,
            present: Vec::new(),
        }
    }

    /// The XDP programs that this kernel has.
    pub fn xdp_names(&self) -> &[&'static str] {
        &self.xdp
    }

    /// Makes the maps hold `world`, all its counters at zero.
    #[track_caller]
    pub fn set_world(&mut self, world: &World) {
        for key in std::mem::take(&mut self.present) {
            let (word, _) = filter::position(key);
            self.filter.set(word, 0, 0).or_fail("clear a filter word");
            self.index.set(index::bucket_of(key), [0; index::ENTRIES], 0).or_fail("clear a bucket");
            self.children.remove(&key).or_fail("remove a child");
        }
        let cpus = cpus();
        for (slot, child) in world.children.iter().enumerate() {
            let (key, slot) = (child.mac.key(), slot as u32);
            self.policy.set(slot, child.policy, 0).or_fail("set a policy");
            let entry = ChildEntry { slot, ..ChildEntry::default() };
            self.insert_child(key, vec![entry; cpus]);
            self.presence.set(slot, child.presence, 0).or_fail("set a presence");
            let (word, _) = filter::position(key);
            self.filter.set(word, world.filter()[word as usize], 0).or_fail("set a filter word");
            let bucket = index::bucket_of(key);
            self.index.set(bucket, world.buckets()[bucket as usize], 0).or_fail("set a bucket");
            let zero = PerCpuValues::try_from(vec![SlotCounters::default(); cpus]).or_fail("make counts");
            self.by_slot.set(slot, zero, 0).or_fail("clear a count");
            self.present.push(key);
        }
        let zero = PerCpuValues::try_from(vec![MasterCounters::default(); cpus]).or_fail("make totals");
        self.totals.set(0, zero, 0).or_fail("clear the totals");
        self.config.set(0, world.config, 0).or_fail("set the settings");
    }

    /// Says that a macvlan of the master sends, or that none does, as the programs on the driver do.
    #[track_caller]
    pub fn set_sending(&mut self, now: bool) {
        let sending = Sending { now: now.into(), lower: 0 };
        let all = PerCpuValues::try_from(vec![sending; cpus()]).or_fail("make what the driver says");
        self.sending.set(0, all, 0).or_fail("set what the driver says");
    }

    /// The kernel has few elements ready for a hash that is not filled beforehand, and is out of memory until it
    /// has made more (`unit_alloc` in kernel/bpf/memalloc.c).
    fn insert_child(&mut self, key: u64, entries: Vec<ChildEntry>) {
        for _ in 0..1000 {
            let entries = PerCpuValues::try_from(entries.clone()).or_fail("make a child's entries");
            match self.children.insert(key, entries, 0) {
                Err(MapError::SyscallError(error)) if error.io_error.raw_os_error() == Some(libc::ENOMEM) => {
                    thread::sleep(Duration::from_millis(1));
                }
                other => return other.or_fail("add a child"),
            }
        }
        panic!("the kernel has had no memory for a child for a second");
    }

    /// Where the children are, in the world's order.
    #[track_caller]
    pub fn presences(&self) -> Vec<Presence> {
        let slots = 0..self.present.len() as u32;
        slots.map(|slot| self.presence.get(&slot, 0).or_fail("read a presence")).collect()
    }

    /// Gives the child at this slot these rates, with nothing used of them.
    #[track_caller]
    pub fn set_meters(&mut self, slot: u32, meters: &Meters) {
        self.meters.insert(slot, meters, 0).or_fail("set the rates of a child");
    }

    /// Makes these the addresses of the child with this MAC, held to them or not.
    #[track_caller]
    pub fn set_own(&mut self, mac: Mac, addresses: &[Address]) {
        for address in addresses {
            let own = OwnAddress { address: *address, mac: mac.key() };
            self.own.insert(own, 1, 0).or_fail("set an address");
        }
    }

    /// What the counters hold now.
    #[track_caller]
    pub fn counters(&self) -> Counters {
        let children = (0..).zip(&self.present).map(|(slot, key)| {
            let entries = self.children.get(key, 0).or_fail("read a child");
            let mut sum = ChildCounters::default();
            entries.iter().for_each(|entry| sum.add(&entry.counters));
            let shares = self.by_slot.get(&slot, 0).or_fail("read a count");
            shares.iter().for_each(|share| share.add_to(&mut sum));
            sum
        });
        let mut totals = MasterCounters::default();
        self.totals.get(&0, 0).or_fail("read the totals").iter().for_each(|share| totals.add(share));
        Counters { children: children.collect(), totals }
    }

    /// Runs an XDP program on one frame, of which the first buffer holds `linear` bytes.
    #[track_caller]
    pub fn run_xdp(&self, name: &str, frame: &[u8], linear: usize) -> XdpRun {
        let mut context = [0; XDP_MD_LEN];
        put(&mut context, XDP_DATA_END, linear as u32);
        let mut context_out = [0; XDP_MD_LEN];
        let mut data_out = vec![0; META_ROOM + frame.len()];
        let options = TestRunOptions {
            data_in: Some(frame),
            data_out: Some(&mut data_out),
            ctx_in: Some(&context),
            ctx_out: Some(&mut context_out),
            ..TestRunOptions::new()
        };
        let result = xdp(&self.ebpf, name).test_run(options).or_fail(format!("run {name}"));
        data_out.truncate(result.data_size_out as usize);
        let frame = data_out.split_off(field(&context_out, XDP_DATA) as usize);
        XdpRun { action: result.return_value, meta: data_out, frame }
    }

    /// Runs an XDP program on one frame and lets the kernel do what it says, as if the frame had
    /// come in by the device with index `ifindex`, in the namespace of the calling thread.
    ///
    /// # Errors
    ///
    /// What the kernel says.
    pub fn inject_through_xdp(&self, name: &str, ifindex: u32, frame: &[u8]) -> Result<(), ProgramError> {
        let mut context = [0; XDP_MD_LEN];
        put(&mut context, XDP_DATA_END, frame.len() as u32);
        put(&mut context, XDP_INGRESS_IFINDEX, ifindex);
        let options = TestRunOptions {
            data_in: Some(frame),
            ctx_in: Some(&context),
            attrs: TestRunAttrs::new().xdp_live_frames(1),
            ..TestRunOptions::new()
        };
        xdp(&self.ebpf, name).test_run(options).map(drop)
    }

    /// Mean time of a program on one frame, run so many times.
    #[track_caller]
    pub fn time(&self, name: &str, frame: &[u8], times: u32) -> Duration {
        let options = TestRunOptions { data_in: Some(frame), repeat: times, ..TestRunOptions::new() };
        let result = match name {
            names::XDP | names::XDP_FRAGS => xdp(&self.ebpf, name).test_run(options),
            _ => tc(&self.ebpf, name).test_run(options),
        };
        result.or_fail(format!("run {name}")).duration
    }

    /// Runs a TC program on one frame, in the namespace of the calling thread.
    ///
    /// # Errors
    ///
    /// What the kernel says.
    pub fn run_tc(&self, name: &str, skb: &Skb<'_>) -> Result<SkbRun, ProgramError> {
        let context = skb.context();
        let mut context_out = [0; SK_BUFF_LEN];
        let mut data_out = vec![0; skb.frame.len()];
        let options = TestRunOptions {
            data_in: Some(skb.frame),
            data_out: Some(&mut data_out),
            ctx_in: Some(&context),
            ctx_out: Some(&mut context_out),
            ..TestRunOptions::new()
        };
        let TestRunResult { return_value, data_size_out, .. } = tc(&self.ebpf, name).test_run(options)?;
        data_out.truncate(data_size_out as usize);
        Ok(SkbRun::of(return_value, &context_out, data_out))
    }
}

/// The XDP program of this name.
#[track_caller]
pub fn xdp_mut<'a>(ebpf: &'a mut Ebpf, name: &str) -> &'a mut Xdp {
    let program = ebpf.program_mut(name).or_fail(format!("find program {name}"));
    program.try_into().or_fail(format!("take {name} as an XDP program"))
}

/// The TC program of this name.
#[track_caller]
pub fn tc_mut<'a>(ebpf: &'a mut Ebpf, name: &str) -> &'a mut SchedClassifier {
    let program = ebpf.program_mut(name).or_fail(format!("find program {name}"));
    program.try_into().or_fail(format!("take {name} as a TC program"))
}

#[track_caller]
fn xdp<'a>(ebpf: &'a Ebpf, name: &str) -> &'a Xdp {
    let program = ebpf.program(name).or_fail(format!("find program {name}"));
    program.try_into().or_fail(format!("take {name} as an XDP program"))
}

#[track_caller]
fn tc<'a>(ebpf: &'a Ebpf, name: &str) -> &'a SchedClassifier {
    let program = ebpf.program(name).or_fail(format!("find program {name}"));
    program.try_into().or_fail(format!("take {name} as a TC program"))
}

fn cpus() -> usize {
    nr_cpus().unwrap_or_else(|(path, error)| panic!("cannot read {path}: {error}"))
}
