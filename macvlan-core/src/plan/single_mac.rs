//! What cannot be together with one MAC on the wire.

use anyhow::{Result, bail};
use macvlan_common::child::Mode;

use crate::{
    datapath::{
        bpf::single_mac::is_single,
        choose::{XdpPlan, plan_xdp},
    },
    discovery::locked_master::LockedMaster,
    model::{child::Child, description::Demux, options::SingleMac, request::AttachRequest},
    plan::planned::{Plan, is_planned},
};

/// Refuses `--single-mac` beside what it cannot be with.
///
/// # Errors
///
/// Generic XDP would see frames before they are given to children, or a child takes or tells frames by other things than
/// IP addresses.
pub fn check(locked: &LockedMaster, request: &AttachRequest, plan: &Plan) -> Result<()> {
    let options = locked.wanted_options(request);
    let is_asked = request.options.single_mac.is_some_and(|choice| choice != SingleMac::Off);
    if !is_single(&options, &locked.master) {
        return Ok(());
    }
    let demux = plan_xdp(options.xdp, locked.master.kind.as_deref());
    if demux == XdpPlan::Try(Demux::XdpGeneric) {
        bail!(
            "single-mac gives frames to children at TC ingress, and generic XDP would judge them before: say --xdp off, \
             auto or native, or --single-mac=off"
        );
    }
    let takes_others = |mode: Mode| matches!(mode, Mode::Source | Mode::Passthru);
    let planned = plan.children.iter().find(|child| takes_others(child.mode));
    if let Some(child) = planned {
        bail!("{}", refusal(&format!("{:?}", child.name), child.mode));
    }
    let stays = |child: &&Child| {
        !child.unfinished
            && !plan.doomed.iter().any(|doomed| doomed.is_same(child))
            && !plan.children.iter().any(|planned| is_planned(planned, child))
    };
    // A child of others that came later does not stop who only attaches again.
    let mut children = locked.children().iter().filter(stays);
    match children.find(|child| is_asked && takes_others(child.mode)) {
        Some(child) => bail!("{}", refusal(&child.title(), child.mode)),
        None => Ok(()),
    }
}

fn refusal(child: &str, mode: Mode) -> String {
    format!(
        "single-mac tells children by their IP addresses, and child {child} is in mode {}: give it another mode, or say \
         --single-mac=off",
        mode.as_str()
    )
}
