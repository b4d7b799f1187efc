//! The command line.

use std::{
    fmt::Display,
    net::{IpAddr, SocketAddr},
    path::PathBuf,
    str::FromStr,
};

use anyhow::Error;
use clap::{Args, Parser, Subcommand};
use clap_complete::Shell;
use macvlan_bench::real::protocol::PORT;
use macvlan_common::child::AntiSpoof;
use macvlan_core::{
    discovery::access::Access,
    kernel::{ifname::IfName, netns::NetnsRef},
    model::{child_name::ChildName, parse::parse_listener, spec::ChildSpec},
    policy::change::{PolicyChange, parse_anti_spoof},
};

use crate::{
    keyword::{number, on_off},
    options::DatapathOptions,
    spec_help::{CHANGED_CHILD, KNOWN_CHILD, NEW_CHILD},
    xsk_args::Xsk,
};

/// What stands above the options that every command takes.
const GLOBAL: &str = "Options of every command";

/// Lets a Linux host and its macvlan children talk, with BPF on the master.
#[derive(Debug, Parser)]
#[command(version, infer_subcommands = true, propagate_version = true, max_term_width = 80)]
#[command(
    after_help = "Exit status: 0 done, 1 failed, 2 usage; where less than asked for was possible,\n0 with a warning. Of check: 0 the same, 1 differs, 2 cannot tell."
)]
pub struct Cli {
    /// Work inside this network namespace: a name of "ip netns", a path or a process id. Left out: where
    /// you are.
    #[arg(short = 'n', long, global = true, help_heading = GLOBAL, value_name = "NETNS")]
    pub netns: Option<NetnsRef>,

    /// Print JSON. Left out: text for people.
    #[arg(short, long, global = true, help_heading = GLOBAL)]
    pub json: bool,

    /// Say what is done. Left out: warnings and notes alone.
    #[arg(short, long, global = true, help_heading = GLOBAL)]
    pub verbose: bool,

    /// Print no warnings and no notes. Left out: they are printed.
    #[arg(short, long, global = true, help_heading = GLOBAL, conflicts_with = "verbose")]
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
        /// The device. Left out: all with children or a data path.
        master: Option<String>,
    },
    /// Show what was counted, by child, path and reason.
    Stats {
        /// The device. Left out: all with children or a data path.
        master: Option<String>,
        /// Show rates per second, every so many seconds. Left out: totals, once.
        #[arg(short, long, value_name = "SECONDS", value_parser = number(1..=86_400_u32))]
        watch: Option<u32>,
    },
    /// Attach, then follow children and devices as they come and go.
    Run(Run),
    /// Bring this machine to what the configuration file says.
    Apply {
        /// Where the configuration is. Left out: /etc/macvlan-ctl/config.toml.
        #[arg(long, value_name = "FILE", default_value = DEFAULT_CONFIG, hide_default_value = true)]
        config: PathBuf,
        /// How far to go.
        #[command(flatten)]
        extent: Extent,
    },
    /// Say whether `apply` would change anything: exit status 1 if so, 2 if that cannot be told.
    Check {
        /// Where the configuration is. Left out: /etc/macvlan-ctl/config.toml.
        #[arg(long, value_name = "FILE", default_value = DEFAULT_CONFIG, hide_default_value = true)]
        config: PathBuf,
    },
    /// Watch children and their rates on a terminal screen.
    Top {
        /// The device. Left out: all with children or a data path.
        master: Option<String>,
        /// Seconds between two looks. Left out: 1.
        #[arg(short, long, value_name = "SECONDS", default_value_t = 1, hide_default_value = true, value_parser = number(1..=3600_u32))]
        interval: u32,
    },
    /// Print what happens to children and devices, as lines or lines of JSON.
    Monitor {
        /// The devices. Left out: all with children or a data path.
        masters: Vec<String>,
    },
    /// Print what the data path does with frames.
    Trace(Trace),
    /// Say what decides how well it will work on this machine, or on a device.
    Doctor {
        /// The device. Left out: this machine alone.
        master: Option<String>,
    },
    /// Put the plugin macvlan-cni where container runtimes look for it, and a network beside it.
    InstallCni(InstallCni),
    /// Measure the data path beside everything else that connects containers, in a lab of its own.
    Bench(Bench),
    /// Hand AF_XDP sockets of a device to programs without privileges.
    #[command(subcommand)]
    Xsk(Xsk),
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

