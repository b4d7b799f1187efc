//! Putting the programs on the master's hooks, and taking exactly those off again.

use std::{fs, path::Path};

use anyhow::{Context, Result, anyhow, bail};
use aya::{
    Ebpf,
    programs::{
        LinkOrder, ProgramError, SchedClassifier, TcAttachType, Xdp, XdpMode,
        links::{FdLink, PinnedLink},
        tc::{NlOptions, SchedClassifierLink, TcAttachOptions, TcHandle, qdisc_add_clsact},
        xdp::XdpLink,
    },
};
use macvlan_common::names;
use nix::errno::Errno;

use super::{
    flat,
    link::{detach_pinned_link, pinned_link_ifindex, pinned_link_program},
    maps::Maps,
    record::Record,
    vouching,
};
use crate::{
    bpffs, crash,
    datapath::{
        Degraded, Demux, Hairpin,
        choose::{TcChoice, XdpChoice, XdpPlan, plan_xdp},
    },
    master::Master,
    netlink::{
        Netlink,
        clsact::{self, Filter},
    },
};

/// File names of the pinned links.
const LINK_INGRESS: &str = "link_ingress";
const LINK_EGRESS: &str = "link_egress";
pub(super) const LINK_XDP: &str = "link_xdp";

/// File name of the XDP program, whichever of the two it is: who reads its run time cannot go from
/// link to program without `CAP_SYS_ADMIN` (`bpf_prog_get_fd_by_id` in kernel/bpf/syscall.c).
pub const PROGRAM_XDP: &str = names::XDP;

/// Our place among other filters of a clsact qdisc: first coming up, so that nobody sees our
/// tag; last going down, so that nobody misses a packet that we turn around.
const PRIORITY_INGRESS: u16 = 1;
const PRIORITY_EGRESS: u16 = u16::MAX;
/// "mv" in the handle tells our filters apart in `tc filter show`.
const FILTER_HANDLE: TcHandle = TcHandle::new(0, 0x6d76);

/// The loaded programs, and where they are pinned.
pub struct Hooks<'a> {
    pub(super) object: &'a mut Ebpf,
    pub(super) directory: &'a Path,
    /// Takes the traced twin of each program.
    pub(super) traced: bool,
}

impl<'a> Hooks<'a> {
    /// Loads the TC programs and pins them, so that filters can be told to be ours by their
    /// program even if this process is killed.
    pub fn load(object: &'a mut Ebpf, directory: &'a Path) -> Result<Self> {
        let mut hooks = Self { object, directory, traced: false };
        for name in [names::INGRESS, names::EGRESS] {
            let program = hooks.classifier(name)?;
            program.load().map_err(|error| refused(name, &error))?;
            let pin = hooks.directory.join(name);
            hooks
                .classifier(name)?
                .pin(&pin)
                .map_err(|error| anyhow!("cannot pin program {name}: {}", flat(&error)))?;
            crash::point("pinning a program");
        }
        Ok(hooks)
    }

    /// Lets the kernel judge these TC programs, and no more.
    pub fn try_load(object: &'a mut Ebpf, programs: &[&str]) -> Result<()> {
        let mut hooks = Self { object, directory: Path::new(""), traced: false };
        for name in programs {
            hooks.classifier(name)?.load().map_err(|error| refused(name, &error))?;
        }
        Ok(())
    }

    /// Loads the TC programs, or their traced twins, where others are pinned already: their pins are
    /// replaced.
    pub fn load_beside(object: &'a mut Ebpf, directory: &'a Path, traced: bool) -> Result<Self> {
        let mut hooks = Self { object, directory, traced };
        for name in [names::INGRESS, names::EGRESS] {
            let program = hooks.classifier(name)?;
            program.load().map_err(|error| refused(name, &error))?;
            let beside = hooks.directory.join(format!("{name}_new"));
            bpffs::remove_pin(&beside)?;
            hooks
                .classifier(name)?
                .pin(&beside)
                .map_err(|error| anyhow!("cannot pin program {name}: {}", flat(&error)))?;
            crash::point("pinning a program");
        }
        Ok(hooks)
    }

