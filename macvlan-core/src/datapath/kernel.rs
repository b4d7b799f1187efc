//! Plain kernel macvlan: the data path where BPF is not.

use std::collections::BTreeMap;

use anyhow::Result;
use futures_util::future::LocalBoxFuture;
use macvlan_common::child::Policy;

use crate::{
    datapath::{
        Datapath,
        device_totals::totals,
        shim::{self, Survey},
    },
    kernel::netlink::{Netlink, events::changed::DeviceKey, link::Totals},
    model::{
        child::Child,
        counters::Counters,
        description::{Carrier, Degraded, Demux, Description, Hairpin, HostFlood},
        master::Master,
        members::Members,
        options::{DropUnknown, Isolation},
        shim::Shim,
    },
};

/// The macvlan driver alone, with a shim where there is one. It is always there; nothing is attached,
/// nothing can be lost.
#[derive(Debug)]
pub struct Kernel {
    description: Description,
    members: Members,
    totals: BTreeMap<DeviceKey, Totals>,
}

impl Kernel {
    /// The driver alone, because of `reason`.
    pub fn new(reason: impl Into<String>) -> Self {
        let reason = reason.into();
        let degraded = vec![
            Degraded::new("datapath", "bpf", "kernel", reason.clone()),
            Degraded::new("hairpin", "tcx", "off", reason),
        ];
        let description = Description {
            carrier: Carrier::Kernel,
            demux: Demux::Kernel,
            hairpin: Hairpin::Off,
            ingress: false,
            host_flood: HostFlood::Off,
            degraded,
            adopts: true,
            drop_unknown: DropUnknown::Off,
            vepa_switch: false,
            isolation: Isolation::Off,
            single_mac: false,
            directs: false,
            storm_limit: None,
        };
        Self { description, members: Members::default(), totals: BTreeMap::new() }
    }

    /// The driver and what it counts and, where there is a shim, whom the host reaches by that.
    ///
    /// # Errors
    ///
    /// The children's statistics or the shim's routes cannot be read.
    pub async fn look(
        netlink: &Netlink,
        master: &Master,
        shims: &[Shim],
        children: &[&Child],
        reason: impl Into<String>,
    ) -> Result<Self> {
        let mut kernel = Self::new(reason);
        kernel.totals = totals(netlink, children).await?;
        if let Some(shim) = shims.iter().find(|shim| shim.finished) {
            kernel.take_in(shim, master, children).await?;
        }
        Ok(kernel)
    }

    async fn take_in(&mut self, shim: &Shim, master: &Master, children: &[&Child]) -> Result<()> {
        let survey: Survey = shim::survey(master, Some(shim), children, &BTreeMap::new()).await?;
        let access = survey.present.access();
        let policy = |child: &&Child| Some((child.mac, Policy::new(child.mode, *access.get(&child.mac)?)));
        self.members.policies = children.iter().copied().filter_map(|child| policy(&child)).collect();
        self.description.hairpin = Hairpin::Shim;
        for degraded in &mut self.description.degraded {
            if degraded.feature == "hairpin" {
                degraded.got = Hairpin::Shim.as_str().to_owned();
            }
        }
        let is_in_step = survey.is_in_step();
        let left_out = survey
            .left_out
            .into_iter()
            .map(|why| Degraded::new("host-access", Hairpin::Shim.as_str(), "off", why));
        self.description.degraded.extend(left_out);
        if !is_in_step {
            self.description.degraded.push(Degraded::new(
                "shim",
                "in step",
                "outdated",
                format!("addresses changed: macvlan-ctl attach {}, or leave that to run", master.name),
            ));
        }
        Ok(())
    }

    /// What the driver counted of each child, by its device.
    pub fn totals(&self) -> &BTreeMap<DeviceKey, Totals> {
        &self.totals
    }
}

impl Datapath for Kernel {
    fn description(&self) -> &Description {
        &self.description
    }

    fn members(&self) -> &Members {
        &self.members
    }

    fn sync(&mut self, _: &Master, _: &Members) -> Result<()> {
        Ok(())
    }

    fn counters(&self) -> Result<Counters> {
        Ok(Counters { totals: self.totals.clone(), ..Counters::default() })
    }

    fn detach<'a>(&'a mut self, _: &'a Master) -> LocalBoxFuture<'a, Result<()>> {
        Box::pin(async { Ok(()) })
    }
}
