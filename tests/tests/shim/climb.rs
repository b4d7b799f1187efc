//! From the shim to the programs and back, while connections go on.

use macvlan_common::child::Mode;
use macvlan_tests::{
    attached::tc_means,
    control,
    conversation::Conversation,
    fail::wait_for,
    lab::{FAMILIES, Lab},
    leak::{Traces, pins},
    needs, require,
};

use crate::{attach_shim, check_talk, has_shim, status, without_bpf};

#[test]
fn established_connections_survive_each_climb_and_each_step_down() {
    needs!(require::lab, require::tc, require::binary);
    let lab = Lab::with().ipv6().build();
    let web = lab.child("web", Mode::Bridge);
    let traces = Traces::of(&lab);
    let with_wire = FAMILIES.map(|family| Conversation::start(&lab.wire, &web, family));
    attach_shim(&lab, &[]);
    let with_host = FAMILIES.map(|family| Conversation::start(&lab.host, &web, family));
    let all = || with_wire.iter().chain(&with_host);

    for tc in tc_means() {
        lab.ctl(&["attach", "eth0", "--tc", tc]).succeeded();
        assert!(!has_shim(&lab));
        assert_eq!(control::status(&lab)["hairpin"], *tc);
        all().for_each(|talk| talk.goes_on("on the next rung"));

        attach_shim(&lab, &[]);
        assert_eq!(status(&lab)["hairpin"], "shim");
        assert_eq!(
            (pins(&lab), Traces::of(&lab).qdiscs),
            (traces.pins.clone(), {
                let mut qdiscs = traces.qdiscs.clone();
                if let Some(all) = qdiscs.as_array_mut() {
                    all.push(serde_json::json!({"kind": "noqueue", "handle": "0:", "dev": "mvshim-eth0", "root": true, "refcnt": 2, "options": {}}));
                }
                qdiscs
            })
        );
        // Without bpf(2) links go with their pins, some time later (`bpf_link_put_deferred`).
        wait_for("the programs to go", || (Traces::of(&lab).tcx == traces.tcx).then_some(()));
        all().for_each(|talk| talk.goes_on("on the next rung"));
        check_talk(&lab, &web);
    }

    without_bpf(&lab, &["attach", "eth0", "--on-missing-bpf", "plain"]).succeeded();
    with_wire.iter().for_each(|talk| talk.goes_on("on the next rung"));
    with_wire.into_iter().for_each(|talk| {
        talk.end();
    });
    assert_eq!(Traces::of(&lab), traces);
}

#[test]
fn a_bare_step_down_leaves_plain_macvlan_and_nothing_else() {
    needs!(require::lab, require::tc, require::binary);
    for tc in tc_means() {
        let lab = Lab::new();
        let web = lab.child("web", Mode::Bridge);
        let traces = Traces::of(&lab);
        lab.ctl(&["attach", "eth0", "--tc", tc]).succeeded();
        let talk = Conversation::start(&lab.wire, &web, macvlan_tests::lab::Family::V4);
        let ran = without_bpf(&lab, &["attach", "eth0"]).succeeded();
        assert!(ran.stderr.contains("run as plain kernel macvlan"), "{}", ran.report());
        talk.goes_on("on the next rung");
        assert_eq!(Traces::of(&lab), traces);
    }
}
