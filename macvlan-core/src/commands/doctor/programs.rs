//! Programs of others on the hooks that we use.

use std::{collections::BTreeMap, io};

use anyhow::{Result, anyhow};
use aya::programs::{ProgramError, SchedClassifier, TcAttachType, loaded_programs};
use netlink_packet_route::{
    RouteNetlinkMessage,
    link::{LinkAttribute, LinkMessage, LinkXdp},
};

use crate::{
    commands::doctor::finding::{Finding, Status},
    kernel::{
        errno::errno,
        netlink::{Netlink, clsact},
    },
};

/// A hook of a device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hook {
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
pub struct Attached {
    /// Where.
    pub hook: Hook,
    /// Its id; `None` for a filter without eBPF.
    pub id: Option<u32>,
    /// Its name, where the kernel tells.
    pub name: Option<String>,
}

/// Everything on the hooks of a device, in the order in which it runs, and what could not be read.
#[derive(Debug, Clone, Default)]
pub struct Programs {
    /// All programs, ours too.
    pub attached: Vec<Attached>,
    /// Why TCX programs cannot be listed.
    pub tcx_hidden: Option<String>,
}

impl Programs {
    /// Looks at a device, in the network namespace of the calling thread.
    ///
    /// # Errors
    ///
    /// The device is gone.
    pub async fn read(netlink: &Netlink, ifname: &str, index: u32) -> Result<Self> {
        let mut programs = Self::default();
        let mut add = |hook, id| programs.attached.push(Attached { hook, id, name: None });
        xdp_programs(netlink, index).await?.into_iter().for_each(|id| add(Hook::Xdp, Some(id)));
        let hooks = [(TcAttachType::Ingress, Hook::TcxIngress), (TcAttachType::Egress, Hook::TcxEgress)];
        let mut hidden = None;
        for (side, hook) in hooks {
            match SchedClassifier::query_tcx(ifname, side) {
                Ok((_, infos)) => infos.iter().for_each(|info| add(hook, Some(info.id()))),
                Err(error) => hidden = Some(refusal(error)),
            }
        }
        for filter in netlink.clsact_filters(index).await? {
            let ingress = filter.hook == clsact::Direction::Ingress;
            add(if ingress { Hook::ClsactIngress } else { Hook::ClsactEgress }, filter.program);
        }
        programs.tcx_hidden = hidden;
        programs.name_all();
        Ok(programs)
    }

    fn name_all(&mut self) {
        if self.attached.is_empty() {
            return;
        }
        let named = loaded_programs().filter_map(Result::ok);
        let names: BTreeMap<u32, String> =
            named.filter_map(|info| Some((info.id(), info.name_as_str()?.to_owned()))).collect();
        for attached in &mut self.attached {
            attached.name = attached.id.and_then(|id| names.get(&id).cloned());
        }
    }
}

/// The kernel's word on a list that it does not give.
fn refusal(error: ProgramError) -> String {
    let error = anyhow!(error);
    match error.root_cause().downcast_ref::<io::Error>() {
        Some(cause) => errno(cause),
        None => error.root_cause().to_string(),
    }
}

