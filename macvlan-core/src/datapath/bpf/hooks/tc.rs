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
        device_pin::{self, DEVICE},
        link::detach_link,
        refusal::{Mechanism, flat, reason, refused},
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

/// The programs for devices of the host's own, the flood device first: small, and without traced twins.
pub const BESIDE: [&str; 3] = [names::FLOOD_INGRESS, names::FLOOD_EGRESS, names::OWN_INGRESS];

/// The programs that are pinned under their names.
const PINNED: [&str; 5] = [names::INGRESS, names::EGRESS, BESIDE[0], BESIDE[1], BESIDE[2]];

/// Which programs stand for those of the usual names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Variant {
    /// The wire carries one MAC.
    pub single: bool,
    /// The traced twin of each.
    pub traced: bool,
}

impl Variant {
    /// What the object calls the program that is pinned as `name`.
    pub fn name_in_object(self, name: &str) -> Result<&str> {
        let name = if self.single { names::single(name).unwrap_or(name) } else { name };
        if self.traced { traced_twin(name) } else { Ok(name) }
    }
}

/// The loaded programs, and where they are pinned.
pub struct Hooks<'a> {
    pub(crate) object: &'a mut Ebpf,
    pub(crate) directory: &'a Path,
    pub(crate) variant: Variant,
}

impl<'a> Hooks<'a> {
    /// Pins the TC programs, which are loaded, so that filters can be told to be ours by their program even
    /// if this process is killed.
    pub fn pin(object: &'a mut Ebpf, directory: &'a Path, variant: Variant) -> Result<Self> {
        let mut hooks = Self { object, directory, variant };
        for name in PINNED {
            hooks.pin_program(name, &hooks.directory.join(name))?;
        }
        Ok(hooks)
    }

    fn pin_program(&mut self, name: &str, pin: &Path) -> Result<()> {
        let pinned = self.classifier(name)?.pin(pin);
        pinned.map_err(|error| anyhow!("cannot pin program {name}: {}", flat(&error)))?;
        crash::point("pinning a program")
    }

