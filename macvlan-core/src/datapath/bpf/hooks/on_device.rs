//! Everything on the hooks of a device, ours and that of others, in the order in which it runs.

use std::{collections::BTreeMap, io};

use anyhow::{Context as _, Result};
use aya::programs::loaded_programs;
use aya_obj::generated::bpf_attach_type;
use netlink_packet_route::{
    RouteNetlinkMessage,
    link::{LinkAttribute, LinkMessage, LinkXdp},
};

use crate::{
    datapath::bpf::hooks::link::tcx_programs,
    kernel::{
        errno::errno,
        netlink::{Netlink, clsact},
    },
};

/// A hook of a device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DeviceHook {
    /// XDP, in the driver, the stack or the NIC.
    Xdp,
    /// TCX ingress.
    TcxIngress,
    /// TCX egress.
    TcxEgress,
    /// Ingress of the clsact qdisc.
    ClsactIngress,
    /// Egress of the clsact qdisc.
    ClsactEgress,
}

/// A program on a hook.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OnHook {
    /// Where.
    pub hook: DeviceHook,
    /// Its id; `None` for a filter without eBPF.
    pub id: Option<u32>,
    /// Its name, where the kernel tells, and it was asked.
    pub name: Option<String>,
}

impl OnHook {
    /// Whether it is one of these programs.
    pub fn is_of(&self, programs: &[u32]) -> bool {
        self.id.is_some_and(|id| programs.contains(&id))
    }

    /// The program in words, without its place.
    pub fn title(&self) -> String {
        match (self.id, &self.name) {
            (Some(id), Some(name)) if !name.is_empty() => format!("program {id} ({name})"),
            (Some(id), _) => format!("program {id}"),
            (None, _) => "a filter without eBPF".to_owned(),
        }
    }
}

/// A way through the device's TC hooks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// Coming up.
    Ingress,
    /// Going down.
    Egress,
}

impl Side {
    /// Its hooks, in the order in which a frame passes them (`sch_handle_ingress` and
    /// `sch_handle_egress` in net/core/dev.c).
    const fn hooks(self) -> [DeviceHook; 2] {
        match self {
            Self::Ingress => [DeviceHook::TcxIngress, DeviceHook::ClsactIngress],
            Self::Egress => [DeviceHook::TcxEgress, DeviceHook::ClsactEgress],
        }
    }
}

/// Everything on the hooks of a device, in the order in which it runs, and what could not be read.
#[derive(Debug, Clone, Default)]
pub struct OnDevice {
    /// All programs, ours too.
    pub programs: Vec<OnHook>,
    /// Why TCX programs cannot be listed.
    pub tcx_hidden: Option<String>,
}

impl OnDevice {
    /// Looks at a device in the network namespace of the calling thread. Names are left out.
    ///
    /// # Errors
    ///
    /// The device is gone.
    pub async fn read(netlink: &Netlink, index: u32) -> Result<Self> {
        let mut found = Self::default();
        let mut add = |hook, id| found.programs.push(OnHook { hook, id, name: None });
        xdp_programs(netlink, index).await?.into_iter().for_each(|id| add(DeviceHook::Xdp, Some(id)));
        let mut hidden = None;
        let sides = [
            (bpf_attach_type::BPF_TCX_INGRESS, DeviceHook::TcxIngress),
            (bpf_attach_type::BPF_TCX_EGRESS, DeviceHook::TcxEgress),
        ];
        for (side, hook) in sides {
            match tcx_programs(index, side) {
                Ok(ids) => ids.into_iter().for_each(|id| add(hook, Some(id))),
                Err(error) => hidden = Some(refusal(&error)),
            }
        }
        for filter in netlink.clsact_filters(index).await? {
            let ingress = filter.hook == clsact::Direction::Ingress;
            add(if ingress { DeviceHook::ClsactIngress } else { DeviceHook::ClsactEgress }, filter.program);
        }
        found.tcx_hidden = hidden;
        Ok(found)
    }

    /// Finds the names of the programs, as far as the kernel tells: it asks for `CAP_SYS_ADMIN`
    /// (`bpf_prog_get_fd_by_id` in kernel/bpf/syscall.c).
    pub fn name_all(&mut self) {
        if self.programs.is_empty() {
            return;
        }
        let named = loaded_programs().filter_map(Result::ok);
        let names: BTreeMap<u32, String> =
            named.filter_map(|info| Some((info.id(), info.name_as_str()?.to_owned()))).collect();
        for program in &mut self.programs {
            program.name = program.id.and_then(|id| names.get(&id).cloned());
        }
    }

    /// What is on one of these hooks.
    pub fn on<'a>(&'a self, hooks: &'a [DeviceHook]) -> impl Iterator<Item = &'a OnHook> {
        self.programs.iter().filter(|program| hooks.contains(&program.hook))
    }

    /// Whether one of these programs is on this hook.
    pub fn has(&self, hook: DeviceHook, programs: &[u32]) -> bool {
        self.on(&[hook]).any(|program| program.is_of(programs))
    }

    /// What a frame passes on this side before the first of these programs.
    pub fn ahead_of(&self, programs: &[u32], side: Side) -> Vec<&OnHook> {
        let on = |hook| self.programs.iter().filter(move |program| program.hook == hook);
        let passed = side.hooks().into_iter().flat_map(on);
        passed.take_while(|program| !program.is_of(programs)).collect()
    }
}

/// The kernel's word on a list that it does not give.
fn refusal(error: &anyhow::Error) -> String {
    match error.root_cause().downcast_ref::<io::Error>() {
        Some(cause) => errno(cause),
        None => error.root_cause().to_string(),
    }
}

async fn xdp_programs(netlink: &Netlink, index: u32) -> Result<Vec<u32>> {
    let mut message = LinkMessage::default();
    message.header.index = index;
    let link = netlink.get(RouteNetlinkMessage::GetLink(message)).await;
    let Some(RouteNetlinkMessage::NewLink(link)) = link.context("cannot read the XDP programs")? else {
        return Ok(Vec::new());
    };
    let mut ids = Vec::new();
    for attribute in link.attributes {
        let LinkAttribute::Xdp(xdp) = attribute else { continue };
        ids.extend(xdp.into_iter().filter_map(|item| match item {
            LinkXdp::ProgId(id) | LinkXdp::DrvProgId(id) | LinkXdp::SkbProgId(id) | LinkXdp::HwProgId(id) => {
                Some(id)
            }
            _ => None,
        }));
    }
    ids.sort_unstable();
    ids.dedup();
    ids.retain(|id| *id != 0);
    Ok(ids)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_is_passed_first_is_ahead() {
        let on = |hook, id| OnHook { hook, id, name: None };
        let there = OnDevice {
            programs: vec![
                on(DeviceHook::TcxIngress, Some(1)),
                on(DeviceHook::TcxIngress, Some(2)),
                on(DeviceHook::TcxEgress, Some(3)),
                on(DeviceHook::ClsactEgress, None),
                on(DeviceHook::ClsactEgress, Some(4)),
                on(DeviceHook::ClsactEgress, Some(5)),
            ],
            tcx_hidden: None,
        };
        let ahead = |ours: u32, side| {
            there.ahead_of(&[ours], side).iter().map(|program| program.id).collect::<Vec<_>>()
        };
        assert_eq!(ahead(1, Side::Ingress), []);
        assert_eq!(ahead(2, Side::Ingress), [Some(1)]);
        assert_eq!(ahead(3, Side::Egress), []);
        assert_eq!(ahead(4, Side::Egress), [Some(3), None], "TCX runs before the filters");
    }
}
