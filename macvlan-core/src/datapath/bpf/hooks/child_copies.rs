//! The program for children's own devices, of which each child has a copy, as its MAC is in it.

use std::{fs, path::Path};

use anyhow::{Context as _, Result, anyhow, bail};
use aya::{
    EbpfLoader,
    programs::{LinkOrder, SchedClassifier, TcAttachType, Xdp, XdpMode, links::FdLink, tc::TcAttachOptions},
};
use macvlan_common::{child::Policy, mac::Mac, names};

use crate::{
    datapath::bpf::{
        hooks::{
            device_pin,
            link::detach_link,
            refusal::{Mechanism, flat, reason, refused},
        },
        load::loader,
        object::{keep_rings_small, object},
    },
    kernel::{
        bpffs, crash,
        netlink::{Netlink, link::Link},
        netns::place::open_place,
    },
    model::child::Child,
};

/// Behind the name of a pin whose link is to take another one's place.
const NEXT: &str = "_new";

/// What is of one child's program alone.
pub struct Globals {
    own: u64,
    held: u64,
}

impl Globals {
    /// For one that is to hear what is sent to this MAC, and nothing that others here send to others.
    pub fn deaf(mac: Mac) -> Self {
        Self { own: mac.key(), held: 0 }
    }

    /// For the child of this MAC and policy.
    pub fn of(mac: Mac, policy: Policy) -> Self {
        Self { own: mac.key(), held: u64::from(policy.is_guarded()) }
    }
}

/// What is put on a child's own device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChildProgram {
    /// At TC egress: vouches for its frames.
    Vouch,
    /// XDP: keeps from it what others here send to others.
    Deafen,
    /// No program: a map that knows whether the device is there.
    Note,
}

/// Makes a copy of the programs for one child after another.
pub struct Copies<'a> {
    directory: &'a Path,
    /// Made when it is needed, and once: it reads the kernel's BTF.
    loader: Option<EbpfLoader<'a>>,
}

impl<'a> Copies<'a> {
    /// Nothing is made yet; the copies are pinned in `directory`.
    pub fn new(directory: &'a Path) -> Self {
        Self { directory, loader: None }
    }

    /// Puts a copy of a program on a child's device, in the place of one that is pinned as `name`.
    ///
    /// # Errors
    ///
    /// The device is gone or its namespace cannot be entered, the kernel has no TCX, or the process lacks a
    /// capability.
    pub async fn put_one(
        &mut self,
        netlink: &Netlink,
        child: &Child,
        name: &str,
        program: ChildProgram,
        globals: &'a Globals,
    ) -> Result<()> {
        let (place, device) = child.device();
        let index = child.key().1;
        let netns = open_place(netlink, &place).await?;
        let netns = netns.context("no path to its network namespace is known")?;
        // The name of a namespace may stand for another one by now.
        let inside = Netlink::open_in(&netns)?;
        let link = inside.link_by_index(index, None).await?;
        let is_it =
            |link: Link| link.is_child() && link.mac == Some(child.device_mac()) && link.name == device;
        if !link.is_some_and(is_it) {
            bail!("it is no longer there");
        }
        let directory = self.directory;
        let (pin, next) = (directory.join(name), directory.join(format!("{name}{NEXT}")));
        bpffs::remove_pin(&next)?;
        netns.run(|| {
            if program == ChildProgram::Note {
                return device_pin::put(&next, index);
            }
            self.attach(child, program, globals)?
                .pin(&next)
                .map(drop)
                .map_err(|error| anyhow!("{}", flat(&error)))
        })?;
        crash::point("pinning the link of a child's device")?;
        detach_link(&pin)?;
        fs::rename(&next, &pin).with_context(|| format!("cannot rename {next:?}"))?;
        crash::point("replacing the pin of a child's link")?;
        Ok(())
    }

    /// Attaches in the namespace of the calling thread: at egress last, as no other program is to change a frame
    /// that was vouched for.
    fn attach(&mut self, child: &Child, which: ChildProgram, globals: &'a Globals) -> Result<FdLink> {
        let directory = self.directory;
        let loader = self.loader.get_or_insert_with(|| {
            let mut loader = loader(directory);
            keep_rings_small(&mut loader);
            loader
        });
        loader.override_global(names::CHILD_OWN, &globals.own, true);
        loader.override_global(names::CHILD_HELD, &globals.held, true);
        let mut object = loader.load(object()).map_err(|error| anyhow!("{}", flat(&error)))?;
        if which == ChildProgram::Deafen {
            let program = object.program_mut(names::EAR).context("no such program in the object")?;
            let program: &mut Xdp = program.try_into()?;
            program.load().map_err(|error| refused(names::EAR, &error))?;
            let id = program.attach_to_if_index(child.key().1, XdpMode::Skb);
            let id = id.map_err(|error| anyhow!("cannot attach XDP: {}", reason(Mechanism::Xdp, &error)))?;
            return Ok(program.take_link(id)?.try_into()?);
        }
        let program = object.program_mut(names::CHILD_EGRESS).context("no such program in the object")?;
        let program: &mut SchedClassifier = program.try_into()?;
        program.load().map_err(|error| refused(names::CHILD_EGRESS, &error))?;
        let options = TcAttachOptions::TcxOrder(LinkOrder::last());
        let id = program.attach_with_options(child.device().1, TcAttachType::Egress, options);
        let id =
            id.map_err(|error| anyhow!("cannot attach a TCX link: {}", reason(Mechanism::Tcx, &error)))?;
        Ok(program.take_link(id)?.try_into()?)
    }
}
