//! What a machine has beside its processor: the kernel that knows it, and what tests need to use it.

use std::fmt;

use crate::machine::RADIO_TOOLS;

/// Hardware, each with all of what stands before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Hardware {
    /// Two network cards with a cable between them.
    Cards,
    /// Radios that the kernel simulates (`mac80211_hwsim`): an access point and two stations.
    Radios,
}

/// Drivers of the network cards, and what tests make devices and filters of; before what they depend on is
/// counted.
const MODULES: [&str; 18] = [
    "virtio_pci",
    "virtio_net",
    "veth",
    "macvlan",
    "macvtap",
    "tap",
    "sch_ingress",
    "cls_bpf",
    "8021q",
    "bonding",
    "bridge",
    "dummy",
    "vxlan",
    "ipvlan",
    "sch_fq",
    "sch_prio",
    "cls_matchall",
    "act_mirred",
];

/// The ciphers of WPA2, which the kernel would ask `modprobe` for, and the radios.
const RADIO_MODULES: [&str; 5] = ["aes_generic", "ctr", "ccm", "cmac", HWSIM];

/// The module that simulates radios.
const HWSIM: &str = "mac80211_hwsim";

impl Hardware {
    /// All of it, the least first.
    pub const ALL: [Self; 2] = [Self::Cards, Self::Radios];

    /// What the name of Debian's kernel package begins with; the processor follows.
    pub const fn kernel_package(self) -> &'static str {
        match self {
            Self::Cards => "linux-image-cloud-",
            // The kernels for virtual machines know no wireless networks.
            Self::Radios => "linux-image-",
        }
    }

    /// The modules that a machine loads.
    pub fn modules(self) -> impl Iterator<Item = &'static str> {
        let more: &[&str] = match self {
            Self::Cards => &[],
            Self::Radios => &RADIO_MODULES,
        };
        MODULES.iter().chain(more).copied()
    }

    /// Programs that tests start beside those that all do, and the package of each.
    pub const fn tools(self) -> &'static [(&'static str, &'static str)] {
        match self {
            Self::Cards => &[],
            Self::Radios => &RADIO_TOOLS,
        }
    }
}

/// The parameters that a module is loaded with.
pub fn parameters(module: &str) -> &'static str {
    match module {
        HWSIM => "radios=3",
        _ => "",
    }
}

impl fmt::Display for Hardware {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Cards => "cards",
            Self::Radios => "radios",
        })
    }
}
