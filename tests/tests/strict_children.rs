//! A child that is strict: what the driver gives to bridge siblings itself does not come to it, and it hears and is
//! heard as before, once.

use std::fs;

use macvlan_common::{child::Mode, mac::Mac};
use macvlan_tests::{
    attached::Attached,
    control::child,
    crowd::Crowd,
    fail::OrFail as _,
    frames::{self, ArpOperation, Marker, marked},
    lab::Lab,
    needs, require,
    servers::{ALL_NODES, ROUTER_ADVERTISEMENT, datagrams, messages},
    sniff::{Injector, Tap},
};

/// What makes a child strict.
fn made_of(status: &serde_json::Value, name: &str) -> [String; 3] {
    let shown = child(status, name);
    ["mode", "vepa_reflect", "anti_spoof"].map(|key| shown[key].as_str().unwrap_or_default().to_owned())
}

const STRICT: [&str; 3] = ["vepa", "local", "mac"];

#[test]
fn children_that_are_made_on_a_strict_master_are_strict_unless_they_say_what_they_are() {
    needs!(require::lab, require::tcx, require::binary);
    const FILE: &str = "/run/macvlan-ctl.toml";
    let lab = Lab::new();
    let line = ["--isolation", "strict", "--child", "web", "--child", "own,mode=bridge"];
    let attached = Attached::new(&lab, &line);
    let shown = attached.status();
    assert_eq!(made_of(&shown, "web"), STRICT);
    assert_eq!(made_of(&shown, "own"), ["bridge", "switch", "off"]);
    // Whoever is not strict is named, and how to change that.
    let open = |status: &serde_json::Value| {
        let degraded = status["degraded"].as_array().or_fail("list what is less");
        let of_some = degraded.iter().find(|part| part["got"] == "off for some");
        of_some.map(|part| part["reason"].to_string())
    };
    let of = |status: &serde_json::Value, name: &str| {
        child(status, name)["address"].as_str().or_fail("read").to_owned()
    };
    let told = open(&shown).or_fail("find who is not strict");
    assert!(told.contains(&of(&shown, "own")) && !told.contains(&of(&shown, "web")), "{told}");
    assert!(told.contains("child set with isolation=strict"), "{told}");
    lab.ctl(&["child", "set", "eth0", "own,isolation=strict"]).succeeded();
    let shown = attached.status();
    assert_eq!(made_of(&shown, "own"), STRICT);
    assert_eq!(open(&shown), None);
    lab.ctl(&["child", "add", "eth0", "late"]).succeeded();
    assert_eq!(made_of(&attached.status(), "late"), STRICT);
    // What is there stays as it is.
    let again = lab.ctl(&["attach", "eth0", "--child", "web", "--dry-run"]).succeeded();
    assert!(again.stdout.contains("keep macvlan \"web\" in mode vepa"), "{}", again.report());
    let refused = lab.ctl(&["child", "add", "eth0", "x,isolation=strict,mode=private"]);
    assert!(refused.stderr.contains("isolation=strict is in mode vepa, not private"), "{}", refused.report());

    let text = "[[master]]\nname = \"eth0\"\nisolation = \"off\"\n[[master.child]]\nname = \"filed\"\n\
                isolation = \"strict\"\n[[master.child]]\nname = \"plain\"\n";
    lab.mounts().enter(|| fs::write(FILE, text).or_fail("write a configuration"));
    lab.ctl(&["apply", "--config", FILE]).succeeded();
    let shown = attached.status();
    assert_eq!(made_of(&shown, "filed"), STRICT);
    assert_eq!(made_of(&shown, "plain"), ["bridge", "switch", "off"]);
    let before = lab.ctl(&["check", "--config", FILE]).succeeded();
    assert_eq!(before.stdout, "up to date\n");
    drop(attached);
    lab.ctl(&["detach", "eth0", "--delete-children"]).succeeded();
}

#[test]
fn a_strict_child_hears_everybody_and_is_heard_once() {
    needs!(require::lab, require::tcx, require::binary);
    for args in [&[][..], &["--xdp", "native"], &["--xdp", "generic"]] {
        let lab = Lab::new();
        let mut crowd = Crowd::new(&lab);
        let attached = Attached::new(&lab, args);
        for name in ["v1", "v2"] {
            lab.ctl(&["child", "set", "eth0", &format!("{name},isolation=strict")]).succeeded();
        }
        assert_eq!(made_of(&attached.status(), "v1"), STRICT);
        for to in ["broadcast", "multicast"] {
            crowd.expect("wire", to, &["b1", "b2", "p1", "p2", "v1", "v2", "host"]);
            crowd.expect("host", to, &["b1", "b2", "p1", "p2", "v1", "v2", "wire"]);
            crowd.expect("b1", to, &["b2", "v1", "v2", "host", "wire"]);
            crowd.expect("v1", to, &["b1", "b2", "v2", "host", "wire"]);
            // Private ones stay apart.
            crowd.expect("p1", to, &["host", "wire"]);
        }
        for peer in ["wire", "host", "b1", "v2"] {
            crowd.expect("v1", peer, &[peer]);
            crowd.expect(peer, "v1", &["v1"]);
        }
        crowd.expect("v1", "p1", &[]);
        crowd.expect("p1", "v1", &[]);
    }
}

/// What an attacker sends past TC on its own device: the driver gives broadcasts to bridge siblings before any hook.
#[test]
fn what_the_driver_gives_to_bridge_siblings_does_not_come_to_a_strict_child() {
    needs!(require::lab, require::tcx, require::binary);
    let lab = Lab::with().ipv6().build();
    let mut crowd = Crowd::of(
        &lab,
        &[("b1", Mode::Bridge), ("b2", Mode::Bridge), ("v1", Mode::Vepa), ("g1", Mode::Bridge)],
    );
    let attached = Attached::new(&lab, &[]);
    for change in ["b1,anti-spoof=ip,ra=off,dhcp-server=off", "g1,anti-spoof=mac", "v1,isolation=strict"] {
        lab.ctl(&["child", "set", "eth0", change]).succeeded();
    }
    let (attacker, sibling, strict) = (crowd.child("b1"), crowd.child("b2"), crowd.child("v1"));
    let past = Injector::new(&attacker.ns, &attacker.dev).past_tc();
    let marker = Marker::new();
    let mut forged = vec![
        marked(Mac::BROADCAST, crowd.mac("g1"), marker),
        marked(Mac::BROADCAST, crowd.mac("v1"), marker),
        marked(Mac::BROADCAST, crowd.mac("nobody"), marker),
    ];
    let gateway = lab.wire.ip;
    let (its, all) = ((attacker.mac, gateway), (Mac::BROADCAST, gateway));
    forged.push(frames::arp(Mac::BROADCAST, ArpOperation::Reply, its, all, marker));
    forged.extend(messages(attacker, ALL_NODES, ROUTER_ADVERTISEMENT, marker));
    forged.extend(datagrams(attacker, Mac::BROADCAST, [(67, 68), (547, 546)], marker));
    let (mut heard, mut kept) =
        (Tap::on_device(&sibling.ns, &sibling.dev), Tap::on_device(&strict.ns, &strict.dev));
    for frame in &forged {
        past.send(frame);
    }
    crowd.settle();
    assert_eq!(heard.came_in(marker), forged.len(), "it shows nothing");
    assert_eq!(kept.came_in(marker), 0);
    drop(attached);
}