    /// What the object calls the program that is pinned as `name`.
    pub(super) fn name_in_object<'n>(&self, name: &'n str) -> Result<&'n str> {
        if !self.traced {
            return Ok(name);
        }
        names::traced(name).with_context(|| format!("program {name} has no traced twin"))
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
                Err(error) if choice == TcChoice::Tcx => return Err(error),
                Err(error) => Some(format!("{error:#}")),
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
            let program = self.classifier(name)?;
            let id = program
                .attach_with_options(&master.name, hook, TcAttachOptions::TcxOrder(order))
                .map_err(|error| anyhow!("cannot attach a TCX link: {}", reason(&error)))?;
            crash::point("attaching a TCX link");
            let link: FdLink = program.take_link(id)?.try_into()?;
            link.pin(directory.join(pin))
                .map_err(|error| anyhow!("cannot pin a TCX link: {}", flat(&error)))?;
            crash::point("pinning a TCX link");
        }
        Ok(())
    }

    fn attach_clsact(&mut self, master: &Master, add: bool) -> Result<()> {
        if add {
            qdisc_add_clsact(&master.name)
                .map_err(|error| anyhow!("cannot add a clsact qdisc: {}", flat(&error)))?;
            crash::point("adding a clsact qdisc");
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
                .map_err(|error| anyhow!("cannot add a TC filter: {}", reason(&error)))?;
            crash::point("adding a TC filter");
            // The filter stays: aya would remove it when the link is dropped.
            std::mem::forget(program.take_link(id)?);
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
            let link: SchedClassifierLink = match hairpin {
                Hairpin::Tcx => {
                    let pinned = PinnedLink::from_pin(self.directory.join(pin))?;
                    FdLink::from(pinned).try_into()?
                }
                Hairpin::Clsact => {
                    SchedClassifierLink::attached(&master.name, hook, priority, FILTER_HANDLE, None)?
                }
                Hairpin::Shim | Hairpin::Off => return Ok(()),
            };
            let program = self.classifier(name)?;
            let id = program
                .attach_to_link(link)
                .map_err(|error| anyhow!("cannot replace program {name}: {}", reason(&error)))?;
            crash::point("replacing a program");
            let link = program.take_link(id)?;
            if hairpin == Hairpin::Clsact {
                std::mem::forget(link);
            }
            let beside = self.directory.join(format!("{name}_new"));
            fs::rename(&beside, self.directory.join(name))
                .with_context(|| format!("cannot rename {beside:?}"))?;
            crash::point("replacing the pin of a program");
        }
        Ok(())
    }

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
            .map_err(|error| anyhow!("cannot attach XDP: {}", reason(&error)))?;
        let link: XdpLink = program.take_link(id)?;
        // On a kernel without XDP links (before 5.9) the program would end with this process.
        let link = FdLink::try_from(link).context("the kernel has no XDP links")?;
        let pin = self.directory.join(LINK_XDP);
        crash::point("attaching the XDP link");
        link.pin(pin).map_err(|error| anyhow!("cannot pin the XDP link: {}", flat(&error)))?;
        crash::point("pinning the XDP link");
        // It works without: only its run time stays unknown.
        if let Err(error) = program.pin(self.directory.join(PROGRAM_XDP)) {
            log::warn!("cannot pin program {name}: {}", flat(&error));
        }
        Ok(())
    }
}

/// Checks that what is pinned in `directory` is still on `master`.
///
/// # Errors
///
/// When it is not.
pub async fn verify(netlink: &Netlink, directory: &Path, master: &Master, record: &Record) -> Result<()> {
    let mut links = Vec::new();
    match record.hairpin {
        Hairpin::Tcx => links.extend([LINK_INGRESS, LINK_EGRESS]),
        Hairpin::Clsact => verify_filters(netlink, directory, master).await?,
        Hairpin::Shim | Hairpin::Off => {}
    }
    if matches!(record.demux, Demux::XdpNative | Demux::XdpGeneric) {
        links.push(LINK_XDP);
    }
    for name in links {
        if pinned_link_ifindex(&directory.join(name))? != master.index {
            bail!("{name} is no longer on {:?}", master.name);
        }
    }
    Ok(())
}

async fn verify_filters(netlink: &Netlink, directory: &Path, master: &Master) -> Result<()> {
    let ours = our_programs(directory);
    let filters = netlink.clsact_filters(master.index).await?;
    for hook in [clsact::Hook::Ingress, clsact::Hook::Egress] {
        let is_ours =
            |filter: &Filter| filter.hook == hook && filter.program.is_some_and(|id| ours.contains(&id));
        if !filters.iter().any(is_ours) {
            bail!("somebody removed our TC filters from {:?}", master.name);
        }
    }
    Ok(())
}

/// Whether the links pinned in `directory` have lost their device.
pub fn lost_device(directory: &Path) -> bool {
    [LINK_INGRESS, LINK_EGRESS, LINK_XDP]
        .iter()
        .any(|link| pinned_link_ifindex(&directory.join(link)).is_ok_and(|index| index == 0))
}

/// Takes off `master` what is pinned in `directory`: the hairpin first, so that nothing is turned
/// around that could not be received.
///
/// # Errors
///
/// The first failure, after everything else was tried.
pub async fn remove(netlink: &Netlink, master: &Master, directory: &Path, owns_clsact: bool) -> Result<()> {
    let ours = Ours::of(directory);
    let egress = detach_link(&directory.join(LINK_EGRESS));
    let xdp = detach_link(&directory.join(LINK_XDP));
    let filters = remove_filters(netlink, master, &ours, owns_clsact).await;
    let ingress = detach_link(&directory.join(LINK_INGRESS));
    // Last: while the master's programs are there, they drop what these have not vouched for.
    let children = vouching::remove(directory);
    egress.and(xdp).and(filters).and(ingress).and(children)
}

