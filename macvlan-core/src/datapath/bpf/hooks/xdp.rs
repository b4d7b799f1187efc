//! The demultiplexer in XDP: native, generic, or not.

use std::fs;

use anyhow::{Context as _, Result, anyhow};
use aya::programs::{
    Xdp, XdpMode,
    links::{FdLink, PinnedLink},
    xdp::XdpLink,
};
use macvlan_common::names;

use crate::{
    datapath::{
        bpf::{
            hooks::{
                link::detach_link,
                refusal::{Mechanism, flat, reason, refused},
                tc::{Hooks, LINK_XDP, PROGRAM_XDP},
            },
            maps::tables::Maps,
        },
        choose::{XdpPlan, plan_xdp},
    },
    kernel::{bpffs, crash},
    model::{
        description::{Degraded, Demux},
        master::Master,
        options::XdpChoice,
    },
};

impl Hooks<'_> {
    /// Takes our XDP program off, where there is one.
    pub fn detach_xdp(&mut self, maps: &mut Maps) -> Result<()> {
        detach_link(&self.directory.join(LINK_XDP))?;
        bpffs::remove_pin(&self.directory.join(PROGRAM_XDP))?;
        maps.set_demux(Demux::Tc)
    }

    /// Attaches to XDP as chosen, or says why TC ingress demultiplexes instead.
    pub fn attach_xdp(
        &mut self,
        master: &Master,
        choice: XdpChoice,
        maps: &mut Maps,
    ) -> Result<(Demux, Option<Degraded>)> {
        let wanted = match plan_xdp(choice, master.kind.as_deref()) {
            XdpPlan::Skip(reason) => return Ok((Demux::Tc, reason)),
            XdpPlan::Try(wanted) => wanted,
        };
        // TC ingress must leave to XDP what that judges, from its first frame on.
        maps.set_demux(wanted)?;
        match self.try_xdp(master, wanted) {
            Ok(()) => Ok((wanted, None)),
            Err(error) => {
                maps.set_demux(Demux::Tc)?;
                let reason = format!("{error:#}");
                Ok((Demux::Tc, Some(Degraded::new("demux", wanted.as_str(), Demux::Tc.as_str(), reason))))
            }
        }
    }

    fn try_xdp(&mut self, master: &Master, demux: Demux) -> Result<()> {
        let mode = if demux == Demux::XdpNative { XdpMode::Driver } else { XdpMode::Skb };
        // Multi-buffer first: without it large MTUs are refused, or generic XDP copies.
        self.try_xdp_program(names::XDP_FRAGS, master, mode)
            .or_else(|_| self.try_xdp_program(names::XDP, master, mode))
    }

    fn try_xdp_program(&mut self, name: &str, master: &Master, mode: XdpMode) -> Result<()> {
        let program =
            self.object.program_mut(name).with_context(|| format!("no program {name} in the object"))?;
        let program: &mut Xdp = program.try_into()?;
        program.load().map_err(|error| refused(name, &error))?;
        let id = program
            .attach_to_if_index(master.index, mode)
            .map_err(|error| anyhow!("cannot attach XDP: {}", reason(Mechanism::Xdp, &error)))?;
        let link: XdpLink = program.take_link(id)?;
        // On a kernel without XDP links (before 5.9) the program would end with this process.
        let link = FdLink::try_from(link).context("the kernel has no XDP links")?;
        let pin = self.directory.join(LINK_XDP);
        crash::point("attaching the XDP link")?;
        link.pin(pin).map_err(|error| anyhow!("cannot pin the XDP link: {}", flat(&error)))?;
        crash::point("pinning the XDP link")?;
        // It works without: only its run time stays unknown.
        if let Err(error) = program.pin(self.directory.join(PROGRAM_XDP)) {
            log::warn!("cannot pin program {name}: {}", flat(&error));
        }
        Ok(())
    }
}

impl Hooks<'_> {
    /// Puts the XDP program of this object where that of the pinned link is, packet by packet without
    /// a gap (`bpf_xdp_link_update` in net/core/dev.c).
    pub(crate) fn replace_xdp(&mut self, demux: Demux) -> Result<()> {
        if !matches!(demux, Demux::XdpNative | Demux::XdpGeneric) {
            return Ok(());
        }
        // In the order in which they were tried when the link was made.
        self.replace_xdp_program(names::XDP_FRAGS).or_else(|_| self.replace_xdp_program(names::XDP))
    }

    fn replace_xdp_program(&mut self, name: &str) -> Result<()> {
        let name = self.name_in_object(name)?;
        let program =
            self.object.program_mut(name).with_context(|| format!("no program {name} in the object"))?;
        let program: &mut Xdp = program.try_into()?;
        program.load().map_err(|error| refused(name, &error))?;
        let pinned = PinnedLink::from_pin(self.directory.join(LINK_XDP))
            .map_err(|error| anyhow!("cannot open the XDP link: {}", flat(&error)))?;
        let link: XdpLink = FdLink::from(pinned).try_into()?;
        let id = program
            .attach_to_link(link)
            .map_err(|error| anyhow!("cannot replace program {name}: {}", reason(Mechanism::Xdp, &error)))?;
        crash::point("replacing the XDP program")?;
        // The pin holds the link.
        drop(program.take_link(id)?);
        let beside = self.directory.join(format!("{PROGRAM_XDP}_new"));
        bpffs::remove_pin(&beside)?;
        program.pin(&beside).map_err(|error| anyhow!("cannot pin program {name}: {}", flat(&error)))?;
        crash::point("pinning a program")?;
        fs::rename(&beside, self.directory.join(PROGRAM_XDP))
            .with_context(|| format!("cannot rename {beside:?}"))?;
        crash::point("replacing the pin of a program")?;
        Ok(())
    }
}
