//! What `status` says is proven at the moment it is asked: the master's MAC, the programs where they were put,
//! in an order in which they run, and every child.

use std::{
    path::PathBuf,
    time::{Duration, Instant},
};

use macvlan_common::{child::Mode, mac::Mac};
use macvlan_tests::{
    attached::tc_means,
    control::{child, status},
    fail::{OrFail as _, wait_for},
    following::Following,
    foreign::{Foreign, Order, Place},
    lab::Lab,
    needs, require,
    talk::{ping_within, reach_each_other},
};
use serde_json::Value;

/// The MAC that the master gets while it is attached to.
const OTHER: Mac = Mac::new([2, 0, 0, 0, 0x77, 1]);

const SHORT: Duration = Duration::from_secs(1);

#[test]
fn a_master_with_another_mac_is_told_of_and_the_next_attach_mends_it() {
    needs!(require::lab, require::tc, require::binary);
    for tc in tc_means() {
        let lab = Lab::new();
        let web = lab.child("web", Mode::Bridge);
        assert!(!reach_each_other(&lab.host, &web), "plain macvlan");
        lab.ctl(&["attach", "eth0", "--require-bpf", "--tc", tc]).succeeded();
        assert!(reach_each_other(&lab.host, &web), "{tc}");
        assert_eq!(child(&status(&lab), "web")["host_access"], true);

        give_other_mac(&lab);

        assert!(
            !reach_each_other(&lab.host, &web),
            "if this works without a word, status need not say otherwise"
        );
        let told = status(&lab);
        assert_eq!(told["hairpin"], "off");
        let part = degraded(&told, "hairpin").or_fail("find what is less");
        assert_eq!((&part["wanted"], &part["got"]), (&(*tc).into(), &"off".into()));
        let reason = part["reason"].as_str().or_fail("read the reason");
        for part in [&OTHER.to_string(), &lab.host.mac.to_string(), "macvlan-ctl attach eth0"] {
            assert!(reason.contains(part), "{part:?} is wanted in: {reason}");
        }
        let web_told = child(&told, "web");
        assert_eq!(
            (&web_told["host_access"], &web_told["host_access_reason"]),
            (&false.into(), &reason.into())
        );
        assert_eq!(doctor(&lab, "data-path-hairpin").as_deref(), Some("warning"));
        let steps = lab.ctl(&["attach", "eth0", "--dry-run"]).succeeded().stdout;
        assert!(steps.contains(&format!("tell the programs on \"eth0\" its MAC, {OTHER}")), "{steps}");

        lab.ctl(&["attach", "eth0"]).succeeded();

        assert!(reach_each_other(&lab.host, &web), "{tc}");
        let told = status(&lab);
        assert_eq!((&told["hairpin"], degraded(&told, "hairpin")), (&(*tc).into(), clsact_alone(tc, &told)));
        assert_eq!(child(&told, "web")["host_access"], true);
    }
}

#[test]
fn run_follows_a_master_to_another_mac() {
    needs!(require::lab, require::tc, require::binary);
    let lab = Lab::new();
    let web = lab.child("web", Mode::Bridge);
    let _following = Following::start(&lab, &["eth0", "--require-bpf"]);
    give_other_mac(&lab);
    let since = Instant::now();
    wait_for("the hairpin", || (status(&lab)["hairpin"] != "off").then_some(()));
    assert!(since.elapsed() < Duration::from_millis(500), "{:?}, asking included", since.elapsed());
    assert!(reach_each_other(&lab.host, &web));
}

#[test]
fn a_child_that_nobody_adopted_is_listed_with_the_reason() {
    needs!(require::lab, require::tc, require::binary);
    let lab = Lab::new();
    lab.ctl(&["attach", "eth0", "--require-bpf"]).succeeded();
    let late = lab.child("late", Mode::Bridge);
    assert!(!reach_each_other(&lab.host, &late));

    let told = status(&lab);

    let late_told = child(&told, "late");
    let reason = "not adopted: macvlan-ctl attach eth0, or run";
    assert_eq!(
        (&late_told["adopted"], &late_told["host_access"], &late_told["host_access_reason"]),
        (&false.into(), &false.into(), &reason.into())
    );
    let text = lab.ctl(&["status", "eth0"]).succeeded().stdout;
    assert!(text.contains(&format!("late: {reason}")), "{text}");
    lab.ctl(&["attach", "eth0"]).succeeded();
    let told = status(&lab);
    let late_told = child(&told, "late");
    assert_eq!((&late_told["adopted"], &late_told["host_access_reason"]), (&true.into(), &Value::Null));
    assert!(reach_each_other(&lab.host, &late));
}

#[test]
fn programs_that_somebody_took_off_are_missed() {
    needs!(require::lab, require::tc, require::tcx, require::bpftool, require::binary);
    let lab = Lab::new();
    let web = lab.child("web", Mode::Bridge);
    lab.ctl(&["attach", "eth0", "--require-bpf", "--xdp", "generic"]).succeeded();
    assert_eq!(status(&lab)["datapath"], "bpf");
    // The links stay pinned, and know no device any more.
    macvlan_tests::cli::run(
        lab.command(&lab.host.ns, "bpftool").args(["link", "detach", "pinned"]).arg(link(&lab)),
    );
    let told = status(&lab);
    assert_eq!((&told["datapath"], &told["hairpin"]), (&"kernel".into(), &"off".into()));
    assert_eq!(child(&told, "web")["host_access"], false);
    lab.ctl(&["attach", "eth0"]).succeeded();
    assert!(reach_each_other(&lab.host, &web));
}

