//! The shim: host and children talk without BPF, and the host stays as it was.

mod climb;
mod following;
mod hostile;

use macvlan_common::child::Mode;
use macvlan_tests::{
    cli::{self, Ran},
    control::{child, names_of, only, spec},
    deny,
    lab::{FAMILIES, Family, Lab, Station},
    leak::Traces,
    needs, require,
    talk::{is_silent, ping, tcp_transfer},
};
use serde_json::Value;

/// The name of the lab's shim.
const SHIM: &str = "mvshim-eth0";

/// Runs the program under test where bpf(2) is refused.
fn without_bpf(lab: &Lab, args: &[&str]) -> Ran {
    let mut command = lab.ctl_command(args);
    deny::bpf(&mut command, libc::EPERM);
    cli::output(&mut command)
}

/// Attaches without BPF, with a shim.
fn attach_shim(lab: &Lab, args: &[&str]) -> Ran {
    without_bpf(lab, &[&["attach", "eth0", "--on-missing-bpf", "shim"], args].concat()).succeeded()
}

/// What `status -j` says of the master where bpf(2) is refused.
fn status(lab: &Lab) -> Value {
    only(&without_bpf(lab, &["-j", "status", "eth0"]).succeeded().json()).clone()
}

/// Everything of the host but its shim: addresses and routes of the master, of all tables.
fn host_itself(lab: &Lab) -> Value {
    let ns = &lab.host.ns;
    let all = [
        ns.ip_json("addr show dev eth0"),
        ns.ip_json("-4 route show table all dev eth0"),
        ns.ip_json("-6 route show table all dev eth0"),
        ns.ip_json("-4 rule show"),
    ];
    let mut all = Value::Array(all.into());
    forget_ages(&mut all);
    all
}

fn forget_ages(value: &mut Value) {
    match value {
        Value::Array(items) => items.iter_mut().for_each(forget_ages),
        Value::Object(fields) => {
            for name in ["valid_life_time", "preferred_life_time", "expires"] {
                fields.remove(name);
            }
            fields.values_mut().for_each(forget_ages);
        }
        _ => {}
    }
}

/// The destinations of the routes over the lab's shim, of the main table.
fn routed(lab: &Lab, family: &str) -> Vec<String> {
    let routes = lab.host.ns.ip_json(&format!("{family} route show dev {SHIM}"));
    let routes = routes.as_array().into_iter().flatten();
    routes.map(|route| route["dst"].as_str().unwrap_or_default().to_owned()).collect()
}

/// Whether the lab has a shim.
fn has_shim(lab: &Lab) -> bool {
    let links = lab.host.ns.ip_json("link show");
    links.as_array().into_iter().flatten().any(|link| link["ifname"] == SHIM)
}

/// Checks that host and child reach each other, in both families.
#[track_caller]
fn check_talk(lab: &Lab, child: &Station) {
    for family in FAMILIES {
        assert!(ping(&lab.host, child.address(family)), "host to {} {family:?}", child.dev);
        assert!(ping(child, lab.host.address(family)), "{} to host {family:?}", child.dev);
    }
}

#[test]
fn host_and_children_talk_through_it_and_the_host_stays_as_it_was() {
    needs!(require::lab, require::tc, require::binary);
    let lab = Lab::with().ipv6().build();
    let (web, db) = (lab.child("web", Mode::Bridge), lab.child("db", Mode::Bridge));
    let quiet = lab.child("quiet", Mode::Private);
    let (before, traces) = (host_itself(&lab), Traces::of(&lab));

    let ran = attach_shim(&lab, &[]);

    let warnings: Vec<&str> = ran.stderr.lines().collect();
    assert!(warnings[0].contains("operation not permitted") && warnings[0].contains(SHIM), "{warnings:?}");
    assert!(warnings[1].ends_with("not quiet"), "{warnings:?}");
    for child in [&web, &db] {
        check_talk(&lab, child);
        for family in FAMILIES {
            tcp_transfer(&lab.host, child, family, 1 << 20);
            tcp_transfer(child, &lab.host, family, 1 << 20);
        }
        assert!(ping(&lab.wire, child.ip.into()) && ping(child, lab.wire.ip.into()));
    }
    assert!(ping(&web, db.ip.into()));
    assert!(is_silent(&lab.host, quiet.ip.into()) && is_silent(&quiet, lab.host.ip.into()));
    assert_eq!(host_itself(&lab), before);

    let status = status(&lab);
    assert_eq!((&status["datapath"], &status["hairpin"]), (&"kernel".into(), &"shim".into()));
    assert_eq!(names_of(&status), ["db", "quiet", "web"].map(str::to_owned).into());
    assert_eq!(child(&status, "web")["host_access"], true);
    assert_eq!(child(&status, "quiet")["host_access"], false);
    let degraded = status["degraded"].as_array().cloned().unwrap_or_default();
    let got =
        |feature: &str| degraded.iter().find(|part| part["feature"] == feature).map(|part| &part["got"]);
    assert_eq!(got("hairpin"), Some(&"shim".into()));
    assert_eq!(got("host-access"), Some(&"off".into()));
    assert_eq!(got("shim"), None, "{degraded:?}");

    without_bpf(&lab, &["detach", "eth0"]).succeeded();
    assert_eq!(Traces::of(&lab), traces);
    assert!(is_silent(&lab.host, web.ip.into()));
}

