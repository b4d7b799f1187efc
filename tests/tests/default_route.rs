//! `default` as the name of a master: the device of the default route, so that one configuration fits machines whose devices
//! have different names.

use std::fs;

use macvlan_common::child::Mode;
use macvlan_tests::{
    control::status,
    fail::{OrFail as _, wait_for},
    following::Following,
    http::{ask, get},
    lab::Lab,
    needs, require,
    talk::ping,
};
use nix::sys::signal::Signal;
use serde_json::Value;

/// Another device that is up, and a default route through it that comes before one of metric 100.
fn second_uplink(lab: &Lab) {
    lab.host.ns.ip_batch(
        [
            "link add eth7 type veth peer name port7",
            "link set eth7 up",
            "link set port7 up",
            "route add default dev eth7 metric 50",
        ]
        .map(str::to_owned),
    );
}

fn default_route(lab: &Lab) {
    lab.host.ns.ip(&format!("route add default via {} metric 100", lab.wire.ip));
}

#[track_caller]
fn datapath_of(lab: &Lab, master: &str) -> Value {
    lab.ctl(&["-j", "status", master]).succeeded().json()[0]["datapath"].clone()
}

#[test]
fn run_waits_for_a_default_route_and_keeps_to_its_device_until_that_is_gone() {
    needs!(require::lab, require::binary);
    let lab = Lab::new();
    let web = lab.child("web", Mode::Bridge);
    let metrics = "127.0.0.1:10099";
    let run = Following::start(&lab, &["default", "--metrics", metrics]);
    run.wait_for_line("default: waiting: there is no default route");
    let address = metrics.parse().or_fail("read an address");
    let answer = ask(&lab.host.ns, address, "GET /readyz").or_fail("ask");
    assert_eq!((answer.status, &*answer.body), (503, "default: there is no default route; name a device\n"));

    default_route(&lab);
    run.wait_for_line("eth0: attached as \"default\"");
    run.wait_for_members(&[&web]);
    assert!(ping(&lab.host, web.ip.into()));
    let text = wait_for("the metrics of its device", || {
        let text = get(&lab.host.ns, address, "/metrics");
        text.contains("macvlan_master_ready{master=\"eth0\"} 1").then_some(text)
    });
    assert!(!text.contains("\"default\""), "{text}");

    second_uplink(&lab);
    run.signal(Signal::SIGHUP);
    wait_for("the end of the reload", || {
        run.lines().iter().filter(|line| line.contains("eth0: attached")).nth(1).cloned()
    });
    assert_eq!(datapath_of(&lab, "eth7"), "kernel", "a route that comes and goes moves nothing");
    assert!(ping(&lab.host, web.ip.into()));
    lab.host
        .ns
        .ip_batch(["link set eth0 down", "link set eth0 name lan0", "link set lan0 up"].map(str::to_owned));
    wait_for("the new name", || {
        get(&lab.host.ns, address, "/metrics")
            .contains("macvlan_master_ready{master=\"lan0\"} 1")
            .then_some(())
    });
    lab.host.ns.ip("link del lan0");
    run.wait_for_line("eth7: attached as \"default\"");
    assert_eq!(datapath_of(&lab, "default"), "bpf");
}

#[test]
fn every_command_takes_the_device_of_the_default_route_and_says_its_name() {
    needs!(require::lab, require::binary);
    let lab = Lab::new();
    let said = lab.ctl(&["attach", "default"]);
    assert!(
        said.failed(1).contains("cannot attach to \"default\": there is no default route"),
        "{}",
        said.report()
    );
    default_route(&lab);
    let web = lab.child("web", Mode::Bridge);
    lab.ctl(&["attach", "default"]).succeeded();
    assert!(ping(&lab.host, web.ip.into()));
    let told = lab.ctl(&["-j", "status", "default"]).succeeded().json();
    assert_eq!((&told[0]["ifname"], told.as_array().map(Vec::len)), (&"eth0".into(), Some(1)));
    lab.ctl(&["child", "set", "default", "web,ra=off"]).succeeded();
    assert_eq!(status(&lab)["children"][0]["ra"], false);
    for args in [&["stats", "default"][..], &["child", "list", "default"]] {
        lab.ctl(args).succeeded();
    }
    let said = lab.ctl(&["doctor", "default"]);
    assert!(!said.stdout.contains("there is no"), "{}", said.report());
    // Two names of one device are not two devices.
    let said = lab.ctl(&["run", "eth0", "default"]);
    assert!(
        said.failed(1).contains("cannot follow \"default\": it is the same device as \"eth0\""),
        "{}",
        said.report()
    );
    lab.ctl(&["detach", "default"]).succeeded();
    assert_eq!(status(&lab)["datapath"], "kernel");
}

#[test]
fn a_configuration_of_the_default_route_is_applied_to_its_device() {
    needs!(require::lab, require::binary);
    let lab = Lab::new();
    default_route(&lab);
    let web = lab.child("web", Mode::Bridge);
    lab.mounts().enter(|| fs::write("/run/config.toml", "[[master]]\nname = \"default\"\n")).or_fail("write");
    let config = ["--config", "/run/config.toml"];
    let steps = lab.ctl(&[&["-j", "apply"], &config[..]].concat()).succeeded().json();
    let text = steps.to_string();
    assert!(text.contains("\"ifname\":\"eth0\"") && !text.contains("default"), "{text}");
    assert!(ping(&lab.host, web.ip.into()));
    lab.ctl(&[&["check"], &config[..]].concat()).succeeded();
    lab.mounts()
        .enter(|| {
            fs::write("/run/config.toml", "[[master]]\nname = \"default\"\n[[master]]\nname = \"eth0\"\n")
        })
        .or_fail("write");
    let said = lab.ctl(&[&["apply"], &config[..]].concat());
    assert!(said.failed(1).contains("it is the same device as \"default\""), "{}", said.report());
}

/// The kernel names no device so. One may be called so beside its own name.
#[test]
fn a_device_that_is_called_default_comes_first() {
    needs!(require::lab, require::binary);
    let lab = Lab::new();
    default_route(&lab);
    lab.host.ns.ip_batch(
        [
            "link add eth7 type veth peer name port7",
            "link set eth7 up",
            "link property add dev eth7 altname default",
        ]
        .map(str::to_owned),
    );
    let run = Following::start(&lab, &["default"]);
    run.wait_for_line("eth7: attached as \"default\"");
    assert_eq!((datapath_of(&lab, "eth7"), datapath_of(&lab, "eth0")), ("bpf".into(), "kernel".into()));
}
