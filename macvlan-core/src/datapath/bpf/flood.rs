//! The flood device of a master, made, kept and taken away as its children need it; and devices of the host's own,
//! which are to hear nothing of what the host sends.
//!
//! Whatever fails here is no failure of a command: copies of the host's broadcasts come back up on the master
//! then, as they do where a child is in another mode than bridge.

use anyhow::{Context as _, Result};
use macvlan_common::{child::Mode, config::Config};

use crate::{
    datapath::bpf::{
        attached::Bpf,
        hooks::{flood_programs, own_programs},
        object,
        record::Flood,
    },
    kernel::{
        crash,
        netlink::{Netlink, flood::NewFlood, link::Link},
    },
    model::{
        child::Child,
        description::{Degraded, Hairpin},
        flood::{FloodDevice, flood_index, flood_mac, flood_name},
        master::Master,
        members::Members,
    },
};

/// What is less without a flood device, as `degraded` names it.
const FEATURE: &str = "flood";

/// By what copies are to go.
const DEVICE: &str = "device";

impl Bpf {
    /// Brings the flood devices, of which those `present` were seen, to what these children need: one, or none;
    /// and devices of the host's own to not hear it. The children are to be in the maps already.
    ///
    /// # Errors
    ///
    /// A map cannot be read or written, or a device cannot be deleted. What else cannot be done is in the
    /// [description](crate::datapath::Datapath::description).
    pub async fn keep_flood(
        &mut self,
        master: &Master,
        present: &[FloodDevice],
        children: &[&Child],
    ) -> Result<()> {
        let before = self.record.clone();
        self.record.degraded.retain(|degraded| degraded.feature != FEATURE);
        self.keep_from_own(master, children).await?;
        let wanted = self.wants_flood(master, children);
        let kept = if wanted { self.whole_flood(master).await? } else { None };
        if kept.is_none() {
            self.maps.set_flood(0)?;
            self.record.flood = None;
        }
        let known = present.iter().map(|device| device.index);
        let known = known.chain(before.flood.as_ref().map(|flood| flood.index));
        let others: Vec<u32> = known.filter(|index| Some(*index) != kept).collect();
        remove(&self.netlink, &others).await?;
        if let Some(index) = kept {
            self.maps.set_flood(index)?;
        } else if wanted {
            self.make_flood(master).await?;
        }
        if self.record != before {
            self.maps.write_record(&self.record.to_text()?)?;
        }
        self.keep_ingress(master).await?;
        self.describe_anew()
    }

    /// Whether the flood device, or what is at ingress, may be another than the children need, as far as the maps tell. One that nobody
    /// needs does no harm: who looks at all children takes it away.
    ///
    /// # Errors
    ///
    /// A map cannot be read.
    pub fn flood_may_differ(&self, master: &Master) -> Result<bool> {
        let Members { policies, absent, .. } = &self.members;
        let mut hear = policies.iter().filter(|(mac, policy)| !policy.is_hosts() && !absent.contains(mac));
        let may = master.up && hear.all(|(_, policy)| policy.mode() == Mode::Bridge);
        let cannot = |degraded: &Degraded| concerns(degraded) && degraded.wanted == DEVICE;
        let is_refused = self.record.degraded.iter().any(cannot);
        let differs = self.copies_to_children()
            && if may { self.maps.flood()? == 0 && !is_refused } else { self.record.flood.is_some() };
        Ok(differs || self.ingress_may_differ()?)
    }

    /// The index of the flood device on record, if it is there and up, with programs of this version. The kernel is
    /// asked: what was seen of it may be late.
    async fn whole_flood(&self, master: &Master) -> Result<Option<u32>> {
        let recorded = self.record.flood.as_ref().filter(|flood| flood.object == object::digest());
        let Some(Flood { index, .. }) = recorded else { return Ok(None) };
        let link = self.netlink.link_by_index(*index, None).await?;
        let is_whole = |link: &Link| {
            link.lower == Some(master.index) && FloodDevice::from_link(link).is_some_and(|device| device.up)
        };
        Ok(link.filter(is_whole).map(|link| link.index))
    }

    /// Puts the program on those devices of the host's own that would hear what the host sends.
    async fn keep_from_own(&mut self, master: &Master, children: &[&Child]) -> Result<()> {
        let is_own = |child: &&&Child| self.copies_to_children() && self.is_hosts(child);
        let own: Vec<&Child> = children.iter().filter(is_own).copied().collect();
        let Self { netlink, directory, record, .. } = self;
        let failed = own_programs::keep(netlink, directory, master, record.hairpin, &own).await?;
        record.degraded.extend(failed.into_iter().map(|(device, error)| {
            let reason = format!("{device} hears what the host sends to all: {error:#}");
            Degraded::new(FEATURE, "children", "children and host", reason)
        }));
        Ok(())
    }

    /// Whether somebody hears copies of the host's broadcasts.
    fn copies_to_children(&self) -> bool {
        let hears_host = Config::flags_of(self.members.policies.values().copied()) & Config::FLOOD != 0;
        hears_host && matches!(self.record.hairpin, Hairpin::Tcx | Hairpin::Clsact)
    }

    /// Whether a device is the host's, and not treated as a child.
    fn is_hosts(&self, child: &Child) -> bool {
        self.members.policies.get(&child.mac).map_or_else(|| child.is_hosts(), |policy| policy.is_hosts())
    }

    /// Whether every child that is up gets what the driver floods from a device in mode bridge, and one of them
    /// may hear the host.
    fn wants_flood(&self, master: &Master, children: &[&Child]) -> bool {
        let hears = |child: &&&Child| !child.is_absent(master) && !self.is_hosts(child);
        master.up
            && self.copies_to_children()
            && children.iter().filter(hears).all(|child| child.mode == Mode::Bridge)
    }

    async fn make_flood(&mut self, master: &Master) -> Result<()> {
        let random = getrandom::u64().context("cannot draw the index of a device")?;
        let index = flood_index(random as u32);
        match self.make(master, index).await {
            Ok(()) => {
                self.record.flood = Some(Flood { index, object: object::digest() });
                self.maps.write_record(&self.record.to_text()?)?;
                self.maps.set_flood(index)
            }
            Err(error) => {
                let reason = format!(
                    "copies of the host's broadcasts come back up on the master, where its own packet sockets hear \
                     them: {error:#}"
                );
                self.record.degraded.push(Degraded::new(FEATURE, DEVICE, "master", reason));
                remove(&self.netlink, &[index]).await
            }
        }
    }

    async fn make(&self, master: &Master, index: u32) -> Result<()> {
        let name = flood_name(master);
        let cannot = || format!("cannot make {name:?}");
        let mac = flood_mac(getrandom::u64().context("cannot draw a MAC")?);
        let flood = NewFlood { master: master.index, index, name: &name, mac };
        self.netlink.create_flood(&flood).await.with_context(cannot)?;
        flood_programs::put(&self.directory, &name).with_context(cannot)?;
        self.netlink.finish_flood(index).await.with_context(cannot)?;
        crash::point("making a flood device")
    }
}

/// Whether this is about the flood device.
pub fn concerns(degraded: &Degraded) -> bool {
    degraded.feature == FEATURE
}

/// Removes flood devices; those that are gone already are no error.
///
/// # Errors
///
/// The first failure, after all others were tried.
pub async fn remove(netlink: &Netlink, indexes: &[u32]) -> Result<()> {
    let mut removed = Ok(());
    for index in indexes {
        let deleted = netlink.delete_link(*index, None).await;
        removed = removed.and(deleted.context("cannot remove a flood device"));
    }
    removed
}