#[test]
fn nobody_on_the_wire_learns_its_mac_for_the_hosts_ipv4_address() {
    needs!(require::lab, require::binary);
    let lab = Lab::new();
    let web = lab.child("web", Mode::Bridge);
    assert!(ping(&lab.wire, lab.host.ip.into()));
    attach_shim(&lab, &[]);
    // The host asks for nobody by it, a child asks for the host, and the wire asks anew.
    assert!(ping(&lab.host, web.ip.into()) && ping(&web, lab.host.ip.into()));
    lab.wire.ns.ip(&format!("neigh flush dev {}", lab.wire.dev));
    for _ in 0..2 {
        assert!(ping(&lab.wire, lab.host.ip.into()) && ping(&lab.host, lab.wire.ip.into()));
        let known = lab.wire.ns.ip_json(&format!("neigh show {}", lab.host.ip));
        assert_eq!(known[0]["lladdr"], lab.host.mac.to_string(), "{known}");
    }
    let asked = lab.host.ns.ip_json(&format!("neigh show dev {SHIM}"));
    assert_eq!(asked[0]["state"], serde_json::json!(["PERMANENT"]), "{asked}");
}

#[test]
fn what_children_and_wire_say_in_a_broadcast_the_host_hears_once() {
    needs!(require::lab, require::binary);
    let lab = Lab::new();
    let _web = lab.child("web", Mode::Bridge);
    attach_shim(&lab, &[]);
    let listener = lab.host.ns.enter(|| std::net::UdpSocket::bind("0.0.0.0:7007")).unwrap();
    listener.set_read_timeout(Some(std::time::Duration::from_millis(300))).unwrap();
    let speaker = lab.wire.ns.enter(|| std::net::UdpSocket::bind((lab.wire.ip, 0))).unwrap();
    speaker.set_broadcast(true).unwrap();
    speaker.send_to(b"hello", "10.9.0.255:7007").unwrap();
    let mut heard = 0;
    while listener.recv(&mut [0; 16]).is_ok() {
        heard += 1;
    }
    assert_eq!(heard, 1);
}

#[test]
fn an_attach_again_changes_nothing_and_plain_takes_it_away() {
    needs!(require::lab, require::tc, require::binary);
    let lab = Lab::with().ipv6().build();
    let web = lab.child("web", Mode::Bridge);
    let traces = Traces::of(&lab);
    attach_shim(&lab, &[]);
    let index = lab.host.ns.ifindex(SHIM);
    let routes = (routed(&lab, "-4"), routed(&lab, "-6"));
    assert_eq!(routes.0, [web.ip.to_string()]);
    // With the choice again, and without one: it is kept as it is.
    for args in [&["attach", "eth0", "--on-missing-bpf", "shim"][..], &["attach", "eth0"]] {
        let dry = without_bpf(&lab, &[args, &["--dry-run"]].concat()).succeeded();
        assert!(dry.stdout.contains("keep shim \"mvshim-eth0\""), "{}", dry.report());
        without_bpf(&lab, args).succeeded();
        assert_eq!(lab.host.ns.ifindex(SHIM), index);
        assert_eq!((routed(&lab, "-4"), routed(&lab, "-6")), routes);
    }
    let dry = without_bpf(&lab, &["attach", "eth0", "--on-missing-bpf", "plain", "--dry-run"]).succeeded();
    assert!(dry.stdout.contains("remove shim \"mvshim-eth0\""), "{}", dry.report());
    without_bpf(&lab, &["attach", "eth0", "--on-missing-bpf", "plain"]).succeeded();
    assert_eq!(Traces::of(&lab), traces);
}