async fn xdp_programs(netlink: &Netlink, index: u32) -> Result<Vec<u32>> {
    let mut message = LinkMessage::default();
    message.header.index = index;
    let Some(RouteNetlinkMessage::NewLink(link)) = netlink.get(RouteNetlinkMessage::GetLink(message)).await?
    else {
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

/// What the programs mean that are not `ours`, which is `None` where our own cannot be told.
pub fn judge(programs: &Programs, ours: Option<&[u32]>) -> Vec<Finding> {
    let mut findings = vec![
        judge_hooks(programs, ours, "foreign-xdp", &[Hook::Xdp], Status::Warning, XDP, Some(XDP_REMEDY)),
        judge_hooks(
            programs,
            ours,
            "foreign-tcx",
            &[Hook::TcxIngress, Hook::TcxEgress],
            Status::Note,
            TCX,
            None,
        ),
        judge_hooks(
            programs,
            ours,
            "foreign-clsact",
            &[Hook::ClsactIngress, Hook::ClsactEgress],
            Status::Note,
            CLSACT,
            None,
        ),
    ];
    if let Some(hidden) = &programs.tcx_hidden {
        findings[1] = Finding::new(Status::Note, "foreign-tcx", format!("cannot be listed: {hidden}"), TCX);
    }
    findings
}

const XDP: &str = "a device has room for one XDP program: another one keeps ours out, so that TC ingress \
                   demultiplexes, and what it drops or redirects no child sees";
const XDP_REMEDY: &str = "leave it if its place is right; else: ip link set DEVICE xdp off";
const TCX: &str = "ours is first coming up and last going down: a program before ours going down hides from it \
                   what it drops or redirects, one put before ours coming up sees our tags";
const CLSACT: &str = "TCX programs run before these filters; where ours are filters too, one that ends going \
                      down with a final verdict hides frames from ours";

fn judge_hooks(
    programs: &Programs,
    ours: Option<&[u32]>,
    check: &str,
    hooks: &[Hook],
    status: Status,
    reason: &str,
    remedy: Option<&str>,
) -> Finding {
    let is_ours =
        |attached: &&Attached| ours.is_some_and(|ours| attached.id.is_some_and(|id| ours.contains(&id)));
    let there = programs.attached.iter().filter(|attached| hooks.contains(&attached.hook));
    let (own, foreign): (Vec<_>, Vec<_>) = there.partition(is_ours);
    if foreign.is_empty() {
        let found = if own.is_empty() { "none" } else { "none but ours" };
        return Finding::new(Status::Ok, check, found, reason);
    }
    let list = foreign.iter().map(|attached| describe(attached)).collect::<Vec<_>>().join(", ");
    // Without a look at our pins, any of them may be ours.
    let (status, found) = match ours {
        Some(_) => (status, list),
        None => (Status::Note, format!("{list}; whose, only root can tell")),
    };
    let finding = Finding::new(status, check, found, reason);
    match remedy.filter(|_| ours.is_some()) {
        Some(remedy) => finding.remedy(remedy),
        None => finding,
    }
}

fn describe(attached: &Attached) -> String {
    let hook = match attached.hook {
        Hook::Xdp => "",
        Hook::TcxIngress | Hook::ClsactIngress => " at ingress",
        Hook::TcxEgress | Hook::ClsactEgress => " at egress",
    };
    match (attached.id, &attached.name) {
        (Some(id), Some(name)) if !name.is_empty() => format!("program {id} ({name}){hook}"),
        (Some(id), _) => format!("program {id}{hook}"),
        (None, _) => format!("a filter without eBPF{hook}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn on(hook: Hook, id: u32) -> Attached {
        Attached { hook, id: Some(id), name: Some(format!("p{id}")) }
    }

    fn statuses(attached: Vec<Attached>, ours: Option<&[u32]>) -> Vec<Status> {
        let programs = Programs { attached, tcx_hidden: None };
        judge(&programs, ours).iter().map(|finding| finding.status).collect()
    }

    #[test]
    fn our_own_programs_are_not_foreign_whatever_their_name() {
        use Status::{Note, Ok, Warning};
        let all = || vec![on(Hook::Xdp, 1), on(Hook::TcxEgress, 2), on(Hook::ClsactIngress, 3)];
        assert_eq!(statuses(all(), Some(&[1, 2, 3])), [Ok, Ok, Ok]);
        assert_eq!(statuses(all(), Some(&[])), [Warning, Note, Note]);
        assert_eq!(statuses(all(), Some(&[1, 3])), [Ok, Note, Ok]);
        assert_eq!(statuses(Vec::new(), Some(&[])), [Ok, Ok, Ok]);
    }

    #[test]
    fn who_cannot_see_our_pins_accuses_nobody() {
        assert_eq!(statuses(vec![on(Hook::Xdp, 1)], None), [Status::Note, Status::Ok, Status::Ok]);
    }

    #[test]
    fn a_program_is_listed_with_id_name_and_side() {
        let programs = Programs {
            attached: vec![
                on(Hook::TcxEgress, 7),
                Attached { hook: Hook::ClsactEgress, id: None, name: None },
            ],
            tcx_hidden: None,
        };
        let found = judge(&programs, Some(&[]));
        assert_eq!(found[1].found, "program 7 (p7) at egress");
        assert_eq!(found[2].found, "a filter without eBPF at egress");
    }

    #[test]
    fn a_list_that_is_refused_is_no_empty_list() {
        let programs = Programs { attached: Vec::new(), tcx_hidden: Some("no".into()) };
        assert_eq!(judge(&programs, Some(&[]))[1].found, "cannot be listed: no");
    }
}
