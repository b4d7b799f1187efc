//! What is said of isolation that is strict: who asks for it, and what is less.

use std::{collections::BTreeMap, path::Path};

use anyhow::Error;
use macvlan_common::{
    child::{Mode, Policy},
    config::Config,
    mac::Mac,
};

use crate::{
    datapath::bpf::{
        hooks::{driver_program::Lower, sending},
        record::Record,
    },
    kernel::netns::Netns,
    model::{description::Degraded, keyword::Keyword as _, options::Isolation},
};

/// What is less where it cannot be had, as `degraded` names it.
pub const FEATURE: &str = "isolation";

/// What is less where somebody took the programs off the driver since, or the master went to another namespace.
pub fn missed(config: &Config, directory: &Path, lower: Lower, master: &str) -> Option<Degraded> {
    let reason = match config.home {
        _ if !config.is_strict() => return None,
        0 if !sending::are_whole(directory, lower) => {
            format!(
                "our programs are no longer on the macvlan driver: macvlan-ctl attach {master} puts them back"
            )
        }
        home if home != 0 && Some(home) != Netns::current_cookie() => format!(
            "packet sockets of another network namespace count as the host's, and not those of this one: macvlan-ctl attach \
             {master} ends that"
        ),
        _ => return None,
    };
    Some(less(reason))
}

/// What is less where no program can be on the driver, and sockets are asked.
pub fn by_socket(error: &Error) -> Degraded {
    Degraded::new(
        FEATURE,
        Isolation::Strict.as_str(),
        "by socket",
        format!(
            "packet and XDP sockets of other namespaces may not send as the host; not seen: what the kernel cuts up for a child \
             that is not held to its MAC, what CAP_NET_ADMIN in a container rewrites, macvtaps; no program is on the driver: \
             {error:#}"
        ),
    )
}

/// What is less where nobody can tell.
pub fn open_to_all(error: &Error) -> Degraded {
    less(format!(
        "a child that goes past TC (PACKET_QDISC_BYPASS, AF_XDP) can still send under the host's MAC: {error:#}"
    ))
}

/// What else is less with these children, where isolation is asked for.
pub fn degraded(record: &Record, members: &BTreeMap<Mac, Policy>) -> Option<Degraded> {
    if record.options.isolation == Isolation::Off {
        return None;
    }
    let is_open =
        |policy: &Policy| !policy.is_hosts() && (policy.mode() == Mode::Bridge || !policy.is_guarded());
    let open: Vec<String> =
        members.iter().filter(|(_, policy)| is_open(policy)).map(|(mac, _)| mac.to_string()).collect();
    (!open.is_empty()).then(|| {
        Degraded::new(
            FEATURE,
            "strict for all",
            "off for some",
            format!(
                "what the driver gives to bridge siblings passes no hook, and who is not held to its MAC may lose it to \
                 another; child set with isolation=strict ends that for {}",
                open.join(", ")
            ),
        )
    })
}

/// Whether the options or one of these children ask for the programs on the driver.
pub fn is_wanted(record: &Record, members: &BTreeMap<Mac, Policy>) -> bool {
    record.options.isolation == Isolation::Strict || members.values().any(|policy| policy.is_strict())
}

/// What is less while it does not hold.
pub fn less(reason: impl Into<String>) -> Degraded {
    Degraded::new(FEATURE, Isolation::Strict.as_str(), Isolation::Off.as_str(), reason)
}
