//! Guards that a network asks for.

use std::time::Instant;

use macvlan_common::mac::Mac;
use macvlan_tests::{
    cni::{Call, network, plugin, reserved, station},
    control::{members, only, status},
    fail::{OrFail as _, wait_for},
    frames::{Marker, marked},
    lab::{Lab, Station},
    needs,
    netns::Netns,
    require,
    sniff::{Injector, Tap},
    talk::{is_silent, ping},
};
use serde_json::{Value, json};

use crate::verbs::devices_of;

#[test]
fn a_group_keeps_containers_apart_that_are_not_in_it() {
    needs!(require::lab, require::cni);
    let lab = Lab::new();
    let nss = [Netns::new(), Netns::new(), Netns::new()];
    let attach = |ns: &Netns, name: &str, group: &str| {
        let mut config = network("1.0.0");
        config["group"] = json!(group);
        let call = Call::new(plugin(), name, ns, config);
        (station(ns, &call.add(&lab)), call)
    };
    let (web, call) = attach(&nss[0], "web", "blue");
    let (db, _) = attach(&nss[1], "db", "blue");
    let (other, _) = attach(&nss[2], "other", "red");
    assert!(ping(&web, db.ip.into()));
    assert!(is_silent(&web, other.ip.into()));
    for container in [&web, &db, &other] {
        assert!(ping(&lab.host, container.ip.into()));
    }
    call.del(&lab);
    assert_eq!(members(&lab), [db.mac, other.mac].into());
}

