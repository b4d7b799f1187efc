//! The command line.

use std::{
    net::{IpAddr, SocketAddr},
    num::NonZeroU32,
    path::PathBuf,
};

use clap::{Args, Parser, Subcommand};
use clap_complete::Shell;
use macvlan_bench::real::protocol::PORT;
use macvlan_common::child::AntiSpoof;
use macvlan_core::{
    discovery::access::Access,
    kernel::{ifname::IfName, netns::NetnsRef},
    model::options::{DropUnknown, MOST_CHILDREN, MissingChoice, Options, TcChoice, XdpChoice, storm_limit},
    policy::change::{PolicyChange, parse_anti_spoof},
};

use crate::keyword::keyword;

/// Lets a Linux host and its macvlan children talk, with BPF on the master.
#[derive(Debug, Parser)]
#[command(version, infer_subcommands = true, propagate_version = true, max_term_width = 100)]
#[command(
    after_help = "Exit status: 0 done, with a warning where less than asked for was possible; 1 failed; 2 usage."
)]
pub struct Cli {
    /// Work inside this network namespace: a name of "ip netns", a path or a process id.
    #[arg(short = 'n', long, global = true, value_name = "NETNS")]
    pub netns: Option<NetnsRef>,

    /// Print JSON.
    #[arg(short, long, global = true)]
    pub json: bool,

    /// Say what is done.
    #[arg(short, long, global = true)]
    pub verbose: bool,

    /// Print no warnings.
    #[arg(short, long, global = true, conflicts_with = "verbose")]
    pub quiet: bool,

    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Let the host and the macvlan children of a device talk; adopts every child already there.
    Attach(Attach),
    /// Take the data path off a device; children stay.
    Detach(Detach),
    /// Add, delete, change or list children of a device.
    #[command(subcommand)]
    Child(Child),
    /// Show what is in place on a device, or on all, and why not more.
    Status {
        /// The device; all with children or a data path if left out.
        master: Option<String>,
    },
    /// Show what was counted, by child, path and reason.
    Stats {
        /// The device; all with children or a data path if left out.
        master: Option<String>,
        /// Show rates per second, every so many seconds.
        #[arg(short, long, value_name = "SECONDS", value_parser = clap::value_parser!(u32).range(1..=86_400))]
        watch: Option<u32>,
    },
    /// Attach, then follow children and devices as they come and go.
    Run(Run),
    /// Bring this machine to what the configuration file says.
    Apply {
        /// Where the configuration is.
        #[arg(long, value_name = "FILE", default_value = DEFAULT_CONFIG)]
        config: PathBuf,
        /// How far to go.
        #[command(flatten)]
        extent: Extent,
    },
    /// Say whether `apply` would change anything: exit status 1 if so.
    Check {
        /// Where the configuration is.
        #[arg(long, value_name = "FILE", default_value = DEFAULT_CONFIG)]
        config: PathBuf,
    },
    /// Watch children and their rates on a terminal screen.
    Top {
        /// The device; all with children or a data path if left out.
        master: Option<String>,
        /// Seconds between two looks.
        #[arg(short, long, value_name = "SECONDS", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=3600))]
        interval: u32,
    },
    /// Print what happens to children and devices, as lines or lines of JSON.
    Monitor {
        /// The devices; all with children or a data path if left out.
        masters: Vec<String>,
    },
    /// Print what the data path does with frames.
    Trace(Trace),
    /// Say what decides how well it will work on this machine, or on a device.
    Doctor {
        /// The device.
        master: Option<String>,
    },
    /// Put the plugin macvlan-cni where container runtimes look for it, and a network beside it.
    InstallCni(InstallCni),
    /// Measure the data path beside everything else that connects containers, in a lab of its own.
    Bench(Bench),
    /// Write man pages or completions.
    #[command(subcommand, hide = true)]
    Generate(Generate),
    /// Show in a lab of its own what plain macvlan cannot do, and what attach makes of it.
    Demo,
}

