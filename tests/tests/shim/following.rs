//! The shim under `run`.

use macvlan_common::child::Mode;
use macvlan_tests::{
    attached::tc_means,
    conversation::Conversation,
    deny,
    fail::wait_for,
    following::Following,
    http::get,
    lab::{Family, Lab},
    leak::Traces,
    needs, require,
    talk::ping,
};
use nix::sys::signal::Signal;

use crate::{SHIM, has_shim, routed, status, without_bpf};

/// Starts `run` with a shim where bpf(2) is refused.
fn follow<'lab>(lab: &'lab Lab, args: &[&str]) -> Following<'lab> {
    let args = [&["eth0", "--on-missing-bpf", "shim"], args].concat();
    Following::start_prepared(lab, &args, |command| deny::bpf(command, libc::EPERM))
}

#[track_caller]
fn wait_for_routes(lab: &Lab, wanted: &[String]) {
    wait_for(format_args!("routes to {wanted:?}, there is {:?}", routed(lab, "-4")), || {
        (routed(lab, "-4") == wanted).then_some(())
    });
}

#[test]
fn it_follows_children_and_their_addresses_and_is_repaired_after_a_kill() {
    needs!(require::lab, require::tc, require::binary);
    let lab = Lab::new();
    let web = lab.child("web", Mode::Bridge);
    let following = follow(&lab, &[]);
    wait_for_routes(&lab, &[web.ip.to_string()]);
    let db = lab.child("db", Mode::Bridge);
    wait_for_routes(&lab, &[web.ip.to_string(), db.ip.to_string()]);
    assert!(ping(&lab.host, db.ip.into()) && ping(&db, lab.host.ip.into()));

    // Addresses, of the child and of the host.
    db.ns.ip("addr add 10.9.0.77/24 dev db");
    wait_for_routes(&lab, &[web.ip.to_string(), db.ip.to_string(), "10.9.0.77".into()]);
    db.ns.ip("addr del 10.9.0.77/24 dev db");
    wait_for_routes(&lab, &[web.ip.to_string(), db.ip.to_string()]);
    lab.host.ns.ip("addr add 10.10.0.2/24 dev eth0");
    wait_for("the host's second address", || {
        let addresses = lab.host.ns.ip_json(&format!("addr show dev {SHIM}"))[0]["addr_info"].clone();
        addresses.as_array()?.iter().find(|address| address["local"] == "10.10.0.2").cloned()
    });
    lab.host.ns.ip("addr del 10.10.0.2/24 dev eth0");

    // Another MAC is another neighbour.
    db.ns.ip_batch(["down", "address 02:00:00:00:02:01", "up"].map(|what| format!("link set db {what}")));
    db.ns.ip("addr replace 10.9.0.12/24 dev db");
    wait_for("the child's new MAC", || {
        let known = lab.host.ns.ip_json(&format!("neigh show {} dev {SHIM}", db.ip));
        (known[0]["lladdr"] == "02:00:00:00:02:01").then_some(())
    });
    assert!(ping(&lab.host, db.ip.into()));

    // Killed, and the world goes on without it.
    following.end(Signal::SIGKILL);
    lab.host.ns.ip(&format!("route del {} dev {SHIM}", web.ip));
    lab.host.ns.ip(&format!("addr flush dev {SHIM}"));
    db.ns.ip("link del db");
    let late = lab.child("late", Mode::Bridge);
    let following = follow(&lab, &[]);
    wait_for_routes(&lab, &[web.ip.to_string(), late.ip.to_string()]);
    assert!(ping(&lab.host, late.ip.into()) && ping(&web, lab.host.ip.into()));
    assert!(following.lines().iter().all(|line| !line.contains("child mvshim")), "{:#?}", following.lines());

    // Another command's detach is respected.
    let after = Traces::of(&lab);
    without_bpf(&lab, &["detach", "eth0"]).succeeded();
    assert!(!has_shim(&lab));
    without_bpf(&lab, &["attach", "eth0", "--on-missing-bpf", "shim"]).succeeded();
    assert_eq!(Traces::of(&lab).pins, after.pins);
    drop(following);
    without_bpf(&lab, &["detach", "eth0"]).succeeded();
    assert!(!has_shim(&lab));
}

#[test]
fn it_climbs_by_itself_when_bpf_can_be_had_and_steps_down_at_the_next_run() {
    needs!(require::lab, require::binary);
    let lab = Lab::new();
    let web = lab.child("web", Mode::Bridge);
    lab.mounts().without_place_for_bpffs();
    let following = Following::start(&lab, &["eth0", "--on-missing-bpf", "shim"]);
    assert!(has_shim(&lab));
    let talks = [&lab.wire, &lab.host].map(|station| Conversation::start(station, &web, Family::V4));

    lab.mounts().with_place_for_bpffs();
    following.wait_for_line("BPF is available now");
    wait_for("the shim to go", || (!has_shim(&lab)).then_some(()));
    talks.iter().for_each(|talk| talk.goes_on("on the next rung"));
    assert_eq!(macvlan_tests::control::status(&lab)["hairpin"], tc_means()[0]);
    following.end(Signal::SIGTERM);

    let following = follow(&lab, &[]);
    assert_eq!(status(&lab)["hairpin"], "shim");
    talks.iter().for_each(|talk| talk.goes_on("on the next rung"));
    drop(following);
}

#[test]
fn what_the_kernel_counts_is_served() {
    needs!(require::lab, require::binary);
    let lab = Lab::new();
    let web = lab.child("web", Mode::Bridge);
    let _following = follow(&lab, &["--metrics", "127.0.0.1:10099"]);
    assert!(ping(&lab.host, web.ip.into()));
    let wanted =
        format!("macvlan_child_transmit_packets_total{{master=\"eth0\",mac=\"{}\",path=\"all\"}} ", web.mac);
    wait_for("the child's own count", || {
        let text = get(&lab.host.ns, ([127, 0, 0, 1], 10099).into(), "/metrics");
        assert!(!text.contains("child=\"mvshim"), "{text}");
        let count: f64 = text.lines().find_map(|line| line.strip_prefix(&wanted))?.parse().ok()?;
        (count > 0.0 && text.contains("hairpin=\"shim\"")).then_some(())
    });
}