#[test]
fn a_guard_needs_a_data_path_that_knows_every_child() {
    needs!(require::lab, require::cni);
    let lab = Lab::new();
    let ns = Netns::new();
    let mut config = network("1.0.0");
    config["antiSpoof"] = json!(true);
    let call = Call::new(plugin(), "c1", &ns, config);
    lab.ctl(&["attach", "eth0", "--no-adopt"]).succeeded();
    let (code, message) = call.refused(&lab, "ADD");
    assert_eq!((code, message.contains("macvlan-ctl attach eth0")), (7, true), "{message}");
    assert!(devices_of(&ns).is_empty() && reserved(&lab).is_empty() && members(&lab).is_empty());
    lab.ctl(&["detach", "eth0"]).succeeded();
    call.add(&lab);
    let told = status(&lab)["children"][0].to_string();
    assert!(told.contains(r#""anti_spoof":"mac""#), "{told}");
    call.del(&lab);
}

#[test]
fn a_container_without_addresses_is_held_to_its_mac() {
    needs!(require::lab, require::cni);
    let lab = Lab::new();
    let ns = Netns::new();
    let config = json!({"cniVersion": "1.1.0", "name": "lan", "type": "macvlan-cni", "master": "eth0",
        "antiSpoof": true});
    let call = Call::new(plugin(), "c1", &ns, config);
    let result = call.add(&lab);
    let own = result["interfaces"][0]["mac"].as_str().and_then(|mac| mac.parse().ok());
    let (own, injector) = (own.or_fail("read the MAC"), Injector::new(&ns, "eth0"));
    for to in [&lab.wire, &lab.host] {
        let mut tap = Tap::on_device(&to.ns, &to.dev);
        let [forged, honest] = [Marker::new(), Marker::new()];
        injector.send(&marked(to.mac, Mac::new([2, 0, 0, 0, 9, 99]), forged));
        injector.send(&marked(to.mac, own, honest));
        // What was sent before it has come by then, if at all.
        tap.wait_for(honest, 1);
        assert_eq!(tap.received(forged), 0, "{to:?}");
    }
    call.del(&lab);
    assert!(members(&lab).is_empty());
}

/// Once somebody has looked: `run`, or the next command.
#[test]
fn a_container_that_may_change_its_mac_is_held_to_the_new_one() {
    needs!(require::lab, require::cni, require::tcx);
    let lab = Lab::new();
    for may in [true, false] {
        let ns = Netns::new();
        let config = json!({"cniVersion": "1.1.0", "name": "lan", "type": "macvlan-cni", "master": "eth0",
            "antiSpoof": true, "macChange": may});
        let call = Call::new(plugin(), "c1", &ns, config);
        call.add(&lab);
        let (new, other) = (Mac::new([2, 0, 0, 0, 7, 1]), Mac::new([2, 0, 0, 0, 7, 2]));
        ns.ip(&format!("link set eth0 address {new}"));
        lab.ctl(&["attach", "eth0"]).succeeded();
        assert_eq!(members(&lab).contains(&new), may);
        let mut tap = Tap::on_device(&lab.wire.ns, &lab.wire.dev);
        let mut came = |mac: Mac| {
            let (marker, fence) = (Marker::new(), Marker::new());
            Injector::new(&ns, "eth0").send(&marked(lab.wire.mac, mac, marker));
            Injector::new(&lab.host.ns, "eth0").send(&marked(lab.wire.mac, lab.host.mac, fence));
            tap.wait_for(fence, 1);
            tap.received(marker)
        };
        assert_eq!((came(new), came(other)), (usize::from(may), 0));
        call.del(&lab);
        assert!(members(&lab).is_empty());
    }
}

#[test]
fn a_container_that_leaves_with_the_mac_of_another_takes_only_itself_along() {
    needs!(require::lab, require::cni);
    let lab = Lab::new();
    let nss = [Netns::new(), Netns::new()];
    let [attacker, victim] = [0, 1].map(|number| {
        let call = Call::new(plugin(), ["attacker", "victim"][number], &nss[number], network("1.0.0"));
        let station = station(&nss[number], &call.add(&lab));
        (station, call)
    });
    // The kernel lets nobody take the MAC of a device that is up.
    nss[1].ip("link set eth0 down");
    nss[0].ip(&format!("link set eth0 address {}", victim.0.mac));
    attacker.1.del(&lab);
    assert_eq!(members(&lab), [victim.0.mac].into());
    nss[1].ip("link set eth0 up");
    assert!(ping(&lab.host, victim.0.ip.into()));
    victim.1.del(&lab);
    assert!(members(&lab).is_empty());
}

#[test]
fn a_rate_holds_in_both_directions_and_goes_with_its_container() {
    needs!(require::lab, require::cni);
    let lab = Lab::new();
    let [limited, free] = [Netns::new(), Netns::new()];
    let mut config = network("1.0.0");
    config["rate"] = json!({"rx": "10pps", "tx": "100mbit+10pps/256k", "scope": "wire"});
    let call = Call::new(plugin(), "limited", &limited, config);
    let container = station(&limited, &call.add(&lab));

    let child = only(&status(&lab)["children"]).clone();
    let rx = json!({"bits": null, "burst": null, "packets": 10});
    let tx = json!({"bits": 100_000_000, "burst": 262_144, "packets": 10});
    assert_eq!((&child["rate_rx"], &child["rate_tx"]), (&rx, &tx), "{child:#}");
    assert_eq!(child["rate_scope"], "wire");
    for (from, to) in [(&lab.wire, &container), (&container, &lab.wire)] {
        let (got, most) = send_frames(&lab, from, to);
        assert!((1..=most).contains(&got), "{got} of {FRAMES} got through, {most} at most");
    }
    // Of the wire alone.
    assert_eq!(send_frames(&lab, &lab.host, &container).0, FRAMES);

    // Who comes next has the place of who went, and not its rates.
    call.del(&lab);
    let container = station(&free, &Call::new(plugin(), "free", &free, network("1.0.0")).add(&lab));
    let child = only(&status(&lab)["children"]).clone();
    assert!(child["rate_rx"].is_null() && child["rate_tx"].is_null(), "{child:#}");
    lab.ctl(&["attach", "eth0"]).succeeded();
    for (from, to) in [(&lab.wire, &container), (&container, &lab.wire)] {
        assert_eq!(send_frames(&lab, from, to).0, FRAMES);
    }
}

#[test]
fn the_bandwidth_of_a_pod_is_its_rate() {
    needs!(require::lab, require::cni);
    let lab = Lab::new();
    let ns = Netns::new();
    let mut config = network("1.0.0");
    config["rate"] = json!({"rx": "1mbit", "scope": "wire"});
    // Bits, and bits a second; the burst as containerd has it where a pod has none.
    config["runtimeConfig"] = json!({"bandwidth": {
        "ingressRate": 20_000_000, "ingressBurst": u32::MAX, "egressRate": 8_000_000, "egressBurst": 8_000_000,
    }});
    let mut call = Call::new(plugin(), "pod", &ns, config);
    let result = call.add(&lab);
    let told = |child: &Value| [child["rate_rx"].clone(), child["rate_tx"].clone()];
    let child = only(&status(&lab)["children"]).clone();
    assert_eq!(
        told(&child),
        [
            json!({"bits": 20_000_000, "burst": 1_250_000, "packets": null}),
            json!({"bits": 8_000_000, "burst": 1_000_000, "packets": null}),
        ]
    );
    call.config["prevResult"] = result;
    call.run(&lab, "CHECK").succeeded();
    call.del(&lab);
    assert!(members(&lab).is_empty());
}

const FRAMES: usize = 2000;

/// Sends frames, and tells how many arrived, and the most that ten a second let through.
#[track_caller]
fn send_frames(lab: &Lab, from: &Station, to: &Station) -> (usize, usize) {
    let dropped = || {
        let stats = lab.ctl(&["-j", "stats", "eth0"]).succeeded().json();
        let dropped = only(&only(&stats)["children"])["drops"]["rate"]["packets"].as_u64();
        dropped.or_fail("read what was dropped") as usize
    };
    let before = dropped();
    let mut tap = Tap::on_device(&to.ns, &to.dev);
    let marker = Marker::new();
    let start = Instant::now();
    Injector::new(&from.ns, &from.dev).send_times(&marked(to.mac, from.mac, marker), FRAMES);
    let got = wait_for("every frame to arrive or be dropped", || {
        let got = tap.came_in(marker);
        (got + dropped() - before >= FRAMES).then_some(got)
    });
    (got, (10.0 * (0.5 + start.elapsed().as_secs_f64())) as usize + 1)
}