impl Command {
    /// Whether there is nothing that it could do for an ordinary user.
    pub const fn needs_root(&self) -> bool {
        !matches!(self, Self::Doctor { .. } | Self::Generate(_) | Self::InstallCni(_))
    }
}

const SPEC_HELP: &str = "\
A CHILD is NAME[,KEY=VALUE]...:
  mode=bridge|vepa|private|passthru|source   bridge if left out
  kind=macvlan|macvtap                       macvlan if left out
  netns=NAME|PATH|PID                        namespace to make it in
  mac=aa:bb:cc:dd:ee:ff                      drawn by the kernel if left out
  mtu=N                                      the master's if left out
  ip=ADDRESS/PREFIX                          may be repeated
  gw=ADDRESS                                 default route; may be repeated
  bcqueuelen=N                               broadcast queue length
  host-access=on|off                         on if left out
  sibling-access=on|off                      on if left out
  group=NAME|none                            only siblings of the same group; none if left out
  new-group=NAME                             the same; no child need be in it yet
  anti-spoof=off|mac|ip                      off if left out; ip: its MAC and IP addresses
  vepa-reflect=switch|local                  who reflects in mode vepa; the switch if left out
  rate-rx=RATE|off, rate-tx=RATE|off         most it receives, sends: 100mbit, 50kpps, 1gbit+50kpps,
                                             10mbit/64k with a burst in octets; off if left out
  rate-scope=all|wire                        what rates are for: all, or only the wire
  ra=on|off                                  router advertisements and redirects; on if left out
  dhcp-server=on|off                         on if left out
  up, down                                   up if left out";

/// Let the host and the macvlan children of a device talk.
#[derive(Debug, Args)]
#[command(after_help = SPEC_HELP)]
pub struct Attach {
    /// The device: physical, VLAN, bond or bridge.
    pub master: String,

    /// Make this child, unless it is there; may be repeated.
    #[arg(long = "child", value_name = "CHILD")]
    pub children: Vec<String>,

    /// About the data path.
    #[command(flatten)]
    pub options: DatapathOptions,

    /// What to do where BPF cannot be had.
    #[command(flatten)]
    pub on_missing: OnMissing,

    /// How far to go.
    #[command(flatten)]
    pub extent: Extent,
}

/// How far a command goes.
#[derive(Debug, Args)]
pub struct Extent {
    /// Only say what would be done.
    #[arg(long)]
    pub dry_run: bool,
}

impl Extent {
    /// As the library takes it.
    pub const fn access(&self) -> Access {
        if self.dry_run { Access::Read } else { Access::Change }
    }
}

/// What to do where BPF cannot be had.
#[derive(Debug, Args)]
pub struct OnMissing {
    /// What to do where BPF cannot be had; as it is or, at first, plain if left out.
    #[arg(long, value_parser = keyword::<MissingChoice>(), value_name = "WHAT")]
    pub on_missing_bpf: Option<MissingChoice>,

    /// Same as --on-missing-bpf fail.
    #[arg(long, conflicts_with = "on_missing_bpf")]
    pub require_bpf: bool,
}

impl OnMissing {
    /// As the library takes it.
    pub fn to_choice(&self) -> Option<MissingChoice> {
        if self.require_bpf { Some(MissingChoice::Fail) } else { self.on_missing_bpf }
    }
}

/// Options of the data path.
#[derive(Debug, Args)]
pub struct DatapathOptions {
    /// Where to demultiplex frames from the wire; as it is or, at first, auto if left out.
    #[arg(long, value_parser = keyword::<XdpChoice>())]
    pub xdp: Option<XdpChoice>,

    /// How to attach to TC; as it is or, at first, auto if left out.
    #[arg(long, value_parser = keyword::<TcChoice>())]
    pub tc: Option<TcChoice>,

    /// Leave children that others made alone.
    #[arg(long)]
    pub no_adopt: bool,

