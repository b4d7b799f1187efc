//! Who reaches whom.

use macvlan_common::child::Mode;
use macvlan_tests::{
    attached::{Attached, tc_means},
    control,
    lab::{FAMILIES, Lab, Station},
    needs, require,
    talk::{is_silent, ping, tcp_transfer, udp_echo},
    tracer::Tracer,
};
use serde_json::{Value, json};

use crate::scene::{attach, lab, port};

fn forget_neighbours(lab: &Lab, children: &[Station]) {
    let stations = children.iter().chain([&lab.wire, &lab.host]);
    for station in stations {
        station.ns.ip("neigh flush all");
    }
}

#[test]
fn without_it_children_do_not_reach_such_a_wire() {
    needs!(require::lab, require::tcx);
    let (lab, children) = lab();
    let _port = port(&lab);
    let _attached = Attached::new(&lab, &[]);
    assert!(ping(&lab.host, lab.wire.ip.into()), "the host's MAC is the one that passes");
    assert!(is_silent(&children[0], lab.wire.ip.into()));
    assert!(is_silent(&lab.wire, children[0].ip.into()));
}

#[test]
fn children_reach_the_wire_and_the_wire_reaches_them() {
    needs!(require::lab, require::tcx);
    for means in tc_means() {
        let (lab, children) = lab();
        let _port = port(&lab);
        let attached = attach(&lab, &["--tc", means]);
        for family in FAMILIES {
            for child in &children {
                let (child_address, wire) = (child.address(family), lab.wire.address(family));
                forget_neighbours(&lab, &children);
                assert!(ping(child, wire), "{means}: {} to the wire, {family:?}", child.dev);
                forget_neighbours(&lab, &children);
                assert!(ping(&lab.wire, child_address), "{means}: the wire to {}, {family:?}", child.dev);
                assert!(ping(&lab.host, child_address), "{means}: the host to {}, {family:?}", child.dev);
                assert!(ping(child, lab.host.address(family)), "{means}: {} to the host", child.dev);
            }
            assert!(ping(&lab.host, lab.wire.address(family)) && ping(&lab.wire, lab.host.address(family)));
        }
        let status = attached.status();
        assert_eq!(status["single_mac"], true);
        let web = control::child(&status, "web");
        let held = &web["wire_addresses"][0];
        assert_eq!((&held["local"], &held["why"]), (&children[0].ip.to_string().into(), &"static".into()));
        let stats = attached.stats();
        println!("{stats:?}");
    }
}

#[test]
fn large_transfers_pass_whole_in_both_directions() {
    needs!(require::lab, require::tcx);
    let (lab, [child, _]) = lab();
    let _port = port(&lab);
    let _attached = attach(&lab, &[]);
    for family in FAMILIES {
        tcp_transfer(&child, &lab.wire, family, 4 << 20);
        tcp_transfer(&lab.wire, &child, family, 4 << 20);
        // In fragments, of which only the first has ports.
        assert_eq!(udp_echo(&child, &lab.wire, family, 8, 5000), 8, "{family:?}");
        assert_eq!(udp_echo(&lab.wire, &child, family, 8, 5000), 8, "{family:?}");
    }
}

#[test]
fn native_xdp_leaves_them_to_tc() {
    needs!(require::lab, require::tcx);
    let (lab, [child, _]) = lab();
    let _port = port(&lab);
    let attached = attach(&lab, &["--xdp", "native", "--drop-unknown"]);
    assert_eq!(attached.status()["demux"], "xdp-native");
    for family in FAMILIES {
        assert!(ping(&child, lab.wire.address(family)) && ping(&lab.wire, child.address(family)));
    }
}

#[test]
fn what_it_cannot_be_with_is_refused() {
    needs!(require::lab);
    let lab = Lab::new();
    let _source = lab.child("src", Mode::Source);
    let refused = |args: &[&str]| {
        let line = [&["attach", lab.host.dev.as_str()], args].concat();
        lab.ctl(&line).failed(1).to_owned()
    };
    println!("{:?}", refused(&["--single-mac"]));
}

#[test]
fn a_trace_has_the_macs_of_both_sides() {
    needs!(require::lab, require::tcx, require::binary);
    for xdp in ["off", "native"] {
        let (lab, [child, _]) = lab();
        let _port = port(&lab);
        let _attached = attach(&lab, &["--xdp", xdp]);
        let tracer = Tracer::start(&lab, &[]);
        assert!(ping(&child, lab.wire.ip.into()) && ping(&child, lab.wire.ip6.into()));
        assert!(ping(&lab.host, lab.wire.ip.into()) && ping(&child, lab.host.ip.into()));
        let events = tracer.stop().events;
        let [mac, master, wire] = [child.mac, lab.host.mac, lab.wire.mac].map(|mac| mac.to_string());
        let of = |src: &str, dst: &str| -> Vec<&Value> {
            events.iter().filter(|event| event["src"] == src && event["dst"] == dst).collect()
        };
        let (out, back) = (of(&mac, &wire), of(&wire, &mac));
        assert!(out.len() >= 2 && back.len() >= 2, "{events:#?}");
        for event in out {
            assert_eq!((&event["wire_src"], &event["wire_dst"]), (&json!(master), &Value::Null), "{event:#}");
        }
        for event in back {
            assert_eq!((&event["wire_src"], &event["wire_dst"]), (&Value::Null, &json!(master)), "{event:#}");
        }
        let unchanged =
            [of(&master, &wire), of(&wire, &master), of(&mac, &master), of(&master, &mac)].concat();
        assert!(unchanged.len() >= 4, "{events:#?}");
        for event in unchanged {
            assert!(event["wire_src"].is_null() && event["wire_dst"].is_null(), "{event:#}");
        }
    }
}