/// Let the host and the macvlan children of a device talk.
#[derive(Debug, Args)]
#[command(after_help = NEW_CHILD)]
pub struct Attach {
    /// The device: physical, VLAN, bond or bridge; "default" is that of the default route.
    pub master: String,

    /// Make this child, unless it is there; may be repeated. Left out: no child is made.
    #[arg(long = "child", value_name = "CHILD", value_parser = child_spec::<IfName>)]
    pub children: Vec<ChildSpec>,

    /// About the data path.
    #[command(flatten)]
    pub options: DatapathOptions,

    /// How far to go.
    #[command(flatten)]
    pub extent: Extent,
}

/// How far a command goes.
#[derive(Debug, Args)]
pub struct Extent {
    /// Only say what would be done. Left out: it is done.
    #[arg(long)]
    pub dry_run: bool,
}

impl Extent {
    /// As the library takes it.
    pub const fn access(&self) -> Access {
        if self.dry_run { Access::Read } else { Access::Change }
    }
}

/// Where the configuration is unless told otherwise.
pub const DEFAULT_CONFIG: &str = "/etc/macvlan-ctl/config.toml";

/// Attach, then follow.
#[derive(Debug, Args)]
pub struct Run {
    /// The devices; "default" is that of the default route. Left out: those of the configuration.
    pub masters: Vec<String>,

    /// Where the configuration is. Left out: /etc/macvlan-ctl/config.toml, if it is there.
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,

    /// About the data path of each device; what is left out is as the configuration says.
    #[command(flatten)]
    pub options: DatapathOptions,

    /// Serve Prometheus metrics here; without a value at 127.0.0.1:10099. Left out: as the configuration says
    /// or, if it does not, off.
    #[arg(long, value_name = "ADDRESS:PORT|off", num_args = 0..=1, default_missing_value = "127.0.0.1:10099")]
    pub metrics: Option<MetricsAt>,

    /// Whether to take the data path off when stopped. Left out: as the configuration says or, if it does
    /// not, off.
    #[arg(long, value_name = "on|off", hide_possible_values = true, value_parser = on_off(), num_args = 0..=1, require_equals = true, default_missing_value = "on")]
    pub detach_on_exit: Option<bool>,
}

/// Where to serve metrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MetricsAt {
    /// Nowhere.
    Off,
    /// Here.
    Address(SocketAddr),
}

impl MetricsAt {
    /// The address, if there is one.
    pub const fn address(self) -> Option<SocketAddr> {
        match self {
            Self::Off => None,
            Self::Address(address) => Some(address),
        }
    }
}

impl FromStr for MetricsAt {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "off" => Ok(Self::Off),
            address => parse_listener(address)
                .map(Self::Address)
                .map_err(|_| "it is neither ADDRESS:PORT, like 127.0.0.1:10099, nor \"off\"".to_owned()),
        }
    }
}

/// Print what the data path does with frames.
#[derive(Debug, Args)]
pub struct Trace {
    /// The device.
    pub master: String,

    /// Only frames from or to this child: its container, MAC, IP address or interface. Left out: all frames.
    #[arg(long, value_name = "CHILD")]
    pub child: Option<ChildName>,

    /// One frame in so many, on each CPU. Left out: 1, every frame.
    #[arg(long, value_name = "N", default_value_t = 1, hide_default_value = true, value_parser = number(1..=u32::MAX))]
    pub sample: u32,

    /// Stop after so many frames. Left out: go on until stopped.
    #[arg(short, long, value_name = "N", value_parser = number(1..=u64::MAX))]
    pub count: Option<u64>,

    /// Write frames that are dropped or turned around into this new file, for Wireshark; "-" is
    /// standard output, which then has nothing else. Left out: nothing is written.
    #[arg(long, value_name = "FILE")]
    pub pcap: Option<PathBuf>,
}

/// Put the plugin macvlan-cni where container runtimes look for it, and a network beside it.
#[derive(Debug, Args)]
pub struct InstallCni {
    /// The directory of plugins: gets macvlan-cni. Left out: /opt/cni/bin.
    #[arg(long, value_name = "DIRECTORY", default_value = "/opt/cni/bin", hide_default_value = true)]
    pub plugins: PathBuf,

    /// A network to install too: a file whose name ends in .conflist. Left out: none.
    #[arg(long, value_name = "FILE")]
    pub network: Option<PathBuf>,

    /// The directory of networks. Left out: /etc/cni/net.d.
    #[arg(long, value_name = "DIRECTORY", default_value = "/etc/cni/net.d", hide_default_value = true)]
    pub networks: PathBuf,
}