/// Takes a pinned link off its device now, and removes the pin. Without the pin alone, the kernel
/// lets go of the link some time later (`bpf_link_put_deferred` in kernel/bpf/syscall.c).
pub(super) fn detach_link(pin: &Path) -> Result<()> {
    if fs::exists(pin)? {
        // On a kernel without BPF_LINK_DETACH (before 5.9) it goes with its pin.
        let _ = detach_pinned_link(pin);
        crash::point("detaching a link");
    }
    bpffs::remove_pin(pin)
}

/// Ids of all programs pinned in `directory`, by themselves or by their link.
pub fn program_ids(directory: &Path) -> Vec<u32> {
    let mut programs = our_programs(directory);
    let links = [LINK_INGRESS, LINK_EGRESS, LINK_XDP].iter();
    programs.extend(links.filter_map(|link| pinned_link_program(&directory.join(link)).ok()));
    programs.extend(vouching::program_ids(directory));
    programs
}

/// Ids of the TC programs pinned in `directory`.
fn our_programs(directory: &Path) -> Vec<u32> {
    let mut programs = Vec::new();
    for name in [names::INGRESS, names::EGRESS] {
        for file in [name.to_owned(), format!("{name}_new")] {
            let program = SchedClassifier::from_pin(directory.join(file)).ok();
            programs.extend(program.and_then(|program| program.info().ok()).map(|info| info.id()));
        }
    }
    programs
}

/// What tells our filters from others.
enum Ours {
    /// The ids of our programs.
    Programs(Vec<u32>),
    /// Our place among other filters: programs are pinned, and bpf(2) is refused.
    Place,
}

impl Ours {
    fn of(directory: &Path) -> Self {
        let programs = our_programs(directory);
        let is_pinned = [names::INGRESS, names::EGRESS].iter().any(|name| directory.join(name).exists());
        if programs.is_empty() && is_pinned { Self::Place } else { Self::Programs(programs) }
    }

    fn has(&self, filter: &Filter) -> bool {
        match self {
            Self::Programs(programs) => filter.program.is_some_and(|id| programs.contains(&id)),
            Self::Place => {
                let priority = match filter.hook {
                    clsact::Hook::Ingress => PRIORITY_INGRESS,
                    clsact::Hook::Egress => PRIORITY_EGRESS,
                };
                filter.program.is_some()
                    && (filter.priority, filter.handle) == (priority, u32::from(FILTER_HANDLE))
            }
        }
    }
}

async fn remove_filters(netlink: &Netlink, master: &Master, ours: &Ours, owns_clsact: bool) -> Result<()> {
    if !netlink.has_clsact(master.index).await? {
        return Ok(());
    }
    let filters = netlink.clsact_filters(master.index).await?;
    let mut mine: Vec<&Filter> = filters.iter().filter(|filter| ours.has(filter)).collect();
    mine.sort_by_key(|filter| filter.hook != clsact::Hook::Egress);
    for filter in &mine {
        netlink.delete_filter(master.index, filter).await?;
    }
    if owns_clsact && mine.len() == filters.len() {
        netlink.delete_clsact(master.index).await?;
    }
    Ok(())
}

/// How the lines begin that the verifier ends its log with, whatever it found.
const SUMMARY: [&str; 3] = ["processed", "stack depth", "verification time"];

/// The verifier's or the kernel's word on a program that it refused.
pub fn refused(name: &str, error: &ProgramError) -> anyhow::Error {
    match error {
        ProgramError::LoadError { io_error, verifier_log } => {
            let log = verifier_log.to_string();
            let tells = |line: &&str| !line.is_empty() && !SUMMARY.iter().any(|head| line.starts_with(head));
            let last = log.lines().rev().find(tells);
            let word = last.map(|line| format!(" ({line})")).unwrap_or_default();
            anyhow!("the kernel refuses program {name}: {}{word}", crate::netns::errno(io_error))
        }
        error => anyhow!("cannot load program {name}: {}", flat(error)),
    }
}

/// Why an attach was refused: the kernel's error, without aya's way there.
pub fn reason(error: &ProgramError) -> String {
    let io_error = match error {
        ProgramError::SyscallError(error) => error.io_error.raw_os_error(),
        _ => None,
    };
    match io_error.map(Errno::from_raw) {
        Some(Errno::EBUSY | Errno::EEXIST) => "another XDP program is attached".to_owned(),
        Some(Errno::EOPNOTSUPP) => "not supported by the driver".to_owned(),
        Some(Errno::EINVAL) => "not supported by the kernel or the driver".to_owned(),
        Some(errno) => errno.desc().to_lowercase(),
        None => flat(error),
    }
}
