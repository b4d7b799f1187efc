//! Putting the programs on the master's TC hooks.

use std::{fs, path::Path, thread};

use anyhow::{Context, Result, anyhow};
use aya::{
    Ebpf,
    programs::{
        LinkOrder, Program, SchedClassifier, TcAttachType, TcError,
        links::{FdLink, PinnedLink},
        tc::{NlOptions, SchedClassifierLink, TcAttachOptions, TcHandle, qdisc_add_clsact},
    },
};
use macvlan_common::names;

use crate::{
    datapath::bpf::hooks::{
        device_pin,
        link::detach_link,
        refusal::{Hook, flat, reason, refused},
    },
    kernel::{bpffs, crash, netlink::Netlink},
    model::{
        description::{Degraded, Hairpin},
        master::Master,
        options::TcChoice,
    },
};

/// File names of the pinned links.
pub const LINK_INGRESS: &str = "link_ingress";

pub const LINK_EGRESS: &str = "link_egress";

pub const LINK_XDP: &str = "link_xdp";

/// File name of the XDP program, whichever of the two it is: who reads its run time cannot go from
/// link to program without `CAP_SYS_ADMIN` (`bpf_prog_get_fd_by_id` in kernel/bpf/syscall.c).
pub const PROGRAM_XDP: &str = names::XDP;

/// Our place among other filters of a clsact qdisc: first coming up, so that nobody sees our
/// tag; last going down, so that nobody misses a packet that we turn around.
pub const PRIORITY_INGRESS: u16 = 1;

pub const PRIORITY_EGRESS: u16 = u16::MAX;

/// "mv" in the handle tells our filters apart in `tc filter show`.
pub const FILTER_HANDLE: TcHandle = TcHandle::new(0, 0x6d76);

/// The loaded programs, and where they are pinned.
pub struct Hooks<'a> {
    pub(crate) object: &'a mut Ebpf,
    pub(crate) directory: &'a Path,
    /// Takes the traced twin of each program.
    pub(crate) traced: bool,
}

impl<'a> Hooks<'a> {
    /// Pins the TC programs, which are loaded, so that filters can be told to be ours by their program even
    /// if this process is killed.
    pub fn pin(object: &'a mut Ebpf, directory: &'a Path) -> Result<Self> {
        let mut hooks = Self { object, directory, traced: false };
        for name in [names::INGRESS, names::EGRESS] {
            let pin = hooks.directory.join(name);
            hooks
                .classifier(name)?
                .pin(&pin)
                .map_err(|error| anyhow!("cannot pin program {name}: {}", flat(&error)))?;
            crash::point("pinning a program")?;
        }
        Ok(hooks)
    }

    /// Loads the TC programs, or their traced twins, each on a thread: the verifier takes its time for each, and
    /// uses one processor.
    pub fn verify(object: &mut Ebpf, traced: bool) -> Result<()> {
        let mut wanted = [names::INGRESS, names::EGRESS];
        for name in wanted.iter_mut().filter(|_| traced) {
            *name = traced_twin(name)?;
        }
        let mut programs: Vec<_> = object.programs_mut().filter(|(name, _)| wanted.contains(name)).collect();
        programs.sort_by_key(|(name, _)| *name);
        let verify = |(name, program): (&str, &mut Program)| -> Result<()> {
            let program: &mut SchedClassifier = program.try_into()?;
            program.load().map_err(|error| refused(name, &error))
        };
        thread::scope(|scope| {
            let threads: Vec<_> =
                programs.into_iter().map(|program| scope.spawn(move || verify(program))).collect();
            let panicked = |_| Err(anyhow!("the loading of a program panicked"));
            let verified = threads.into_iter().map(|thread| thread.join().unwrap_or_else(panicked));
            verified.fold(Ok(()), Result::and)
        })
    }

