//! Whether frames get to our programs past those of others.
//!
//! A frame is through with a hook at the first program that gives another verdict than `TCX_NEXT`, -1
//! (`tcx_run` in net/core/dev.c), or at the first filter with another one than `TC_ACT_UNSPEC`, which is the
//! same number (`tcf_classify` in net/sched/cls_api.c). What verdict a program will give, nobody can tell.

use crate::{
    datapath::bpf::hooks::on_device::{OnDevice, OnHook, Side},
    model::description::Degraded,
};

/// What is less where others run before ours coming up, as `degraded` names it.
pub const INGRESS: &str = "ingress";

/// What is less where others run before ours going down.
pub const EGRESS: &str = "egress";

/// What is less because of programs that run before `ours` on the device named `name`.
pub fn degraded(there: &OnDevice, ours: &[u32], name: &str) -> Vec<Degraded> {
    let behind = |side| {
        let ahead = there.ahead_of(ours, side);
        (!ahead.is_empty()).then(|| format!("behind {}", list(&ahead)))
    };
    let egress = behind(Side::Egress).map(|behind| {
        let reason = "what it ends going down with another verdict than TCX_NEXT (-1), ours never sees: host \
                      and children may not reach each other; have it end with TCX_NEXT, or attach it after \
                      ours (BPF_F_AFTER): then it does not see what ours turns around";
        Degraded::new(EGRESS, "reached by every frame", &behind, reason)
    });
    let ingress = behind(Side::Ingress).map(|behind| {
        let reason = format!(
            "what it ends coming up with another verdict than TCX_NEXT (-1), ours never sees: frames turned \
             around may reach who is not to hear them, the host its own; macvlan-ctl attach {name} puts ours \
             first again, where both are TCX"
        );
        Degraded::new(INGRESS, "first", &behind, reason)
    });
    egress.into_iter().chain(ingress).collect()
}

fn list(ahead: &[&OnHook]) -> String {
    const MOST: usize = 3;
    let named = ahead.iter().take(MOST).map(|program| program.title()).collect::<Vec<_>>().join(", ");
    match ahead.len().saturating_sub(MOST) {
        0 => named,
        more => format!("{named} and {more} more"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::datapath::bpf::hooks::on_device::DeviceHook;

    #[test]
    fn programs_ahead_are_named_and_those_behind_are_not() {
        let on = |hook, id: u32| OnHook { hook, id: Some(id), name: Some(format!("p{id}")) };
        let mut there = OnDevice {
            programs: vec![
                on(DeviceHook::TcxIngress, 1),
                on(DeviceHook::TcxEgress, 2),
                on(DeviceHook::TcxEgress, 9),
            ],
            tcx_hidden: None,
        };
        assert_eq!(degraded(&there, &[1, 2], "eth0"), []);
        there.programs.insert(1, on(DeviceHook::TcxEgress, 7));
        let [egress] = &degraded(&there, &[1, 2], "eth0")[..] else { panic!("one side") };
        assert_eq!((&*egress.feature, &*egress.got), ("egress", "behind program 7 (p7)"));
        there.programs.insert(0, on(DeviceHook::TcxIngress, 8));
        let [_, ingress] = &degraded(&there, &[1, 2], "eth0")[..] else { panic!("both sides") };
        assert_eq!((&*ingress.feature, &*ingress.got), ("ingress", "behind program 8 (p8)"));
        assert!(ingress.reason.contains("macvlan-ctl attach eth0"), "{}", ingress.reason);
    }

    #[test]
    fn many_programs_are_counted() {
        let all: Vec<OnHook> =
            (1..=5).map(|id| OnHook { hook: DeviceHook::TcxEgress, id: Some(id), name: None }).collect();
        let ahead: Vec<&OnHook> = all.iter().collect();
        assert_eq!(list(&ahead), "program 1, program 2, program 3 and 2 more");
    }
}
