//! `"kind": "port"`: a container that gets a port in the place of a macvlan.

use macvlan_tests::{
    cni::{Call, network, plugin, reserved, station},
    control::{members, status},
    fail::wait_for,
    following::Following,
    lab::Lab,
    needs,
    netns::Netns,
    require,
    talk::{ping, reach_each_other},
};
use nix::sys::signal::Signal;
use serde_json::{Value, json};

fn port() -> Value {
    let mut config = network("1.0.0");
    config["kind"] = json!("port");
    config
}

/// How many devices of ports the host has.
fn parts(lab: &Lab) -> usize {
    let links = lab.host.ns.ip_json("link show");
    let is_part = |link: &&Value| link["ifname"].as_str().is_some_and(|name| name.starts_with("mvp"));
    links.as_array().into_iter().flatten().filter(is_part).count()
}

#[test]
fn a_container_with_a_port_is_attached_checked_and_detached() {
    needs!(require::lab, require::cni);
    for xdp in ["off", "native"] {
        let lab = Lab::with().ports().build();
        let (ns, other) = (Netns::new(), Netns::new());
        let mut config = port();
        config["xdp"] = json!(xdp);
        let mut call = Call::new(plugin(), "c1", &ns, config.clone());
        let result = call.add(&lab);
        let fast = station(&ns, &result);
        let web = station(&other, &Call::new(plugin(), "c2", &other, network("1.0.0")).add(&lab));
        for station in [&lab.host, &lab.wire, &web] {
            assert!(reach_each_other(station, &fast), "{} and the port, {xdp}", station.dev);
        }
        let told = status(&lab);
        assert_eq!(members(&lab).len(), 2);
        let kinds: Vec<_> =
            told["children"].as_array().into_iter().flatten().map(|child| &child["kind"]).collect();
        assert!(kinds.contains(&&json!("port")) && kinds.contains(&&json!("macvlan")), "{kinds:?}");
        call.config["prevResult"] = result;
        call.run(&lab, "CHECK").succeeded();
        ns.ip("link set eth0 down");
        assert!(call.refused(&lab, "CHECK").1.contains("\"eth0\" is down"));
        let taken = Call::new(plugin(), "c1", &ns, config).refused(&lab, "ADD");
        assert!(taken.1.contains("in the container already"), "{taken:?}");
        call.del(&lab);
        call.del(&lab);
        assert_eq!((parts(&lab), members(&lab)), (0, [web.mac].into()), "{xdp}");
    }
}

/// Whatever a container does with its end, and whether it is there still.
#[test]
fn del_and_gc_find_the_port_of_a_container_that_hides_it() {
    needs!(require::lab, require::cni);
    for hide in ["link set eth0 down name x", "link set eth0 alias x", "link del eth0"] {
        let lab = Lab::new();
        let ns = Netns::new();
        let call = Call::new(plugin(), "c1", &ns, port());
        call.add(&lab);
        ns.ip(hide);
        call.del(&lab);
        assert_eq!((parts(&lab), members(&lab).len(), reserved(&lab).len()), (0, 0, 0), "{hide}");
    }
    let lab = Lab::new();
    let ns = Netns::new();
    let mut config = port();
    config["cniVersion"] = json!("1.1.0");
    let mut call = Call::new(plugin(), "c1", &ns, config);
    call.add(&lab);
    call.config["cni.dev/valid-attachments"] = json!([]);
    call.run(&lab, "GC").succeeded();
    assert_eq!((parts(&lab), members(&lab).len()), (0, 0));
}

#[test]
fn the_port_of_a_container_that_is_gone_goes_with_del_and_under_run() {
    needs!(require::lab, require::cni);
    let lab = Lab::new();
    let ns = Netns::new();
    let mut call = Call::new(plugin(), "c1", &ns, port());
    call.add(&lab);
    drop(ns);
    call.netns = None;
    wait_for("the pair to go with its container", || (parts(&lab) == 1).then_some(()));
    call.del(&lab);
    assert_eq!((parts(&lab), members(&lab).len(), reserved(&lab).len()), (0, 0, 0));
    let following = Following::start(&lab, &["eth0"]);
    let ns = Netns::new();
    let fast = station(&ns, &Call::new(plugin(), "c2", &ns, port()).add(&lab));
    following.wait_for_members(&[&fast]);
    assert!(ping(&lab.host, fast.ip.into()));
    drop((fast, ns));
    wait_for("run to remove what is left", || (parts(&lab) == 0).then_some(()));
    assert!(following.end(Signal::SIGTERM).success());
}

#[test]
fn what_a_port_cannot_be_is_refused() {
    needs!(require::lab, require::cni);
    let lab = Lab::new();
    let ns = Netns::new();
    for (key, value, word) in [
        ("kind", json!("macvtap"), "unknown kind \"macvtap\": macvlan or port"),
        ("mode", json!("passthru"), "a port cannot be in mode passthru"),
        ("linkInContainer", json!(true), "kind \"port\" needs a master of the host"),
    ] {
        let mut config = port();
        config[key] = value;
        let (code, told) = Call::new(plugin(), "c1", &ns, config).refused(&lab, "ADD");
        assert!(code == 7 && told.contains(word), "{code} {told}");
    }
    assert_eq!(parts(&lab), 0);
}
