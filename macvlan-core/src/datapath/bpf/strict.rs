//! Isolation that is strict: what bears the host's MAC is the host's for certain, as the macvlan driver tells when a
//! child sends.

use std::collections::BTreeMap;

use anyhow::Result;
use macvlan_common::{child::Policy, config::Config, mac::Mac};

use crate::{
    datapath::bpf::{
        attached::Bpf,
        hooks::sending,
        isolation::{FEATURE, is_wanted, less},
    },
    model::description::Hairpin,
};

impl Bpf {
    /// Puts the programs on the driver where these children or the options ask for it, and takes them away where nobody
    /// does. Why they cannot be had goes on record. Gives whether anything is new.
    ///
    /// # Errors
    ///
    /// A pin cannot be removed, or the configuration map not be written.
    pub(crate) fn keep_strict(&mut self, members: &BTreeMap<Mac, Policy>) -> Result<bool> {
        let was_strict = self.description.is_strict();
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
        if is_strict != was_strict {
            let flag = if is_strict { Config::STRICT } else { 0 };
            self.maps
                .change_config(|config| Config { flags: config.flags & !Config::STRICT | flag, ..config })?;
        }
        Ok(self.on_master.degraded.len() != was_less || is_strict != was_strict)
    }

    /// Whether the programs on the driver are missed.
    pub(crate) fn lacks_strict(&self) -> bool {
        self.on_master.degraded.iter().any(|degraded| degraded.feature == FEATURE)
    }
}