    /// Let ARP requests and neighbour solicitations for a known address go to everybody, not to its
    /// owner alone.
    #[arg(long)]
    pub no_directed_neigh: bool,

    /// Drop broadcast and multicast beyond so many frames a second from the wire, and as many from
    /// each child; no limit if left out.
    #[arg(long, value_name = "PPS", value_parser = parse_storm_limit)]
    pub storm_limit: Option<NonZeroU32>,

    /// How many children fit; as it is or, at first, 4096 if left out.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=i64::from(MOST_CHILDREN)))]
    pub max_children: Option<u32>,

    /// Drop unicast from the wire to nobody here; refused while something else on the device needs
    /// it, unless forced.
    #[arg(long, value_parser = keyword::<DropUnknown>(), num_args = 0..=1, require_equals = true, default_missing_value = "on")]
    pub drop_unknown: Option<DropUnknown>,

    /// The switch sends frames back out of the port they came in by: they are no forgeries.
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub vepa_switch: Option<bool>,
}

impl DatapathOptions {
    /// As the library takes them.
    pub fn to_options(&self) -> Options {
        Options {
            xdp: self.xdp,
            tc: self.tc,
            no_adopt: self.no_adopt,
            no_directed_neigh: self.no_directed_neigh,
            storm_limit: self.storm_limit,
            max_children: self.max_children,
            drop_unknown: self.drop_unknown,
            vepa_switch: self.vepa_switch,
        }
    }
}

fn parse_storm_limit(text: &str) -> Result<NonZeroU32, String> {
    let number = text.parse().map_err(|_| "it is no number of frames per second".to_owned())?;
    storm_limit(number).map_err(|error| error.to_string())
}

/// Where the configuration is unless told otherwise.
pub const DEFAULT_CONFIG: &str = "/etc/macvlan-ctl/config.toml";

/// Attach, then follow.
#[derive(Debug, Args)]
pub struct Run {
    /// The devices; those of the configuration if left out.
    pub masters: Vec<String>,

    /// Where the configuration is; it need not exist when devices are named.
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,

    /// About the data path of the named devices.
    #[command(flatten)]
    pub options: DatapathOptions,

    /// What to do where BPF cannot be had.
    #[command(flatten)]
    pub on_missing: OnMissing,

    /// Serve Prometheus metrics here.
    #[arg(long, value_name = "ADDRESS:PORT", num_args = 0..=1, default_missing_value = "127.0.0.1:9099")]
    pub metrics: Option<SocketAddr>,

    /// Take the data path off when stopped.
    #[arg(long)]
    pub detach_on_exit: bool,
}

/// Print what the data path does with frames.
#[derive(Debug, Args)]
pub struct Trace {
    /// The device.
    pub master: String,

    /// Only frames from or to this child: its name or MAC.
    #[arg(long, value_name = "CHILD")]
    pub child: Option<String>,

    /// One frame in so many, on each CPU.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    pub sample: u32,

    /// Stop after so many frames.
    #[arg(short, long, value_name = "N")]
    pub count: Option<u64>,

    /// Write frames that are dropped or turned around into this new file, for Wireshark; "-" is
    /// standard output, which then has nothing else.
    #[arg(long, value_name = "FILE")]
    pub pcap: Option<PathBuf>,
}

/// Put the plugin macvlan-cni where container runtimes look for it, and a network beside it.
#[derive(Debug, Args)]
pub struct InstallCni {
    /// The directory of plugins: gets macvlan-cni.
    #[arg(long, value_name = "DIRECTORY", default_value = "/opt/cni/bin")]
    pub plugins: PathBuf,

    /// A network to install too: a file whose name ends in .conflist.
    #[arg(long, value_name = "FILE")]
    pub network: Option<PathBuf>,

    /// The directory of networks.
    #[arg(long, value_name = "DIRECTORY", default_value = "/etc/cni/net.d")]
    pub networks: PathBuf,
}