#[test]
fn a_program_before_ours_going_down_is_told_of_before_and_after_attach() {
    needs!(require::lab, require::tc, require::tcx, require::binary);
    for before in [true, false] {
        let lab = Lab::new();
        let web = lab.child("web", Mode::Bridge);
        let foreign = || Foreign::last_word(&lab.host.ns, "eth0", Place::Egress, Order::First);
        let mut other = before.then(foreign);
        let attached = lab.ctl(&["attach", "eth0", "--require-bpf"]);
        if before {
            let warned = &attached.stderr;
            assert!(warned.contains("egress is behind program"), "attach says nothing: {warned}");
        }
        attached.succeeded();
        let other = other.take().unwrap_or_else(foreign);

        assert!(!reach_each_other(&lab.host, &web), "the program has the last word; if not, it is no risk");
        assert!(other.seen() > 0);
        let told = status(&lab);
        let part = degraded(&told, "egress").or_fail("find what is less");
        assert!(part["got"].as_str().is_some_and(|got| got.starts_with("behind program ")), "{part}");
        for word in ["TCX_NEXT", "after ours", "host and children"] {
            assert!(part["reason"].as_str().is_some_and(|reason| reason.contains(word)), "{word}: {part}");
        }
        assert_eq!(doctor(&lab, "data-path-egress").as_deref(), Some("warning"));

        drop(other);

        assert!(reach_each_other(&lab.host, &web));
        assert_eq!(degraded(&status(&lab), "egress"), None);
    }
}

#[test]
fn a_program_behind_ours_going_down_harms_nobody_and_keeps_its_place() {
    needs!(require::lab, require::tc, require::tcx, require::binary);
    let lab = Lab::new();
    let web = lab.child("web", Mode::Bridge);
    lab.ctl(&["attach", "eth0", "--require-bpf"]).succeeded();
    let other = Foreign::last_word(&lab.host.ns, "eth0", Place::Egress, Order::Last);
    for _ in 0..2 {
        assert!(reach_each_other(&lab.host, &web));
        assert!(ping_within(&lab.host, lab.wire.ip.into(), SHORT));
        assert!(other.seen() > 0, "what goes to the wire passes it");
        assert_eq!(degraded(&status(&lab), "egress"), None);
        lab.ctl(&["attach", "eth0", "--storm-limit", "1000"]).succeeded();
    }
}

#[test]
fn a_program_put_before_ours_coming_up_is_told_of_and_attach_puts_ours_first_again() {
    needs!(require::lab, require::tc, require::tcx, require::binary);
    let lab = Lab::new();
    let web = lab.child("web", Mode::Bridge);
    lab.ctl(&["attach", "eth0", "--require-bpf"]).succeeded();
    assert!(reach_each_other(&lab.host, &web));
    let counted = host_frames(&lab);
    let other = Foreign::last_word(&lab.host.ns, "eth0", Place::Ingress, Order::First);
    let told = status(&lab);
    let part = degraded(&told, "ingress").or_fail("find what is less");
    assert_eq!(part["wanted"], "first");
    assert!(
        part["reason"].as_str().is_some_and(|reason| reason.contains("macvlan-ctl attach eth0")),
        "{part}"
    );

    lab.ctl(&["attach", "eth0"]).succeeded();

    assert_eq!(degraded(&status(&lab), "ingress"), None);
    assert!(host_frames(&lab) >= counted, "the counters are kept");
    assert!(reach_each_other(&lab.host, &web));
    let seen = other.seen();
    assert!(ping_within(&lab.host, lab.wire.ip.into(), SHORT));
    assert!(other.seen() > seen, "it is still there, behind ours");
}

#[test]
fn run_tells_of_programs_that_come_before_ours_and_that_they_are_gone() {
    needs!(require::lab, require::tc, require::tcx, require::binary);
    let lab = Lab::new();
    let web = lab.child("web", Mode::Bridge);
    let following = Following::start(&lab, &["eth0", "--require-bpf"]);
    let other = Foreign::last_word(&lab.host.ns, "eth0", Place::Egress, Order::First);
    following.wait_for_line("eth0: egress is behind program");
    drop(other);
    following.wait_for_line("eth0: egress is no longer behind program");
    assert!(reach_each_other(&lab.host, &web));
}

fn give_other_mac(lab: &Lab) {
    lab.host.ns.ip(&format!("link set eth0 address {OTHER}"));
}

/// What is less than the best of this feature.
fn degraded(status: &Value, feature: &str) -> Option<Value> {
    let all = status["degraded"].as_array().or_fail("read what is degraded");
    all.iter().find(|part| part["feature"] == feature).cloned()
}

/// What is always less where `tc` is not the best that there is.
fn clsact_alone(tc: &str, status: &Value) -> Option<Value> {
    degraded(status, "hairpin").filter(|part| part["got"] == tc)
}

/// The status of a finding about the master.
fn doctor(lab: &Lab, check: &str) -> Option<String> {
    let ran = lab.ctl(&["-j", "doctor", "eth0"]);
    let findings = ran.json();
    let found =
        findings.as_array().or_fail("read findings").iter().find(|found| found["check"] == check)?.clone();
    found["status"].as_str().map(str::to_owned)
}

fn host_frames(lab: &Lab) -> u64 {
    let stats = lab.ctl(&["-j", "stats", "eth0"]).succeeded().json();
    stats[0]["children"][0]["host"]["rx"]["packets"].as_u64().or_fail("read a counter")
}

fn link(lab: &Lab) -> PathBuf {
    let pins = macvlan_tests::leak::Traces::of(lab).pins;
    pins.into_iter().find(|pin| pin.ends_with("link_egress")).or_fail("find the pin of a link")
}