    /// Loads the TC programs of this variant, each on a thread: the verifier takes its time for each, and
    /// uses one processor. It takes next to none for those of devices beside it.
    pub fn verify(object: &mut Ebpf, variant: Variant) -> Result<()> {
        let wanted = [variant.name_in_object(names::INGRESS)?, variant.name_in_object(names::EGRESS)?];
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
        })?;
        let small = object.programs_mut().filter(|(name, _)| !variant.traced && BESIDE.contains(name));
        small.map(verify).fold(Ok(()), Result::and)
    }

    /// Loads the TC programs of this variant where others are pinned already: their pins are replaced.
    pub fn load_beside(object: &'a mut Ebpf, directory: &'a Path, variant: Variant) -> Result<Self> {
        Self::verify(object, variant)?;
        let mut hooks = Self { object, directory, variant };
        for name in [names::INGRESS, names::EGRESS] {
            let beside = hooks.directory.join(format!("{name}_new"));
            bpffs::remove_pin(&beside)?;
            hooks.pin_program(name, &beside)?;
        }
        // They are not on the master: whoever keeps the devices beside it puts these there.
        for name in BESIDE.iter().filter(|_| !variant.traced) {
            let (pin, beside) = (directory.join(name), directory.join(format!("{name}_new")));
            bpffs::remove_pin(&beside)?;
            hooks.pin_program(name, &beside)?;
            fs::rename(&beside, &pin).with_context(|| format!("cannot rename {beside:?}"))?;
            crash::point("replacing the pin of a program")?;
        }
        Ok(hooks)
    }

    /// What the object calls the program that is pinned as `name`.
    pub(crate) fn name_in_object<'n>(&self, name: &'n str) -> Result<&'n str> {
        self.variant.name_in_object(name)
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
            attach_link(self.classifier(name)?, &master.name, hook, order, &directory.join(pin))?;
        }
        Ok(())
    }

    fn attach_clsact(&mut self, master: &Master, add: bool) -> Result<()> {
        // Before the first filter: whoever finds the pins knows of the device.
        device_pin::put(&self.directory.join(DEVICE), master.index)?;
        crash::point("pinning the map of the device")?;
        if add {
            add_clsact(&master.name)?;
        }
        let hooks = [
            (names::INGRESS, TcAttachType::Ingress, PRIORITY_INGRESS),
            (names::EGRESS, TcAttachType::Egress, PRIORITY_EGRESS),
        ];
        for (name, hook, priority) in hooks {
            attach_filter(self.classifier(name)?, &master.name, hook, priority)?;
        }
        Ok(())
    }

    /// Puts the programs of this object where those pinned in the directory are, packet by packet
    /// without a gap.
    pub fn replace_tc(&mut self, master: &Master, hairpin: Hairpin) -> Result<()> {
        self.replace_tc_program(names::INGRESS, master, hairpin)?;
        self.replace_tc_program(names::EGRESS, master, hairpin)
    }

    /// The same for one of the two.
    pub fn replace_tc_program(&mut self, name: &str, master: &Master, hairpin: Hairpin) -> Result<()> {
        let (hook, priority, pin) = match name {
            names::INGRESS => (TcAttachType::Ingress, PRIORITY_INGRESS, LINK_INGRESS),
            _ => (TcAttachType::Egress, PRIORITY_EGRESS, LINK_EGRESS),
        };
        let (place, link): (Mechanism, SchedClassifierLink) = match hairpin {
            Hairpin::Tcx => {
                let pinned = PinnedLink::from_pin(self.directory.join(pin))?;
                (Mechanism::Tcx, FdLink::from(pinned).try_into()?)
            }
            Hairpin::Clsact => (
                Mechanism::Filter,
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
        crash::point("replacing the pin of a program")
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
    let mut program = open_pinned_program(directory, name)?;
    attach_link(&mut program, &master.name, hook, order, &directory.join(pin))
}

/// The TC program that is pinned in `directory` under its name.
///
/// # Errors
///
/// Nothing is pinned there, or the process lacks `CAP_BPF`.
pub fn open_pinned_program(directory: &Path, name: &str) -> Result<SchedClassifier> {
    SchedClassifier::from_pin(directory.join(name))
        .map_err(|error| anyhow!("cannot open program {name}: {}", flat(&error)))
}

/// Attaches a program to a TCX hook of the device of this name, and pins its link.
///
/// # Errors
///
/// The device is gone, the kernel has no TCX, or something is pinned there.
pub fn attach_link(
    program: &mut SchedClassifier,
    device: &str,
    hook: TcAttachType,
    order: LinkOrder,
    pin: &Path,
) -> Result<()> {
    let id = program
        .attach_with_options(device, hook, TcAttachOptions::TcxOrder(order))
        .map_err(|error| anyhow!("cannot attach a TCX link: {}", reason(Mechanism::Tcx, &error)))?;
    crash::point("attaching a TCX link")?;
    let link: FdLink = program.take_link(id)?.try_into()?;
    link.pin(pin).map_err(|error| anyhow!("cannot pin a TCX link: {}", flat(&error)))?;
    crash::point("pinning a TCX link")
}

/// Gives the device of this name a clsact qdisc.
///
/// # Errors
///
/// The device is gone, has one, or the kernel knows none.
pub fn add_clsact(device: &str) -> Result<()> {
    qdisc_add_clsact(device).map_err(|error| no_clsact(device, &error))?;
    crash::point("adding a clsact qdisc")
}

/// Attaches a program to a hook of the clsact qdisc of the device of this name. The filter stays when this
/// process ends.
///
/// # Errors
///
/// There is no such qdisc, or the place of the filter is taken.
pub fn attach_filter(
    program: &mut SchedClassifier,
    device: &str,
    hook: TcAttachType,
    priority: u16,
) -> Result<()> {
    let options = NlOptions { priority, handle: FILTER_HANDLE, classid: None };
    let id = program
        .attach_with_options(device, hook, TcAttachOptions::Netlink(options))
        .map_err(|error| anyhow!("cannot add a TC filter: {}", reason(Mechanism::Filter, &error)))?;
    // aya would remove it when the link is dropped.
    std::mem::forget(program.take_link(id)?);
    crash::point("adding a TC filter")
}

/// Puts a program in the place of ours at a hook of the clsact qdisc of the device of this name.
///
/// # Errors
///
/// There is none of ours.
pub fn replace_filter(
    program: &mut SchedClassifier,
    device: &str,
    hook: TcAttachType,
    priority: u16,
) -> Result<()> {
    let link = SchedClassifierLink::attached(device, hook, priority, FILTER_HANDLE, None)?;
    let id = program
        .attach_to_link(link)
        .map_err(|error| anyhow!("cannot replace a TC filter: {}", reason(Mechanism::Filter, &error)))?;
    std::mem::forget(program.take_link(id)?);
    Ok(())
}

fn traced_twin(name: &str) -> Result<&'static str> {
    names::traced(name).with_context(|| format!("program {name} has no traced twin"))
}

fn no_clsact(name: &str, error: &TcError) -> anyhow::Error {
    match error {
        TcError::NetlinkError(error) if error.raw_os_error() == Some(libc::EEXIST) => {
            anyhow!(
                "cannot add a clsact qdisc: another qdisc is in its place, see: tc qdisc show dev {name} ingress"
            )
        }
        error => anyhow!("cannot add a clsact qdisc: {}", flat(error)),
    }
}
