//! A data path as it was, to be brought back to when a command fails.

use anyhow::{Context as _, Error, Result, anyhow};

use crate::{
    datapath::bpf::{
        attached::Bpf,
        hooks::{
            child_programs::{self, ChildPrograms},
            step_back::OnHooks,
        },
        maps::image::Image,
        record::Record,
    },
    model::{child::Child, master::Master, members::Members},
};

/// Everything about the data path of a master that a command may change.
pub struct Before {
    record: Record,
    hooks: OnHooks,
    members: Members,
    image: Image,
}

impl Bpf {
    /// Remembers the data path as it is.
    ///
    /// # Errors
    ///
    /// The kernel does not read out a map, or a pinned program cannot be opened.
    pub fn remember(&self) -> Result<Before> {
        Ok(Before {
            record: self.record.clone(),
            hooks: OnHooks::of(&self.directory)?,
            members: self.members.clone(),
            image: self.maps.image()?,
        })
    }

    /// Brings the data path back to what it was, once its children are those of before. Programs on
    /// children's own devices that were brought to this version stay so, which the record does not say:
    /// the next attach does it again. Gives what could not be.
    pub async fn step_back(&mut self, master: &Master, children: &[&Child], before: Before) -> Vec<Error> {
        let Before { record, mut hooks, members, image } = before;
        let mut failed = Vec::new();
        let mut note = |done: Result<()>, what: &str| {
            failed.extend(done.with_context(|| format!("cannot put back {what}")).err());
        };
        note(hooks.put_back_tc(&self.directory, master, record.hairpin), "the TC programs");
        let demux = hooks.put_back_xdp(&self.directory, master, record.demux, &mut self.maps);
        note(demux, "the demultiplexer");

        // Before the policies that rely on them.
        let put = child_programs::put(
            &self.netlink,
            &self.directory,
            master.mac,
            children,
            &members.policies,
            false,
        )
        .await;
        let mut there = ChildPrograms::default();
        match put {
            Ok(put) => {
                let why = put.reasons();
                there = put;
                let vouched = members.policies.iter().filter(|(_, policy)| policy.is_vouched());
                for (mac, _) in vouched.filter(|(mac, _)| !there.by.contains(mac)) {
                    note(Err(anyhow!("{mac}: {why}")), "the program on a child's device");
                }
            }
            Err(error) => note(Err(error), "the programs on children's devices"),
        }
        note(self.maps.sync(master, &members).map(drop), "the children in the maps");
        note(self.maps.put_back(&image), "the settings");
        let others = child_programs::take_off_others(&self.directory, &there);
        note(others, "the programs on children's devices");
        note(record.to_text().and_then(|text| self.maps.write_record(&text)), "the record");
        self.record = record;
        self.renewed = false;
        note(self.keep_strict(&members.policies).map(drop), "the programs on the macvlan driver");
        if self.record.lean {
            let taken = self.take_from_ingress(master).await;
            failed.extend(taken.context("cannot take the program from ingress again").err());
        }
        if let Err(error) = self.now_holds(members) {
            failed.push(error.context("cannot put back the description"));
        }
        failed
    }
}
