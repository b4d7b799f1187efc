//! The programs on a master's hooks, remembered so that they can be put back.

use std::{fs, os::fd::OwnedFd, path::Path};

use anyhow::{Context, Result, anyhow, bail};
use aya::programs::{
    SchedClassifier, TcAttachType,
    links::{FdLink, PinnedLink},
    tc::SchedClassifierLink,
};
use macvlan_common::names;

use crate::{
    datapath::bpf::{
        hooks::{
            link::{
                detach_link, open_pinned, pin_open, pinned_link_id, pinned_link_ifindex, pinned_link_program,
                update_pinned_link,
            },
            refusal::{Mechanism, flat, reason},
            tc::{
                BESIDE, FILTER_HANDLE, Hooks, LINK_EGRESS, LINK_INGRESS, LINK_XDP, PRIORITY_EGRESS,
                PRIORITY_INGRESS, PROGRAM_XDP, Variant, attach_pinned,
            },
        },
        load::load_object,
        maps::tables::Maps,
    },
    kernel::bpffs,
    model::{
        description::{Demux, Hairpin},
        master::Master,
        options::XdpChoice,
    },
};

/// What is on the hooks of one master.
pub struct OnHooks {
    tc: Vec<(&'static str, SchedClassifier, u32)>,
    /// The demultiplexer's link, the program on it, and that program where it is pinned.
    xdp: Option<(u32, u32, Option<OwnedFd>)>,
}

impl OnHooks {
    /// Remembers what is pinned in `directory`.
    ///
    /// # Errors
    ///
    /// The pins of the TC programs cannot be opened.
    pub fn of(directory: &Path) -> Result<Self> {
        let mut tc = Vec::new();
        for name in [names::INGRESS, names::EGRESS] {
            let program = SchedClassifier::from_pin(directory.join(name))
                .map_err(|error| anyhow!("cannot open program {name}: {}", flat(&error)))?;
            let id = program.info()?.id();
            tc.push((name, program, id));
        }
        let link = directory.join(LINK_XDP);
        let xdp = match (pinned_link_id(&link), pinned_link_program(&link)) {
            (Ok(link), Ok(id)) => {
                let program = open_pinned(&directory.join(PROGRAM_XDP)).ok();
                Some((link, id, program))
            }
            _ => None,
        };
        Ok(Self { tc, xdp })
    }

    /// Puts back the TC programs that were replaced by others.
    ///
    /// # Errors
    ///
    /// A program cannot be attached or pinned.
    pub fn put_back_tc(&mut self, directory: &Path, master: &Master, hairpin: Hairpin) -> Result<()> {
        for name in BESIDE {
            bpffs::remove_pin(&directory.join(format!("{name}_new")))?;
        }
        for (name, program, id) in &mut self.tc {
            let (pin, beside) = (directory.join(*name), directory.join(format!("{name}_new")));
            let pinned = SchedClassifier::from_pin(&pin).ok();
            let pinned = pinned.and_then(|program| program.info().ok()).map(|info| info.id());
            // The pin is replaced last: with another one still beside it, the hook may have that.
            let is_own = pinned == Some(*id) && !fs::exists(&beside)?;
            let (hook, priority, link) = if *name == names::INGRESS {
                (TcAttachType::Ingress, PRIORITY_INGRESS, LINK_INGRESS)
            } else {
                (TcAttachType::Egress, PRIORITY_EGRESS, LINK_EGRESS)
            };
            if is_own {
                // Taken off to be put first, and not put back: its pin may be there still.
                let link = directory.join(link);
                let is_on = || pinned_link_ifindex(&link).is_ok_and(|index| index == master.index);
                if hairpin == Hairpin::Tcx && !is_on() {
                    bpffs::remove_pin(&link)?;
                    attach_pinned(directory, master, name)?;
                }
                continue;
            }
            let place = if hairpin == Hairpin::Tcx { Mechanism::Tcx } else { Mechanism::Filter };
            let link: SchedClassifierLink = match hairpin {
                Hairpin::Tcx => FdLink::from(PinnedLink::from_pin(directory.join(link))?).try_into()?,
                Hairpin::Clsact => {
                    SchedClassifierLink::attached(&master.name, hook, priority, FILTER_HANDLE, None)?
                }
                Hairpin::Shim | Hairpin::Off => continue,
            };
            let attached = program
                .attach_to_link(link)
                .map_err(|error| anyhow!("cannot put back program {name}: {}", reason(place, &error)))?;
            let link = program.take_link(attached)?;
            if hairpin == Hairpin::Clsact {
                // The filter stays: aya would remove it when the link is dropped.
                std::mem::forget(link);
            }
            bpffs::remove_pin(&beside)?;
            if pinned != Some(*id) {
                program
                    .pin(&beside)
                    .map_err(|error| anyhow!("cannot pin program {name}: {}", flat(&error)))?;
                fs::rename(&beside, &pin).with_context(|| format!("cannot rename {beside:?}"))?;
            }
        }
        Ok(())
    }

    /// Puts back the demultiplexer, which was this one.
    ///
    /// # Errors
    ///
    /// It cannot be attached or pinned.
    pub fn put_back_xdp(
        &mut self,
        directory: &Path,
        master: &Master,
        demux: Demux,
        maps: &mut Maps,
    ) -> Result<()> {
        let pin = directory.join(LINK_XDP);
        let Some((link, id, program)) = &mut self.xdp else {
            detach_link(&pin)?;
            return bpffs::remove_pin(&directory.join(PROGRAM_XDP));
        };
        bpffs::remove_pin(&directory.join(format!("{PROGRAM_XDP}_new")))?;
        let is_there = pinned_link_id(&pin).is_ok_and(|now| now == *link)
            && pinned_link_ifindex(&pin).is_ok_and(|index| index == master.index);
        if is_there && pinned_link_program(&pin).is_ok_and(|now| now == *id) {
            return Ok(());
        }
        if is_there && let Some(program) = program {
            update_pinned_link(&pin, program)?;
            let own = directory.join(PROGRAM_XDP);
            bpffs::remove_pin(&own)?;
            return pin_open(&own, program);
        }
        let choice = match demux {
            Demux::XdpNative => XdpChoice::Native,
            Demux::XdpGeneric => XdpChoice::Generic,
            Demux::Tc | Demux::Kernel => return Ok(()),
        };
        let mut object = load_object(directory)?;
        let mut hooks = Hooks { object: &mut object, directory, variant: Variant::default() };
        hooks.detach_xdp(maps)?;
        match hooks.attach_xdp(master, choice, maps)? {
            (now, _) if now == demux => Ok(()),
            (_, Some(degraded)) => bail!("cannot put back the XDP program: {degraded}"),
            (_, None) => bail!("cannot put back the XDP program"),
        }
    }
}
