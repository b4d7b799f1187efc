//! Plain kernel macvlan: the data path where BPF is not.

use std::collections::BTreeMap;

use anyhow::Result;
use futures_util::future::LocalBoxFuture;
use macvlan_common::{child::Policy, mac::Mac};

use super::{Carrier, Counters, Datapath, Degraded, Demux, Description, Hairpin, choose::DropUnknown};
use crate::{master::Master, policy::Groups, rate_limit::RateLimits, session::Members};

/// The macvlan driver alone. It is always there; nothing is attached, nothing can be lost.
#[derive(Debug)]
pub struct Kernel {
    description: Description,
}

impl Kernel {
    /// The driver alone, because of `reason`.
    pub fn new(reason: impl Into<String>) -> Self {
        let reason = reason.into();
        let degraded = vec![
            Degraded::new("datapath", "bpf", "kernel", reason.clone()),
            Degraded::new("hairpin", "tcx", "off", reason),
        ];
        Self {
            description: Description {
                carrier: Carrier::Kernel,
                demux: Demux::Kernel,
                hairpin: Hairpin::Off,
                degraded,
                adopts: true,
                drop_unknown: DropUnknown::Off,
                vepa_switch: false,
                directs: false,
                storm_limit: None,
            },
        }
    }
}

impl Datapath for Kernel {
    fn description(&self) -> &Description {
        &self.description
    }

    fn members(&self) -> Result<BTreeMap<Mac, Policy>> {
        Ok(BTreeMap::new())
    }

    fn groups(&self) -> Result<Groups> {
        Ok(Groups::default())
    }

    fn rates(&self) -> Result<BTreeMap<Mac, RateLimits>> {
        Ok(BTreeMap::new())
    }

    fn sync(&mut self, _: &Master, _: &Members) -> Result<()> {
        Ok(())
    }

    fn counters(&self) -> Result<Counters> {
        Ok(Counters::default())
    }

    fn detach<'a>(&'a mut self, _: &'a Master) -> LocalBoxFuture<'a, Result<()>> {
        Box::pin(async { Ok(()) })
    }
}