/// Measure the data path beside everything else that connects containers.
#[derive(Debug, Args)]
pub struct Bench {
    /// Less of everything, in under a minute. Left out: everything.
    #[arg(long)]
    pub quick: bool,

    /// Only these contenders. Left out: all.
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    pub only: Vec<String>,

    /// No lab: measure what is between this device and another node. One of the two serves. Left out: in
    /// the lab.
    #[arg(long, value_name = "DEVICE", requires = "role", conflicts_with_all = ["only", "html", "svg"])]
    pub real: Option<IfName>,

    /// Be the node that serves, one client at a time, until it is stopped. Left out: see --to.
    #[arg(long, group = "role", requires = "real")]
    pub serve: bool,

    /// Measure to the node that serves at this address, and back. Left out: see --serve.
    #[arg(long, value_name = "ADDRESS", group = "role", requires = "real")]
    pub to: Option<IpAddr>,

    /// The port of the node that serves. Left out: 5299.
    #[arg(long, value_name = "N", requires = "real", default_value_t = PORT, hide_default_value = true)]
    pub port: u16,

    /// Write the report as a page into this new file. Left out: no page.
    #[arg(long, value_name = "FILE")]
    pub html: Option<PathBuf>,

    /// Write each chart into a new file of this directory. Left out: no charts.
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

    /// Also delete the children that macvlan-ctl made; those of others stay. Left out: all stay.
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
    #[command(after_help = NEW_CHILD)]
    Add(GuardedSpecs<IfName>),
    /// Delete children that macvlan-ctl made.
    #[command(visible_aliases = ["delete", "remove"], after_help = KNOWN_CHILD)]
    Del(Specs<ChildName>),
    /// Change children.
    #[command(after_help = CHANGED_CHILD)]
    Set(GuardedSpecs<ChildName>),
    /// List children.
    #[command(visible_alias = "show")]
    List {
        /// The device they are on.
        master: String,
    },
}

/// What children may be named by on the command line.
pub trait NamesChild: FromStr<Err = Error> + Display + Clone + Send + Sync + 'static {}

impl<Name: FromStr<Err = Error> + Display + Clone + Send + Sync + 'static> NamesChild for Name {}

/// A child on the command line; what is wrong with it in one line.
fn child_spec<Name: NamesChild>(text: &str) -> Result<ChildSpec<Name>, String> {
    text.parse().map_err(|error| format!("{error:#}"))
}

/// Children of a device: those to be made have the name of an interface, others whatever they are known by.
#[derive(Debug, Args)]
pub struct Specs<Name: NamesChild> {
    /// The device they are on.
    pub master: String,

    /// NAME[,KEY=VALUE]...
    #[arg(required = true, value_name = "CHILD", value_parser = child_spec::<Name>)]
    pub children: Vec<ChildSpec<Name>>,

    /// How far to go.
    #[command(flatten)]
    pub extent: Extent,
}

/// Children of a device, and how far to trust them.
#[derive(Debug, Args)]
pub struct GuardedSpecs<Name: NamesChild> {
    /// Which.
    #[command(flatten)]
    pub specs: Specs<Name>,

    /// Hold them to their own MACs, or to their MACs and IP addresses: as anti-spoof= for each. Left out:
    /// as they are or, when made, off.
    #[arg(long, value_name = "off|mac|ip", value_parser = parse_anti_spoof)]
    pub anti_spoof: Option<AntiSpoof>,

    /// Whether they may send router advertisements and redirects: as ra= for each. Left out: as they are or,
    /// when made, on.
    #[arg(long, value_name = "on|off", hide_possible_values = true, value_parser = on_off(), num_args = 0..=1, require_equals = true, default_missing_value = "on")]
    pub ra: Option<bool>,

    /// Same as --ra=off. Left out: see --ra.
    #[arg(long, conflicts_with = "ra")]
    pub no_ra: bool,

    /// Whether they may send as DHCP servers or relays: as dhcp-server= for each. Left out: as they are or,
    /// when made, on.
    #[arg(long, value_name = "on|off", hide_possible_values = true, value_parser = on_off(), num_args = 0..=1, require_equals = true, default_missing_value = "on")]
    pub dhcp_server: Option<bool>,

    /// Same as --dhcp-server=off. Left out: see --dhcp-server.
    #[arg(long, conflicts_with = "dhcp_server")]
    pub no_dhcp_server: bool,

