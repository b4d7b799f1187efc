//! Brings a data path that is in place to other options, and its programs to this version.

use std::collections::BTreeMap;

use anyhow::{Result, anyhow};
use macvlan_common::{child::Policy, mac::Mac};

use crate::{
    datapath::{
        bpf::{
            attached::Bpf,
            describe::guard_flags,
            hooks::{
                child_programs::{self, ChildPrograms},
                order, pinned,
                tc::{self, Hooks, Variant},
            },
            load::load_object,
            object,
            record::CHANGING,
            single_mac::is_single,
        },
        choose::{XdpPlan, plan_xdp},
    },
    model::{
        child::Child,
        description::{Degraded, Demux, Hairpin},
        keyword::Keyword,
        master::Master,
        options::{Options, StormLimit, TcChoice},
    },
};

impl Bpf {
    /// What [`update`](Self::update) would change, in words. What `options` leave out does not change.
    ///
    /// # Errors
    ///
    /// Another maximum of children is asked for, or other TC hooks: these do not change in place.
    pub fn changes(&self, master: &Master, options: &Options) -> Result<Vec<String>> {
        if let Some(wanted) = options.max_children
            && wanted != self.maps.max_children()
        {
            return Err(anyhow!(
                "the maximum of {} children cannot be changed in place: detach first",
                self.maps.max_children()
            ));
        }
        let present = self.record.options;
        let wanted = options.over(present);
        let (name, hairpin) = (&master.name, self.record.hairpin);
        let tc = match wanted.tc {
            TcChoice::Auto => hairpin,
            TcChoice::Tcx => Hairpin::Tcx,
            TcChoice::Clsact => Hairpin::Clsact,
        };
        // What was asked for before was tried before: whatever it came to stays.
        if tc != hairpin && wanted.tc != present.tc {
            return Err(anyhow!(
                "the data path is attached by {} and cannot change to {} in place: detach first",
                hairpin.as_str(),
                tc.as_str()
            ));
        }
        let mut changes = Vec::new();
        if wanted.adopt != present.adopt {
            let verb =
                if wanted.adopt { "adopt children of others" } else { "leave children of others alone" };
            changes.push(format!("{verb} on {name:?}"));
        }
        if wanted.drop_unknown != present.drop_unknown {
            changes.push(format!("set drop-unknown of {name:?} to {}", wanted.drop_unknown.as_str()));
        }
        if wanted.vepa_switch != present.vepa_switch {
            let verb = if wanted.vepa_switch { "expect" } else { "expect no" };
            changes.push(format!("{verb} reflective switch behind {name:?}"));
        }
        if wanted.directed_neigh != present.directed_neigh {
            let whom = if wanted.directed_neigh { "its owner alone" } else { "everybody" };
            changes.push(format!("send requests for a known address on {name:?} to {whom}"));
        }
        if wanted.storm_limit != present.storm_limit {
            changes.push(match wanted.storm_limit {
                StormLimit::PerSecond(limit) => {
                    format!("limit storms on {name:?} to {limit} frames per second")
                }
                StormLimit::Off => format!("lift the limit of storms on {name:?}"),
            });
        }
        if wanted.xdp != present.xdp {
            let (word, demux) = (wanted.xdp.as_str(), self.record.demux.as_str());
            changes.push(format!("set xdp of {name:?} to {word}; the demultiplexer is {demux} now"));
        }
        if wanted.tc != present.tc {
            let (word, hairpin) = (wanted.tc.as_str(), hairpin.as_str());
            changes.push(format!("set tc of {name:?} to {word}; it is attached by {hairpin} now"));
        }
        if wanted.ingress != present.ingress {
            changes.push(format!("set ingress of {name:?} to {}", wanted.ingress.as_str()));
        }
        if self.maps.master()? != master.mac {
            changes.push(format!("tell the programs on {name:?} its MAC, {}", master.mac));
        }
        if self.is_behind() {
            changes.push(format!("put the program at ingress of {name:?} first again"));
        }
        if is_single(&wanted, master) != self.record.single {
            changes.push(match self.record.single {
                true => format!("give the children on {name:?} their own MACs on the wire again"),
                false => format!("give the children on {name:?} its MAC on the wire, {}", master.mac),
            });
        } else if wanted.single_mac != present.single_mac {
            changes.push(format!("set single-mac of {name:?} to {}", wanted.single_mac.as_str()));
        }
        if wanted.isolation != present.isolation {
            changes.push(format!("set isolation of {name:?} to {}", wanted.isolation.as_str()));
        } else if self.lacks_strict() {
            changes.push(format!("make isolation on {name:?} strict again"));
        }
        if !self.record.is_current() {
            changes.push(format!("bring the programs on {name:?} to this version"));
        }
        Ok(changes)
    }

