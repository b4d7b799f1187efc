//! Options of the data path on the command line. What is left out stays as it is: each has a value that
//! turns it back to what it is at first.

use clap::Args;
use macvlan_core::model::options::{
    DropUnknown, IngressChoice, Isolation, MOST_CHILDREN, MissingChoice, Options, SingleMac, StormLimit,
    TcChoice, XdpChoice, parse_storm_limit,
};

use crate::keyword::{keyword, number, on_off};

/// Options of the data path.
#[derive(Debug, Args)]
pub struct DatapathOptions {
    /// Where to demultiplex frames from the wire. Left out: as it is or, at first, auto.
    #[arg(long, value_parser = keyword::<XdpChoice>())]
    xdp: Option<XdpChoice>,

    /// How to attach to TC. Left out: as it is or, at first, auto.
    #[arg(long, value_parser = keyword::<TcChoice>())]
    tc: Option<TcChoice>,

    /// Whether frames from the wire pass a program in TC. Left out: as it is or, at first, on.
    #[arg(long, value_parser = keyword::<IngressChoice>())]
    ingress: Option<IngressChoice>,

    /// Whether children that others made belong to it. Left out: as it is or, at first, on.
    #[arg(long, value_name = "on|off", hide_possible_values = true, value_parser = on_off(), num_args = 0..=1, require_equals = true, default_missing_value = "on")]
    adopt: Option<bool>,

    /// Same as --adopt=off. Left out: see --adopt.
    #[arg(long, conflicts_with = "adopt")]
    no_adopt: bool,

    /// Whether ARP requests and neighbour solicitations for a known address go to its owner alone, not to
    /// everybody. Left out: as it is or, at first, on.
    #[arg(long, value_name = "on|off", hide_possible_values = true, value_parser = on_off(), num_args = 0..=1, require_equals = true, default_missing_value = "on")]
    directed_neigh: Option<bool>,

    /// Same as --directed-neigh=off. Left out: see --directed-neigh.
    #[arg(long, conflicts_with = "directed_neigh")]
    no_directed_neigh: bool,

    /// Drop broadcast and multicast beyond so many frames a second from the wire, and as many from
    /// each child; off is no limit. Left out: as it is or, at first, off.
    #[arg(long, value_name = "PPS|off", value_parser = |text: &str| parse_storm_limit(text).map_err(|error| error.to_string()))]
    storm_limit: Option<StormLimit>,

    /// How many children fit; it can only change after a detach. Left out: as it is or, at first, 4096.
    #[arg(long, value_name = "N", value_parser = number(1..=MOST_CHILDREN))]
    max_children: Option<u32>,

    /// Drop unicast from the wire to nobody here; on is refused while something else on the device needs
    /// it. Left out: as it is or, at first, off.
    #[arg(long, value_parser = keyword::<DropUnknown>(), num_args = 0..=1, require_equals = true, default_missing_value = "on")]
    drop_unknown: Option<DropUnknown>,

    /// Whether the switch sends frames back out of the port they came in by: they are no forgeries. Left
    /// out: as it is or, at first, off.
    #[arg(long, value_name = "on|off", hide_possible_values = true, value_parser = on_off(), num_args = 0..=1, require_equals = true, default_missing_value = "on")]
    vepa_switch: Option<bool>,

    /// Whether children have the device's MAC on the wire instead of their own: for Wi-Fi stations and other
    /// uplinks that carry one MAC; see docs/single-mac.md. Left out: as it is or, at first, off.
    #[arg(long, value_parser = keyword::<SingleMac>(), num_args = 0..=1, require_equals = true, default_missing_value = "on")]
    single_mac: Option<SingleMac>,

    /// How certain it is that what bears the host's MAC is the host's, whatever sockets children use; see
    /// docs/guard.md. Left out: as it is or, at first, off.
    #[arg(long, value_parser = keyword::<Isolation>())]
    isolation: Option<Isolation>,

    /// What to do where BPF is unavailable. Left out: as it is or, at first, plain.
    #[arg(long, value_parser = keyword::<MissingChoice>())]
    on_missing_bpf: Option<MissingChoice>,

    /// Same as --on-missing-bpf fail. Left out: see --on-missing-bpf.
    #[arg(long, conflicts_with = "on_missing_bpf")]
    require_bpf: bool,
}

impl DatapathOptions {
    /// As the library takes them.
    pub fn to_options(&self) -> Options {
        let Self {
            xdp,
            tc,
            ingress,
            adopt,
            no_adopt,
            directed_neigh,
            no_directed_neigh,
            storm_limit,
            max_children,
            drop_unknown,
            vepa_switch,
            single_mac,
            isolation,
            on_missing_bpf,
            require_bpf,
        } = *self;
        Options {
            xdp,
            tc,
            ingress,
            adopt: no_adopt.then_some(false).or(adopt),
            directed_neigh: no_directed_neigh.then_some(false).or(directed_neigh),
            storm_limit,
            max_children,
            drop_unknown,
            vepa_switch,
            single_mac,
            isolation,
            on_missing_bpf: require_bpf.then_some(MissingChoice::Fail).or(on_missing_bpf),
        }
    }
}
