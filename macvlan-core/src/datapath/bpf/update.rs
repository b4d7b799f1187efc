//! Brings a data path that is in place to other options, and its programs to this version.

use std::collections::BTreeMap;

use anyhow::{Result, anyhow};
use macvlan_common::{child::Policy, mac::Mac};

use crate::{
    datapath::{
        bpf::{
            attached::Bpf,
            describe::{describe, guard_flags},
            hooks::{
                child_programs::{self, ChildPrograms},
                tc::Hooks,
            },
            load::load_object,
            record,
        },
        choose::{XdpPlan, plan_xdp},
    },
    model::{
        child::Child,
        description::{Demux, Hairpin},
        keyword::Keyword,
        master::Master,
        options::{Options, TcChoice},
    },
};

impl Bpf {
    /// What [`update`](Self::update) would change, in words.
    ///
    /// # Errors
    ///
    /// When something cannot change in place.
    pub fn changes(&self, master: &Master, options: &Options) -> Result<Vec<String>> {
        if let Some(wanted) = options.max_children
            && wanted != self.maps.max_children()
        {
            return Err(anyhow!(
                "the maximum of {} children cannot be changed in place: detach first",
                self.maps.max_children()
            ));
        }
        let tc = match options.tc {
            None | Some(TcChoice::Auto) => self.record.hairpin,
            Some(TcChoice::Tcx) => Hairpin::Tcx,
            Some(TcChoice::Clsact) => Hairpin::Clsact,
        };
        if tc != self.record.hairpin && options.tc != Some(self.record.tc) {
            return Err(anyhow!(
                "the data path is attached by {} and cannot change to {} in place: detach first",
                self.record.hairpin.as_str(),
                tc.as_str()
            ));
        }
        let mut changes = Vec::new();
        let name = &master.name;
        if self.record.adopts == options.no_adopt {
            let verb =
                if options.no_adopt { "leave children of others alone" } else { "adopt children of others" };
            changes.push(format!("{verb} on {name:?}"));
        }
        if let Some(wanted) = options.drop_unknown.filter(|wanted| *wanted != self.record.drop_unknown) {
            changes.push(format!("set drop-unknown of {name:?} to {}", wanted.as_str()));
        }
        if let Some(wanted) = options.vepa_switch.filter(|wanted| *wanted != self.record.vepa_switch) {
            let verb = if wanted { "expect" } else { "expect no" };
            changes.push(format!("{verb} reflective switch behind {name:?}"));
        }
        if self.record.directs == options.no_directed_neigh {
            let whom = if options.no_directed_neigh { "everybody" } else { "its owner alone" };
            changes.push(format!("send requests for a known address on {name:?} to {whom}"));
        }
        if self.record.storm_limit != options.storm_limit {
            changes.push(match options.storm_limit {
                Some(limit) => format!("limit storms on {name:?} to {limit} frames per second"),
                None => format!("lift the limit of storms on {name:?}"),
            });
        }
        // What was asked for before was tried before: whatever it came to stays.
        if let Some(xdp) = options.xdp.filter(|xdp| *xdp != self.record.xdp) {
            let (word, demux) = (xdp.as_str(), self.record.demux.as_str());
            changes.push(format!("set xdp of {name:?} to {word}; the demultiplexer is {demux} now"));
        }
        if !self.record.is_current() {
            changes.push(format!("bring the programs on {name:?} to this version"));
        }
        Ok(changes)
    }

    /// Brings an existing data path to these options, and its programs to this version. That they are of
    /// this version is on record once [`vouch`](Self::vouch) has renewed those on the children's devices.
    ///
    /// # Errors
    ///
    /// When the machine cannot do it.
    pub fn update(&mut self, master: &Master, options: &Options) -> Result<()> {
        self.changes(master, options)?;
        self.record.adopts = !options.no_adopt;
        self.record.directs = !options.no_directed_neigh;
        self.record.storm_limit = options.storm_limit;
        let xdp = options.xdp.unwrap_or(self.record.xdp);
        let demux = match plan_xdp(xdp, master.kind.as_deref()) {
            XdpPlan::Skip(_) => Demux::Tc,
            XdpPlan::Try(demux) => demux,
        };
        // A running trace puts the plain programs back itself.
        let is_current = self.record.is_current() || self.is_being_traced();
        if !is_current || self.record.demux != demux {
            let mut object = load_object(&self.directory, None)?;
            let mut hooks = Hooks::load_beside(&mut object, &self.directory, false)?;
            hooks.replace_tc(master, self.record.hairpin)?;
            if self.record.demux != demux || hooks.replace_xdp(demux).is_err() {
                hooks.detach_xdp(&mut self.maps)?;
                let (demux, reason) = hooks.attach_xdp(master, xdp, &mut self.maps)?;
                self.record.demux = demux;
                self.record.degraded.retain(|degraded| degraded.feature != "demux");
                self.record.degraded.extend(reason);
            }
            self.renewed = true;
        }
        self.record.xdp = xdp;
        self.record.drop_unknown = options.drop_unknown.unwrap_or(self.record.drop_unknown);
        self.record.vepa_switch = options.vepa_switch.unwrap_or(self.record.vepa_switch);
        self.maps.set_guard(guard_flags(&self.record, &self.maps.members()?))?;
        // A run that was killed on its way to another mode may have left the other flag.
        self.maps.set_demux(self.record.demux)?;
        self.maps.set_directs(self.record.directs)?;
        self.maps.set_storm_limit(self.record.storm_limit)?;
        self.maps.write_record(&self.record.to_text()?)?;
        self.description = describe(&self.record, &self.maps, &self.directory)?;
        Ok(())
    }

    /// Lets the devices of those members that want it vouch for their frames, and those of no others.
    /// What cannot be is in the [description](crate::datapath::Datapath::description).
    ///
    /// # Errors
    ///
    /// When the kernel refuses to change pins or maps.
    pub async fn vouch(&mut self, children: &[&Child], members: &BTreeMap<Mac, Policy>) -> Result<()> {
        let vouching = child_programs::put(&self.netlink, &self.directory, children, members, self.renewed);
        let vouching = vouching.await?;
        self.maps.set_vouched(&vouching.by)?;
        child_programs::take_off_others(&self.directory, children, members, &vouching.by)?;
        let before = self.record.clone();
        // Only now are all programs of this version: a run that is killed before leaves it to the next.
        if std::mem::take(&mut self.renewed) {
            self.record.object = record::object_digest();
        }
        self.record.degraded.retain(|degraded| !ChildPrograms::concerns(degraded));
        self.record.degraded.extend(vouching.degraded());
        if self.record != before {
            self.maps.write_record(&self.record.to_text()?)?;
        }
        self.description = describe(&self.record, &self.maps, &self.directory)?;
        Ok(())
    }
}
