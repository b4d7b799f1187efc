//! Isolation that is strict: what bears the host's MAC is the host's for certain, as the macvlan driver tells when a
//! child sends.

use std::collections::BTreeMap;

use anyhow::Result;
use macvlan_common::{
    child::{Mode, Policy},
    config::Config,
    mac::Mac,
};

use crate::{
    datapath::bpf::{
        attached::Bpf,
        hooks::{driver_program::Lower, sending},
        record::Record,
    },
    model::{
        description::{Degraded, Hairpin},
        keyword::Keyword as _,
        options::Isolation,
    },
};

/// What is less where it cannot be had, as `degraded` names it.
const FEATURE: &str = "isolation";

impl Bpf {
    /// Puts the programs on the driver where these children or the options ask for it, and takes them away where nobody
    /// does. Why they cannot be had goes on record. Gives whether anything is new.
    ///
    /// # Errors
    ///
    /// A pin cannot be removed, or the configuration map not be written.
    pub(crate) fn keep_strict(&mut self, members: &BTreeMap<Mac, Policy>) -> Result<bool> {
        let before = self.maps.read_config()?;
        let Self { record, on_master, directory, .. } = self;
        record.degraded.retain(|degraded| degraded.feature != FEATURE);
        let was_less = on_master.degraded.len();
        on_master.degraded.retain(|degraded| degraded.feature != FEATURE);
        let is_strict = if !is_wanted(record, members) {
            sending::remove(directory)?;
            false
        } else if record.hairpin == Hairpin::Off {
            record.degraded.push(less("no program is at TC egress of the device"));
            false
        } else {
            let put = sending::put(directory, on_master.lower);
            let lost = |error| {
                less(format!(
                    "a child that goes past TC (PACKET_QDISC_BYPASS, AF_XDP) can still send under the host's MAC: {error:#}"
                ))
            };
            let is_put = put.is_ok();
            record.degraded.extend(put.err().map(lost));
            is_put
        };
        let flag = if is_strict { Config::STRICT } else { 0 };
        self.maps
            .change_config(|config| Config { flags: config.flags & !Config::STRICT | flag, ..config })?;
        Ok(self.on_master.degraded.len() != was_less || self.maps.read_config()? != before)
    }

    /// Whether the programs on the driver are missed.
    pub(crate) fn lacks_strict(&self) -> bool {
        self.on_master.degraded.iter().any(|degraded| degraded.feature == FEATURE)
    }
}

/// What is less where somebody took the programs off the driver since, or the master went to another namespace.
pub fn missed(is_strict: bool, directory: &std::path::Path, lower: Lower, master: &str) -> Option<Degraded> {
    (is_strict && !sending::are_whole(directory, lower)).then(|| {
        less(format!(
            "our programs are no longer on the macvlan driver: macvlan-ctl attach {master} puts them back"
        ))
    })
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

fn is_wanted(record: &Record, members: &BTreeMap<Mac, Policy>) -> bool {
    record.options.isolation == Isolation::Strict || members.values().any(|policy| policy.is_strict())
}

fn less(reason: impl Into<String>) -> Degraded {
    Degraded::new(FEATURE, Isolation::Strict.as_str(), Isolation::Off.as_str(), reason)
}