    /// Whether their router advertisements, redirects, DHCP servers' messages and frames of link-local groups
    /// (LLDP, LACP, EAPOL) reach the host: as host-control= for each. Left out: as it is or, when made, off.
    #[arg(long, value_name = "on|off", hide_possible_values = true, value_parser = on_off(), num_args = 0..=1, require_equals = true, default_missing_value = "on")]
    pub host_control: Option<bool>,
}

impl<Name: NamesChild> GuardedSpecs<Name> {
    /// What these options set; a child's own keys come first.
    pub fn policy(&self) -> PolicyChange {
        PolicyChange {
            anti_spoof: self.anti_spoof,
            ra: self.no_ra.then_some(false).or(self.ra),
            dhcp_server: self.no_dhcp_server.then_some(false).or(self.dhcp_server),
            host_control: self.host_control,
            ..PolicyChange::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::{Command, CommandFactory as _};

    use super::*;

    /// Checks the arguments of a command, and of those below it.
    fn check(command: &Command, name: &str, checked: &mut usize) {
        for argument in command.get_arguments().filter(|argument| !argument.is_required_set()) {
            if matches!(argument.get_id().as_str(), "help" | "version") {
                continue;
            }
            let help = argument.get_help().map(ToString::to_string).unwrap_or_default();
            let told = help.matches("Left out: ").count();
            assert_eq!(told, 1, "{name} {}: {help}", argument.get_id());
            for value in argument.get_default_values().iter().filter_map(|value| value.to_str()) {
                let is_told = help.contains(&format!("Left out: {value}"));
                let is_told_once = is_told && argument.is_hide_default_value_set();
                assert!(is_told_once || !argument.get_action().takes_values(), "{name}: {help}");
            }
            *checked += 1;
        }
        for below in command.get_subcommands().filter(|below| !below.is_hide_set()) {
            check(below, &format!("{name} {}", below.get_name()), checked);
        }
    }

    /// The help of a command and of those below it.
    fn helps(command: &Command, all: &mut Vec<(String, String)>) {
        let name = command.get_bin_name().unwrap_or_default().to_owned();
        let mut narrow = command.clone().term_width(80);
        for help in [narrow.render_help(), narrow.render_long_help()] {
            all.push((name.clone(), help.to_string()));
        }
        command.get_subcommands().filter(|below| !below.is_hide_set()).for_each(|below| helps(below, all));
    }

    #[test]
    fn every_help_fits_80_columns_and_has_the_options_of_every_command_apart() {
        let (mut command, mut all) = (Cli::command(), Vec::new());
        command.build();
        helps(&command, &mut all);
        assert!(all.len() > 40, "only {} were found", all.len());
        for (name, help) in &all {
            for line in help.lines() {
                assert!(line.chars().count() <= 80, "{name}: {line}");
            }
            // clap's own "help" has no options.
            if !name.split(' ').any(|word| word == "help") {
                let (own, global) = help.split_once(GLOBAL).unwrap_or_else(|| panic!("{name}: {help}"));
                for option in ["--netns", "--json", "--verbose", "--quiet"] {
                    assert!(
                        global.contains(option) && !own.contains(&format!("  {option} ")),
                        "{name}: {help}"
                    );
                }
            }
        }
    }

    #[test]
    fn help_says_what_leaving_out_each_argument_means() {
        let mut checked = 0;
        check(&Cli::command(), "macvlan-ctl", &mut checked);
        assert!(checked > 40, "{checked} arguments");
    }

    #[test]
    fn help_for_a_change_promises_no_default() {
        assert!(NEW_CHILD.contains("host-access=on|off                         on\n"));
        assert!(CHANGED_CHILD.contains("What is left out stays as it is"));
        assert!(CHANGED_CHILD.lines().any(|line| line == "  host-access=on|off"));
        // Both tell of the same keys, but for what cannot change.
        let keys = |text: &'static str| -> std::collections::BTreeSet<&'static str> {
            let lines = text.lines().filter_map(|line| line.strip_prefix("  "));
            lines
                .filter_map(|line| line.split(['=', ',']).next())
                .filter(|key| !key.starts_with(' '))
                .collect()
        };
        let (new, changed) = (keys(NEW_CHILD), keys(CHANGED_CHILD));
        assert_eq!(new.difference(&changed).copied().collect::<Vec<_>>(), ["kind"]);
        assert!(changed.is_subset(&new));
    }
}