/// Measure the data path beside everything else that connects containers.
#[derive(Debug, Args)]
pub struct Bench {
    /// Less of everything, in under a minute.
    #[arg(long)]
    pub quick: bool,

    /// Only these contenders.
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    pub only: Vec<String>,

    /// No lab: measure what is between this device and another node. One of the two serves.
    #[arg(long, value_name = "DEVICE", requires = "role", conflicts_with_all = ["only", "html", "svg"])]
    pub real: Option<IfName>,

    /// Be the node that serves, one client at a time, until it is stopped.
    #[arg(long, group = "role", requires = "real")]
    pub serve: bool,

    /// Measure to the node that serves at this address, and back.
    #[arg(long, value_name = "ADDRESS", group = "role", requires = "real")]
    pub to: Option<IpAddr>,

    /// The port of the node that serves.
    #[arg(long, value_name = "N", requires = "real", default_value_t = PORT)]
    pub port: u16,

    /// Write the report as a page into this new file.
    #[arg(long, value_name = "FILE")]
    pub html: Option<PathBuf>,

    /// Write each chart into a new file of this directory.
    #[arg(long, value_name = "DIR")]
    pub svg: Option<PathBuf>,
}

/// Write what is made from the command line's definition.
#[derive(Debug, Subcommand)]
pub enum Generate {
    /// Man pages, into a directory.
    Man {
        /// The directory.
        directory: PathBuf,
    },
    /// Completions of a shell, on standard output.
    Completions {
        /// The shell.
        shell: Shell,
    },
}

/// Take the data path off a device.
#[derive(Debug, Args)]
pub struct Detach {
    /// The device.
    pub master: String,

    /// Also delete the children that macvlan-ctl made; those of others stay.
    #[arg(long)]
    pub delete_children: bool,

    /// How far to go.
    #[command(flatten)]
    pub extent: Extent,
}

/// Add, delete, change or list children of a device.
#[derive(Debug, Subcommand)]
pub enum Child {
    /// Make children.
    #[command(after_help = SPEC_HELP)]
    Add(GuardedSpecs),
    /// Delete children that macvlan-ctl made; netns= tells between equal names.
    #[command(visible_alias = "delete")]
    Del(Specs),
    /// Change children; netns= tells between equal names.
    #[command(after_help = SPEC_HELP)]
    Set(GuardedSpecs),
    /// List children.
    #[command(visible_alias = "show")]
    List {
        /// The device they are on.
        master: String,
    },
}

/// Children of a device.
#[derive(Debug, Args)]
pub struct Specs {
    /// The device they are on.
    pub master: String,

    /// NAME[,KEY=VALUE]...
    #[arg(required = true, value_name = "CHILD")]
    pub children: Vec<String>,

    /// How far to go.
    #[command(flatten)]
    pub extent: Extent,
}

/// Children of a device, and how far to trust them.
#[derive(Debug, Args)]
pub struct GuardedSpecs {
    /// Which.
    #[command(flatten)]
    pub specs: Specs,

    /// Hold them to their own MACs, or to their MACs and IP addresses: as anti-spoof= for each.
    #[arg(long, value_name = "off|mac|ip", value_parser = parse_anti_spoof)]
    pub anti_spoof: Option<AntiSpoof>,

    /// Drop router advertisements and redirects that they send: as ra=off for each.
    #[arg(long)]
    pub no_ra: bool,

    /// Drop what they send as DHCP servers or relays: as dhcp-server=off for each.
    #[arg(long)]
    pub no_dhcp_server: bool,
}

impl GuardedSpecs {
    /// What these options set; a child's own keys come first.
    pub fn policy(&self) -> PolicyChange {
        PolicyChange {
            anti_spoof: self.anti_spoof,
            ra: self.no_ra.then_some(false),
            dhcp_server: self.no_dhcp_server.then_some(false),
            ..PolicyChange::default()
        }
    }
}
