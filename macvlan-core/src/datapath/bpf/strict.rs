//! Isolation that is strict: what bears the host's MAC is the host's, as the macvlan driver tells when a child sends. Where no
//! program can be on the driver, the socket of a frame is asked.

use std::collections::BTreeMap;

use anyhow::Result;
use macvlan_common::{child::Policy, mac::Mac};

use crate::{
    datapath::bpf::{
        attached::Bpf,
        hooks::sending,
        isolation::{FEATURE, by_socket, is_wanted, less, open_to_all},
        sockets::home,
    },
    model::description::{Degraded, Hairpin},
};

impl Bpf {
    /// Has it told that a child sends where these children or the options ask for it, and takes the programs off the
    /// driver where nobody does. What is less goes on record. Gives whether anything is new.
    ///
    /// # Errors
    ///
    /// A pin cannot be removed, or the configuration map not be read or written.
    pub(crate) fn keep_strict(&mut self, members: &BTreeMap<Mac, Policy>) -> Result<bool> {
        let was_strict = self.description.is_strict();
        self.record.degraded.retain(|degraded| degraded.feature != FEATURE);
        let was_less = self.on_master.degraded.len();
        self.on_master.degraded.retain(|degraded| degraded.feature != FEATURE);
        let (home, degraded) = if is_wanted(&self.record, members) {
            self.who_tells()
        } else {
            sending::remove(&self.directory)?;
            (None, None)
        };
        self.record.degraded.extend(degraded);
        if was_strict || home.is_some() {
            self.maps.set_strict(home)?;
        }
        Ok(self.on_master.degraded.len() != was_less || home.is_some() != was_strict)
    }

    /// The cookie of the namespace whose sockets may send as the host, 0 where the driver tells, `None` where nobody does;
    /// and what is less than the best.
    fn who_tells(&self) -> (Option<u64>, Option<Degraded>) {
        if self.record.hairpin == Hairpin::Off {
            return (None, Some(less("no program is at TC egress of the device")));
        }
        let Err(error) = sending::put(&self.directory, self.on_master.lower) else { return (Some(0), None) };
        match home() {
            Some(home) => (Some(home), Some(by_socket(&error))),
            None => (None, Some(open_to_all(&error))),
        }
    }

    /// Whether those who tell are missed.
    pub(crate) fn lacks_strict(&self) -> bool {
        self.on_master.degraded.iter().any(|degraded| degraded.feature == FEATURE)
    }
}