    /// Brings an existing data path to these options, of which those left out stay, and its programs to
    /// this version. That they are of this version is on record once [`vouch`](Self::vouch) has renewed
    /// those on the children's devices.
    ///
    /// # Errors
    ///
    /// When the machine cannot do it.
    pub async fn update(&mut self, master: &Master, options: &Options) -> Result<()> {
        self.changes(master, options)?;
        let before = self.record.clone();
        let wanted = options.over(self.record.options);
        let xdp = wanted.xdp;
        let demux = match plan_xdp(xdp, master.kind.as_deref()) {
            XdpPlan::Skip(_) => Demux::Tc,
            XdpPlan::Try(demux) => demux,
        };
        // A running trace puts the plain programs back itself.
        let single = is_single(&wanted, master);
        let (begins, ends) = (single && !self.record.single, self.record.single && !single);
        let is_current = self.record.is_current() || self.is_being_traced();
        self.prepare_ingress(master, &wanted, single, &self.members.policies.clone())?;
        if !is_current || self.record.demux != demux || begins || ends {
            self.put_at_ingress(master)?;
        }
        if !is_current || self.record.demux != demux || begins || ends {
            let directory = self.directory.clone();
            let mut object = load_object(&directory)?;
            let mut hooks = Hooks::load_beside(&mut object, &directory, Variant { single, traced: false })?;
            if begins || ends {
                self.record.object = format!("{}{CHANGING}", object::digest());
                self.maps.write_record(&self.record.to_text()?)?;
            }
            if begins {
                self.begin_single(master, &mut hooks)?;
            } else if ends {
                self.end_single(master, &mut hooks).await?;
            } else {
                hooks.replace_tc(master, self.record.hairpin)?;
            }
            self.record.single = single;
            if self.record.demux != demux || hooks.replace_xdp(demux).is_err() {
                hooks.detach_xdp(&mut self.maps)?;
                let (demux, reason) = hooks.attach_xdp(master, xdp, &mut self.maps)?;
                self.record.demux = demux;
                self.record.degraded.retain(|degraded| degraded.feature != "demux");
                self.record.degraded.extend(reason);
            }
            self.renewed = true;
        }
        if self.is_behind() {
            tc::put_first(&self.directory, master)?;
            let degraded = pinned::verify(&self.netlink, &self.directory, master, &self.record).await?;
            self.on_master.degraded = degraded;
        }
        self.record.options = wanted;
        self.maps.set_guard(guard_flags(&self.record, &self.members.policies))?;
        // A run that was killed on its way to another mode may have left the other flag.
        self.maps.set_demux(self.record.demux)?;
        self.maps.set_directs(wanted.directed_neigh)?;
        self.maps.set_storm_limit(wanted.storm_limit.per_second())?;
        if self.record != before {
            self.maps.write_record(&self.record.to_text()?)?;
        }
        self.describe_anew()
    }

    /// Whether others were put before our TCX program coming up, where the first place was ours.
    fn is_behind(&self) -> bool {
        let is_ingress = |degraded: &Degraded| degraded.feature == order::INGRESS;
        self.record.hairpin == Hairpin::Tcx && self.on_master.degraded.iter().any(is_ingress)
    }

    /// Lets the devices of those members that want it vouch for their frames, and those of no others.
    /// What cannot be is in the [description](crate::datapath::Datapath::description).
    ///
    /// # Errors
    ///
    /// A pin or a map cannot be written.
    pub async fn vouch(&mut self, children: &[&Child], members: &BTreeMap<Mac, Policy>) -> Result<()> {
        let vouching = child_programs::put(
            &self.netlink,
            &self.directory,
            self.on_master.mac,
            children,
            members,
            self.renewed,
        );
        let vouching = vouching.await?;
        let is_vouched = |mac: &Mac| vouching.by.contains(mac);
        if self.members.policies.iter().any(|(mac, policy)| policy.is_vouched() != is_vouched(mac)) {
            self.maps.set_vouched(&vouching.by)?;
            for (mac, policy) in &mut self.members.policies {
                *policy = policy.with_vouched(is_vouched(mac));
            }
        }
        self.maps.set_vouching(self.members.policies.keys().any(is_vouched))?;
        child_programs::take_off_others(&self.directory, &vouching)?;
        let before = self.record.clone();
        // Only now are all programs of this version: a run that is killed before leaves it to the next.
        if std::mem::take(&mut self.renewed) {
            self.record.object = object::digest();
        }
        self.record.degraded.retain(|degraded| !ChildPrograms::concerns(degraded));
        self.record.degraded.extend(vouching.degraded());
        let is_new = self.keep_strict(members)?;
        if self.record != before {
            self.maps.write_record(&self.record.to_text()?)?;
        } else if !is_new {
            return Ok(());
        }
        self.describe_anew()
    }
}
