//! Programs of others on the hooks that we use.

use crate::{
    commands::doctor::finding::{Finding, Status},
    datapath::bpf::hooks::on_device::{DeviceHook, OnDevice, OnHook},
};

/// What the programs mean that are not `ours`, which is `None` where our own cannot be told.
pub fn judge(programs: &OnDevice, ours: Option<&[u32]>) -> Vec<Finding> {
    let mut findings = vec![
        judge_hooks(
            programs,
            ours,
            "foreign-xdp",
            &[DeviceHook::Xdp],
            Status::Warning,
            XDP,
            Some(XDP_REMEDY),
        ),
        judge_hooks(
            programs,
            ours,
            "foreign-tcx",
            &[DeviceHook::TcxIngress, DeviceHook::TcxEgress],
            Status::Note,
            TCX,
            None,
        ),
        judge_hooks(
            programs,
            ours,
            "foreign-clsact",
            &[DeviceHook::ClsactIngress, DeviceHook::ClsactEgress],
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
    programs: &OnDevice,
    ours: Option<&[u32]>,
    check: &str,
    hooks: &[DeviceHook],
    status: Status,
    reason: &str,
    remedy: Option<&str>,
) -> Finding {
    let is_ours = |program: &&OnHook| ours.is_some_and(|ours| program.is_of(ours));
    let (own, foreign): (Vec<_>, Vec<_>) = programs.on(hooks).partition(is_ours);
    if foreign.is_empty() {
        let found = if own.is_empty() { "none" } else { "none but ours" };
        return Finding::new(Status::Ok, check, found, reason);
    }
    let list = foreign.iter().map(|program| describe(program)).collect::<Vec<_>>().join(", ");
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

fn describe(program: &OnHook) -> String {
    let hook = match program.hook {
        DeviceHook::Xdp => "",
        DeviceHook::TcxIngress | DeviceHook::ClsactIngress => " at ingress",
        DeviceHook::TcxEgress | DeviceHook::ClsactEgress => " at egress",
    };
    format!("{}{hook}", program.title())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn on(hook: DeviceHook, id: u32) -> OnHook {
        OnHook { hook, id: Some(id), name: Some(format!("p{id}")) }
    }

    fn statuses(programs: Vec<OnHook>, ours: Option<&[u32]>) -> Vec<Status> {
        let programs = OnDevice { programs, tcx_hidden: None };
        judge(&programs, ours).iter().map(|finding| finding.status).collect()
    }

    #[test]
    fn our_own_programs_are_not_foreign_whatever_their_name() {
        use Status::{Note, Ok, Warning};
        let all =
            || vec![on(DeviceHook::Xdp, 1), on(DeviceHook::TcxEgress, 2), on(DeviceHook::ClsactIngress, 3)];
        assert_eq!(statuses(all(), Some(&[1, 2, 3])), [Ok, Ok, Ok]);
        assert_eq!(statuses(all(), Some(&[])), [Warning, Note, Note]);
        assert_eq!(statuses(all(), Some(&[1, 3])), [Ok, Note, Ok]);
        assert_eq!(statuses(Vec::new(), Some(&[])), [Ok, Ok, Ok]);
    }

    #[test]
    fn who_cannot_see_our_pins_accuses_nobody() {
        assert_eq!(statuses(vec![on(DeviceHook::Xdp, 1)], None), [Status::Note, Status::Ok, Status::Ok]);
    }

    #[test]
    fn a_program_is_listed_with_id_name_and_side() {
        let programs = OnDevice {
            programs: vec![
                on(DeviceHook::TcxEgress, 7),
                OnHook { hook: DeviceHook::ClsactEgress, id: None, name: None },
            ],
            tcx_hidden: None,
        };
        let found = judge(&programs, Some(&[]));
        assert_eq!(found[1].found, "program 7 (p7) at egress");
        assert_eq!(found[2].found, "a filter without eBPF at egress");
    }

    #[test]
    fn a_list_that_is_refused_is_no_empty_list() {
        let programs = OnDevice { programs: Vec::new(), tcx_hidden: Some("no".into()) };
        assert_eq!(judge(&programs, Some(&[]))[1].found, "cannot be listed: no");
    }
}