    /// Loads the TC programs, or their traced twins, where others are pinned already: their pins are
    /// replaced.
    pub fn load_beside(object: &'a mut Ebpf, directory: &'a Path, traced: bool) -> Result<Self> {
        Self::verify(object, traced)?;
        let mut hooks = Self { object, directory, traced };
        for name in [names::INGRESS, names::EGRESS] {
            let beside = hooks.directory.join(format!("{name}_new"));
            bpffs::remove_pin(&beside)?;
            hooks
                .classifier(name)?
                .pin(&beside)
                .map_err(|error| anyhow!("cannot pin program {name}: {}", flat(&error)))?;
            crash::point("pinning a program")?;
        }
        Ok(hooks)
    }

    /// What the object calls the program that is pinned as `name`.
    pub(crate) fn name_in_object<'n>(&self, name: &'n str) -> Result<&'n str> {
        if !self.traced {
            return Ok(name);
        }
        traced_twin(name)
    }

    fn classifier(&mut self, name: &str) -> Result<&mut SchedClassifier> {
        let name = self.name_in_object(name)?;
        let program =
            self.object.program_mut(name).with_context(|| format!("no program {name} in the object"))?;
        Ok(program.try_into()?)
    }

    /// Attaches to TC ingress, then egress: nothing is turned around before it can be received.
    ///
    /// Gives how, and what is less than the best. `note` is told whether a clsact qdisc will be
    /// ours before it is added.
    pub async fn attach_tc(
        &mut self,
        netlink: &Netlink,
        master: &Master,
        choice: TcChoice,
        note: impl FnOnce(bool) -> Result<()>,
    ) -> Result<(Hairpin, Option<Degraded>)> {
        let reason = if choice == TcChoice::Clsact {
            None
        } else {
            match self.attach_tcx(master) {
                Ok(()) => return Ok((Hairpin::Tcx, None)),
                Err(error) => {
                    // Both hooks or none: beside a filter, the link would handle each frame a second time.
                    for link in [LINK_EGRESS, LINK_INGRESS] {
                        detach_link(&self.directory.join(link))?;
                    }
                    if choice == TcChoice::Tcx {
                        return Err(error);
                    }
                    Some(format!("{error:#}"))
                }
            }
        };
        let owns_clsact = !netlink.has_clsact(master.index).await?;
        note(owns_clsact)?;
        self.attach_clsact(master, owns_clsact)?;
        let degraded = reason
            .map(|reason| Degraded::new("hairpin", Hairpin::Tcx.as_str(), Hairpin::Clsact.as_str(), reason));
        Ok((Hairpin::Clsact, degraded))
    }

    fn attach_tcx(&mut self, master: &Master) -> Result<()> {
        let directory = self.directory;
        let hooks = [
            (names::INGRESS, TcAttachType::Ingress, LinkOrder::first(), LINK_INGRESS),
            (names::EGRESS, TcAttachType::Egress, LinkOrder::last(), LINK_EGRESS),
        ];
        for (name, hook, order, pin) in hooks {
            attach_link(self.classifier(name)?, master, hook, order, &directory.join(pin))?;
        }
        Ok(())
    }

    fn attach_clsact(&mut self, master: &Master, add: bool) -> Result<()> {
        // Before the first filter: whoever finds the pins knows of the device.
        device_pin::pin(self.directory, master.index)?;
        crash::point("pinning the map of the device")?;
        if add {
            qdisc_add_clsact(&master.name).map_err(|error| no_clsact(master, &error))?;
            crash::point("adding a clsact qdisc")?;
        }
        let hooks = [
            (names::INGRESS, TcAttachType::Ingress, PRIORITY_INGRESS),
            (names::EGRESS, TcAttachType::Egress, PRIORITY_EGRESS),
        ];
        for (name, hook, priority) in hooks {
            let program = self.classifier(name)?;
            let options = NlOptions { priority, handle: FILTER_HANDLE, classid: None };
            let id = program
                .attach_with_options(&master.name, hook, TcAttachOptions::Netlink(options))
                .map_err(|error| anyhow!("cannot add a TC filter: {}", reason(Hook::Filter, &error)))?;
            // The filter stays: aya would remove it when the link is dropped.
            std::mem::forget(program.take_link(id)?);
            crash::point("adding a TC filter")?;
        }
        Ok(())
    }

    /// Puts the programs of this object where those pinned in the directory are, packet by packet
    /// without a gap.
    pub fn replace_tc(&mut self, master: &Master, hairpin: Hairpin) -> Result<()> {
        let hooks = [
            (names::INGRESS, TcAttachType::Ingress, PRIORITY_INGRESS, LINK_INGRESS),
            (names::EGRESS, TcAttachType::Egress, PRIORITY_EGRESS, LINK_EGRESS),
        ];
        for (name, hook, priority, pin) in hooks {
            let (place, link): (Hook, SchedClassifierLink) = match hairpin {
                Hairpin::Tcx => {
                    let pinned = PinnedLink::from_pin(self.directory.join(pin))?;
                    (Hook::Tcx, FdLink::from(pinned).try_into()?)
                }
                Hairpin::Clsact => (
                    Hook::Filter,
                    SchedClassifierLink::attached(&master.name, hook, priority, FILTER_HANDLE, None)?,
                ),
                Hairpin::Shim | Hairpin::Off => return Ok(()),
            };
            let program = self.classifier(name)?;
            let id = program
                .attach_to_link(link)
                .map_err(|error| anyhow!("cannot replace program {name}: {}", reason(place, &error)))?;
            let link = program.take_link(id)?;
            if hairpin == Hairpin::Clsact {
                // The filter stays, whatever fails from here on.
                std::mem::forget(link);
            }
            crash::point("replacing a program")?;
            let beside = self.directory.join(format!("{name}_new"));
            fs::rename(&beside, self.directory.join(name))
                .with_context(|| format!("cannot rename {beside:?}"))?;
            crash::point("replacing the pin of a program")?;
        }
        Ok(())
    }
}

