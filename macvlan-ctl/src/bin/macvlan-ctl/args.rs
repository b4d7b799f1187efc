//! The command line.

use clap::{Args, Parser, Subcommand};
use macvlan_ctl::{
    datapath::choose::{TcChoice, XdpChoice},
    netns::NetnsRef,
};

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
    /// Show in a lab of its own what plain macvlan cannot do, and what attach makes of it.
    Demo,
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

    /// Where to demultiplex frames from the wire; as it is or, at first, auto if left out.
    #[arg(long, value_enum)]
    pub xdp: Option<XdpChoice>,

    /// How to attach to TC; as it is or, at first, auto if left out.
    #[arg(long, value_enum)]
    pub tc: Option<TcChoice>,

    /// Leave children that others made alone.
    #[arg(long)]
    pub no_adopt: bool,

    /// How many children fit; as it is or, at first, 4096 if left out.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1_048_576))]
    pub max_children: Option<u32>,

    /// Fail where BPF cannot be had, instead of leaving plain kernel macvlan.
    #[arg(long)]
    pub require_bpf: bool,

    /// Only say what would be done.
    #[arg(long)]
    pub dry_run: bool,
}

/// Take the data path off a device.
#[derive(Debug, Args)]
pub struct Detach {
    /// The device.
    pub master: String,

    /// Also delete the children that macvlan-ctl made; those of others stay.
    #[arg(long)]
    pub delete_children: bool,
}

/// Add, delete, change or list children of a device.
#[derive(Debug, Subcommand)]
pub enum Child {
    /// Make children.
    #[command(after_help = SPEC_HELP)]
    Add(Specs),
    /// Delete children that macvlan-ctl made; netns= tells between equal names.
    #[command(visible_alias = "delete")]
    Del(Specs),
    /// Change children; netns= tells between equal names.
    #[command(after_help = SPEC_HELP)]
    Set(Specs),
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
}
