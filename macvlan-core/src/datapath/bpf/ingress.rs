//! Whether our program is at TC ingress of the master: `--ingress`.
//!
//! The hairpin of unicast needs none there, nor what goes through the flood device. A master without one is *lean*: nothing
//! that is turned around bears a tag then. The record says so before the program goes, and no longer once it is
//! back, so a killed command leaves what the next one completes.

use std::{collections::BTreeMap, fs};

use anyhow::Result;
use aya::programs::TcAttachType;
use macvlan_common::{child::Policy, mac::Mac, names};

use crate::{
    datapath::bpf::{
        attached::Bpf,
        hooks::{
            link::{detach_link, pinned_link_ifindex},
            pinned,
            tc::{
                LINK_INGRESS, PRIORITY_INGRESS, attach_filter, attach_pinned, open_pinned_program,
                replace_filter,
            },
        },
        ingress_need::{need, need_with_flood},
    },
    kernel::{bpffs, netlink::clsact::Direction},
    model::{
        description::Hairpin,
        master::Master,
        options::{IngressChoice, OptionValues},
    },
};

impl Bpf {
    /// Whether no program of ours is at TC ingress.
    pub fn is_lean(&self) -> bool {
        self.record.lean
    }

    /// Puts the program back at ingress before these children, or these options, need it.
    ///
    /// # Errors
    ///
    /// It cannot be attached, or a map cannot be written.
    pub(crate) fn prepare_ingress(
        &mut self,
        master: &Master,
        options: &OptionValues,
        single: bool,
        members: &BTreeMap<Mac, Policy>,
    ) -> Result<()> {
        if self.record.lean
            && (options.ingress == IngressChoice::On || need(options, single, members).is_some())
        {
            self.put_at_ingress(master)?;
        }
        Ok(())
    }

    /// Puts the program back at ingress, whoever needs it. What is turned around bears a tag before there is somebody to
    /// take it off, as without a tag it would be judged anew.
    ///
    /// # Errors
    ///
    /// It cannot be attached, or a map cannot be written.
    pub(crate) fn put_at_ingress(&mut self, master: &Master) -> Result<()> {
        if !self.record.lean {
            return Ok(());
        }
        self.maps.set_lean(false)?;
        match self.record.hairpin {
            Hairpin::Tcx => {
                let link = self.directory.join(LINK_INGRESS);
                if !pinned_link_ifindex(&link).is_ok_and(|index| index == master.index) {
                    bpffs::remove_pin(&link)?;
                    attach_pinned(&self.directory, master, names::INGRESS)?;
                }
            }
            Hairpin::Clsact => {
                let mut program = open_pinned_program(&self.directory, names::INGRESS)?;
                let name = &master.name;
                let put = attach_filter(&mut program, name, TcAttachType::Ingress, PRIORITY_INGRESS);
                // A command that was killed may have put it there.
                let mut here = || replace_filter(&mut program, name, TcAttachType::Ingress, PRIORITY_INGRESS);
                put.or_else(|error| here().map_err(|_| error))?;
            }
            Hairpin::Shim | Hairpin::Off => {}
        }
        self.set_lean_on_record(false)
    }

    /// Whether a program is at ingress that nothing needs, or is not though something does.
    ///
    /// # Errors
    ///
    /// The map cannot be read.
    pub(crate) fn ingress_may_differ(&self) -> Result<bool> {
        Ok(self.may_be_lean() && self.wants_lean()? != self.record.lean)
    }

    /// Takes the program from ingress where nothing needs it, or puts it back. The flood device is to be as it stays.
    ///
    /// # Errors
    ///
    /// The program cannot be attached or taken off, or a map cannot be read or written.
    pub(crate) async fn keep_ingress(&mut self, master: &Master) -> Result<()> {
        if !self.may_be_lean() {
            return Ok(());
        }
        if self.wants_lean()? { self.take_from_ingress(master).await } else { self.put_at_ingress(master) }
    }

    /// Takes the program from ingress. What is on its way with a tag is received with it.
    pub(crate) async fn take_from_ingress(&mut self, master: &Master) -> Result<()> {
        self.set_lean_on_record(true)?;
        match self.record.hairpin {
            Hairpin::Tcx if fs::exists(self.directory.join(LINK_INGRESS))? => {
                detach_link(&self.directory.join(LINK_INGRESS))?;
            }
            Hairpin::Clsact => {
                pinned::remove_filter(&self.netlink, master, &self.directory, Direction::Ingress).await?;
            }
            _ => {}
        }
        self.maps.set_lean(true)
    }

    /// While its programs are traced, or of another version, everything is where it was.
    fn may_be_lean(&self) -> bool {
        let is_attached = matches!(self.record.hairpin, Hairpin::Tcx | Hairpin::Clsact);
        is_attached && self.record.is_current()
    }

    fn wants_lean(&self) -> Result<bool> {
        let needed = || anyhow::Ok(need_with_flood(&self.record, &self.members.policies, self.maps.flood()?));
        Ok(self.record.options.ingress != IngressChoice::On && needed()?.is_none())
    }

    fn set_lean_on_record(&mut self, lean: bool) -> Result<()> {
        if self.record.lean == lean {
            return Ok(());
        }
        self.record.lean = lean;
        self.maps.write_record(&self.record.to_text()?)
    }
}
