//! TC hooks of a master that others have taken: what is left is used as a whole, or nothing is.

use macvlan_common::child::Mode;
use macvlan_tests::{
    control::status,
    fail::OrFail as _,
    foreign::{Foreign, Order, Place},
    lab::Lab,
    leak::Traces,
    needs, require,
    talk::ping,
};

/// Programs that a TCX hook has room for (below `BPF_MPROG_MAX` in include/linux/bpf_mprog.h).
const ROOM: usize = 63;

#[test]
fn where_tcx_egress_is_full_nothing_of_ours_stays_on_tcx_ingress() {
    needs!(require::lab, require::tc, require::tcx, require::binary);
    let lab = Lab::new();
    let web = lab.child("web", Mode::Bridge);
    let full: Vec<Foreign> =
        (0..ROOM).map(|_| Foreign::counter(&lab.host.ns, "eth0", Place::Egress, Order::Last)).collect();
    let before = Traces::of(&lab);

    // By default, what is refused there is done by filters.
    lab.ctl(&["attach", "eth0"]).succeeded();

    let status = status(&lab);
    assert_eq!(status["hairpin"], "clsact");
    let degraded = status["degraded"].as_array().or_fail("read what is degraded");
    let hairpin = degraded.iter().find(|part| part["feature"] == "hairpin").or_fail("find the reason");
    let reason = hairpin["reason"].as_str().or_fail("read the reason");
    assert!(reason.contains("as many TCX programs as it can") && !reason.contains("XDP"), "{reason}");
    assert_eq!(Traces::of(&lab).tcx, before.tcx, "each frame would be handled twice");
    assert!(ping(&lab.host, web.ip.into()) && ping(&web, lab.host.ip.into()));
    lab.ctl(&["detach", "eth0"]).succeeded();
    assert_eq!(Traces::of(&lab), before);

    lab.ctl(&["attach", "eth0", "--tc", "tcx", "--require-bpf"]).failed(1);
    assert_eq!(Traces::of(&lab), before);
    drop(full);
}

#[test]
fn a_qdisc_in_the_place_of_clsact_is_told_of() {
    needs!(require::lab, require::tc, require::binary);
    let lab = Lab::new();
    macvlan_tests::cli::run(lab.host.ns.command("tc").args(["qdisc", "add", "dev", "eth0", "ingress"]));
    let before = Traces::of(&lab);

    let ran = lab.ctl(&["attach", "eth0", "--tc", "clsact", "--require-bpf"]);

    let message = ran.failed(1);
    for part in ["cannot add a clsact qdisc", "another qdisc is in its place", "tc qdisc show dev eth0"] {
        assert!(message.contains(part), "{part:?} is wanted in: {message}");
    }
    assert_eq!(Traces::of(&lab), before);
}
