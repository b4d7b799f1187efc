//! A master with the product's data path on it.

use aya::programs::XdpMode;
use serde_json::Value;

use crate::{cli, direct::Direct, lab::Lab, require, stats::Stats};

/// The values of `--tc` that this kernel can do, the one that `auto` comes to first.
pub fn tc_means() -> &'static [&'static str] {
    if require::tcx().is_ok() { &["tcx", "clsact"] } else { &["clsact"] }
}

/// The data path on a lab's master, until this is dropped.
pub struct Attached<'lab> {
    lab: &'lab Lab,
    means: Means,
}

enum Means {
    Command,
    /// `MACVLAN_TESTS_DIRECT=1`: to tell a fault of the programs from one of the command.
    Direct(Box<Direct>),
}

impl<'lab> Attached<'lab> {
    /// Runs `attach MASTER --require-bpf` with these further arguments.
    #[track_caller]
    pub fn new(lab: &'lab Lab, args: &[&str]) -> Self {
        if std::env::var_os("MACVLAN_TESTS_DIRECT").is_some() {
            let xdp = match args {
                [] => None,
                ["--xdp", "native"] => Some(XdpMode::Driver),
                ["--xdp", "generic"] => Some(XdpMode::Skb),
                _ => panic!("{args:?} without the command"),
            };
            return Self { lab, means: Means::Direct(Box::new(Direct::attach(lab, xdp))) };
        }
        let mut line = vec!["attach", lab.host.dev.as_str(), "--require-bpf"];
        line.extend(args);
        lab.ctl(&line).succeeded();
        Self { lab, means: Means::Command }
    }

    /// `stats -j` of this master.
    #[track_caller]
    pub fn stats(&self) -> Stats {
        match &self.means {
            Means::Command => {
                Stats::of(&self.lab.ctl(&["-j", "stats", &self.lab.host.dev]).succeeded().json())
            }
            Means::Direct(direct) => direct.stats(),
        }
    }

    /// `status -j` of this master.
    #[track_caller]
    pub fn status(&self) -> Value {
        let masters = self.lab.ctl(&["-j", "status", &self.lab.host.dev]).succeeded().json();
        masters[0].clone()
    }

    /// Runs `detach MASTER` with these further arguments.
    #[track_caller]
    pub fn detach(self, args: &[&str]) -> cli::Ran {
        let mut line = vec!["detach", self.lab.host.dev.as_str()];
        line.extend(args);
        self.lab.ctl(&line)
    }
}