/// Puts the program that is pinned in `directory` at TCX ingress before those that others have put before
/// it. Its place at egress stays: who came after it there has chosen that.
///
/// # Errors
///
/// The program or its link cannot be opened, attached or pinned.
pub fn put_first(directory: &Path, master: &Master) -> Result<()> {
    detach_link(&directory.join(LINK_INGRESS))?;
    attach_pinned(directory, master, names::INGRESS)
}

/// Attaches a program that is pinned in `directory` to its TCX hook, where it has no link.
///
/// # Errors
///
/// The program cannot be opened or attached, or its link cannot be pinned.
pub fn attach_pinned(directory: &Path, master: &Master, name: &str) -> Result<()> {
    let (hook, order, pin) = match name {
        names::INGRESS => (TcAttachType::Ingress, LinkOrder::first(), LINK_INGRESS),
        _ => (TcAttachType::Egress, LinkOrder::last(), LINK_EGRESS),
    };
    let mut program = SchedClassifier::from_pin(directory.join(name))
        .map_err(|error| anyhow!("cannot open program {name}: {}", flat(&error)))?;
    attach_link(&mut program, master, hook, order, &directory.join(pin))
}

fn attach_link(
    program: &mut SchedClassifier,
    master: &Master,
    hook: TcAttachType,
    order: LinkOrder,
    pin: &Path,
) -> Result<()> {
    let id = program
        .attach_with_options(&master.name, hook, TcAttachOptions::TcxOrder(order))
        .map_err(|error| anyhow!("cannot attach a TCX link: {}", reason(Hook::Tcx, &error)))?;
    crash::point("attaching a TCX link")?;
    let link: FdLink = program.take_link(id)?.try_into()?;
    link.pin(pin).map_err(|error| anyhow!("cannot pin a TCX link: {}", flat(&error)))?;
    crash::point("pinning a TCX link")
}

fn traced_twin(name: &str) -> Result<&'static str> {
    names::traced(name).with_context(|| format!("program {name} has no traced twin"))
}

fn no_clsact(master: &Master, error: &TcError) -> anyhow::Error {
    let name = &master.name;
    match error {
        TcError::NetlinkError(error) if error.raw_os_error() == Some(libc::EEXIST) => {
            anyhow!(
                "cannot add a clsact qdisc: another qdisc is in its place, see: tc qdisc show dev {name} ingress"
            )
        }
        error => anyhow!("cannot add a clsact qdisc: {}", flat(error)),
    }
}