#[test]
fn fail_refuses_before_anything_is_changed() {
    needs!(require::lab, require::tc, require::binary);
    let lab = Lab::new();
    let web = lab.newcomer("web");
    let traces = Traces::of(&lab);
    for choice in [&["--on-missing-bpf", "fail"][..], &["--require-bpf"]] {
        let child = spec(&web, "");
        let args = [&["attach", "eth0", "--child", &child], choice].concat();
        let ran = without_bpf(&lab, &args);
        assert!(ran.failed(1).contains("operation not permitted"), "{}", ran.report());
        assert_eq!(Traces::of(&lab), traces);
    }
    let both = ["attach", "eth0", "--require-bpf", "--on-missing-bpf", "shim"];
    assert_eq!(lab.ctl(&both).code(), 2);
}

#[test]
fn a_failing_attach_leaves_a_data_path_that_others_made() {
    needs!(require::lab, require::binary);
    let lab = Lab::new();
    let web = lab.child("web", Mode::Bridge);
    lab.ctl(&["attach", "eth0"]).succeeded();
    without_bpf(&lab, &["attach", "eth0", "--on-missing-bpf", "fail"]).failed(1);
    assert!(ping(&lab.host, web.ip.into()));
}

#[test]
fn children_that_come_and_go_are_routed_and_those_without_access_are_not() {
    needs!(require::lab, require::binary);
    let lab = Lab::new();
    let (web, db, more) = (lab.newcomer("web"), lab.newcomer("db"), lab.newcomer("more"));
    let _residents = [web.ns.resident(), db.ns.resident(), more.ns.resident()];
    attach_shim(&lab, &["--child", &spec(&web, ""), "--child", &spec(&db, "host-access=off")]);
    assert_eq!(routed(&lab, "-4"), [web.ip.to_string()]);
    assert!(ping(&lab.host, web.ip.into()));
    assert!(is_silent(&lab.host, db.ip.into()) && is_silent(&db, lab.host.ip.into()));

    // Later commands know it still.
    without_bpf(&lab, &["child", "add", "eth0", &spec(&more, "")]).succeeded();
    assert_eq!(routed(&lab, "-4"), [web.ip.to_string(), more.ip.to_string()]);
    assert!(ping(&more, lab.host.ip.into()));
    without_bpf(&lab, &["attach", "eth0"]).succeeded();
    assert_eq!(child(&status(&lab), "db")["host_access"], false);
    let on = macvlan_tests::control::named(&db, "host-access=on");
    without_bpf(&lab, &["child", "set", "eth0", &on]).succeeded();
    assert!(ping(&lab.host, db.ip.into()) && ping(&db, lab.host.ip.into()));
    let gone = macvlan_tests::control::named(&web, "");
    without_bpf(&lab, &["child", "del", "eth0", &gone]).succeeded();
    assert_eq!(routed(&lab, "-4"), [db.ip.to_string(), more.ip.to_string()]);
}

#[test]
fn what_children_counted_themselves_is_in_stats() {
    needs!(require::lab, require::binary);
    let lab = Lab::new();
    let web = lab.child("web", Mode::Bridge);
    without_bpf(&lab, &["attach", "eth0"]).succeeded();
    let stats = || only(&without_bpf(&lab, &["-j", "stats", "eth0"]).succeeded().json()).clone();
    let before = stats();
    assert_eq!(only(&before["children"])["wire"], Value::Null);
    assert_eq!((&before["flood"], &before["unknown_unicast"]), (&Value::Null, &Value::Null));
    tcp_transfer(&lab.wire, &web, Family::V4, 1 << 20);
    let count = |stats: &Value, way: &str, what: &str| {
        only(&stats["children"])["stats64"][way][what].as_u64().unwrap()
    };
    let after = stats();
    assert!(count(&after, "rx", "bytes") >= count(&before, "rx", "bytes") + (1 << 20), "{before} {after}");
    assert!(count(&after, "tx", "packets") > count(&before, "tx", "packets"));
    let own = web.ns.ip_json("-s link show dev web")[0]["stats64"].clone();
    assert_eq!(own["rx"]["bytes"], only(&stats()["children"])["stats64"]["rx"]["bytes"]);
    let text = without_bpf(&lab, &["stats", "eth0"]).succeeded().stdout;
    assert!(text.contains("web") && text.contains("all"), "{text}");
    // With BPF they are counted by path.
    lab.ctl(&["attach", "eth0"]).succeeded();
    let counted = only(&lab.ctl(&["-j", "stats", "eth0"]).succeeded().json()).clone();
    assert_eq!(only(&counted["children"])["stats64"], Value::Null);
    assert_ne!(only(&counted["children"])["wire"], Value::Null);
}
