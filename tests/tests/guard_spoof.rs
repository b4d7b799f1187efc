//! Nobody sends as somebody else: children held to their MACs, whatever sockets they use.

use macvlan_common::{
    child::Mode,
    counters::{Count, DropReason, Path},
};
use macvlan_tests::{
    attached::Attached,
    crowd::{Crowd, LEN, TIMES},
    foreign::Foreign,
    frames::{Marker, marked},
    lab::{FAMILIES, Lab},
    leak::{Traces, pins},
    needs, require,
    sniff::Injector,
    talk::ping,
};

const SENT: Count = Count { packets: TIMES as u64, bytes: (TIMES * LEN) as u64 };
const DEMULTIPLEXERS: [&[&str]; 3] = [&[], &["--xdp", "native"], &["--xdp", "generic"]];
const HELD: [&str; 2] = ["g1,anti-spoof=mac", "g2,anti-spoof=mac"];

fn set(lab: &Lab, change: &str) {
    lab.ctl(&["child", "set", "eth0", change]).succeeded();
}

fn crowd(lab: &Lab) -> Crowd<'_> {
    Crowd::of(lab, &[("g1", Mode::Bridge), ("g2", Mode::Bridge), ("b1", Mode::Bridge), ("v1", Mode::Vepa)])
}

#[test]
fn a_child_that_is_held_to_its_mac_sends_as_nobody_else() {
    needs!(require::lab, require::binary);
    for args in DEMULTIPLEXERS {
        let lab = Lab::new();
        let mut crowd = crowd(&lab);
        let attached = Attached::new(&lab, args);
        assert_eq!(crowd.send_as("g1", "b1", "wire", &["wire"])["wire"], TIMES, "{args:?}");
        HELD.iter().for_each(|change| set(&lab, change));

        // As the host, a sibling, the gateway behind the wire, nobody; to the wire, the host, a sibling
        // on the kernel's direct path, all.
        for source in ["host", "g2", "b1", "wire", "nobody"] {
            for to in ["wire", "host", "b1", "g2", "broadcast"] {
                let before = attached.stats();
                let arrivals = crowd.send_as("g1", source, to, &[]);
                assert!(arrivals.is_empty(), "{args:?}: as {source} to {to}: {arrivals:?}");
                let gained = (&attached.stats() - &before).all();
                let dropped = ("g1".to_owned(), "drops", DropReason::Spoofed.as_str(), SENT);
                assert_eq!(gained, [dropped], "{args:?}: as {source} to {to}");
            }
        }
        for to in ["wire", "host", "b1", "g2"] {
            crowd.expect("g1", to, &[to]);
            crowd.expect(to, "g1", &["g1"]);
        }
        crowd.expect("g1", "broadcast", &["g2", "b1", "host", "wire"]);
        let status = attached.status();
        let mut degraded = status["degraded"].as_array().into_iter().flatten();
        assert!(degraded.all(|part| part["feature"] != "anti-spoof"), "{status:#}");
    }
}

#[test]
fn a_socket_that_goes_past_the_childs_own_device_passes_for_no_child_that_is_held() {
    needs!(require::lab, require::binary);
    for args in DEMULTIPLEXERS {
        let lab = Lab::new();
        let mut crowd = crowd(&lab);
        let attached = Attached::new(&lab, args);
        HELD.iter().for_each(|change| set(&lab, change));
        let child = crowd.child("g1");
        let (mac, past) = (child.mac, Injector::new(&child.ns, &child.dev).past_tc());
        for source in ["g1", "g2", "nobody"] {
            let own = source == "g1";
            for to in ["wire", "host", "b1", "v1"] {
                // Under an invented MAC, what goes directly to a sibling looks as if from the wire.
                if source == "nobody" && to == "b1" {
                    continue;
                }
                let marker = Marker::new();
                let source = if own { mac } else { crowd.mac(source) };
                let before = attached.stats();
                past.send_times(&marked(crowd.mac(to), source, marker), TIMES);
                let arrivals = crowd.arrivals_of(marker, TIMES, &[]);
                assert!(arrivals.is_empty(), "{args:?}: as {source} to {to}: {arrivals:?}");
                let dropped = (&attached.stats() - &before).master_dropped(DropReason::Spoofed);
                assert_eq!(dropped, SENT, "{args:?}: as {source} to {to}");
            }
        }
        // A child that is not held may.
        let child = crowd.child("b1");
        let (past, marker) = (Injector::new(&child.ns, &child.dev).past_tc(), Marker::new());
        past.send_times(&marked(crowd.mac("wire"), crowd.mac("b1"), marker), TIMES);
        assert_eq!(crowd.arrivals_of(marker, TIMES, &["wire"])["wire"], TIMES, "{args:?}");
    }
}

/// A container may put programs of its own behind ours, on its own device.
#[test]
fn a_child_that_rewrites_its_frames_behind_our_program_passes_for_no_other() {
    needs!(require::lab, require::tcx, require::binary);
    let lab = Lab::new();
    let mut crowd = crowd(&lab);
    let attached = Attached::new(&lab, &[]);
    HELD.iter().for_each(|change| set(&lab, change));
    for source in ["g2", "nobody"] {
        let child = crowd.child("g1");
        let (own, injector) = (child.mac, Injector::new(&child.ns, &child.dev));
        let renamer = Foreign::renamer(&child.ns, &child.dev, crowd.mac(source));
        for to in ["wire", "host", "b1", "v1"] {
            // As above, and plain macvlan does no better.
            if source == "nobody" && to == "b1" {
                continue;
            }
            let (marker, before) = (Marker::new(), attached.stats());
            injector.send_times(&marked(crowd.mac(to), own, marker), TIMES);
            let arrivals = crowd.arrivals_of(marker, TIMES, &[]);
            assert!(arrivals.is_empty(), "as {source} to {to}: {arrivals:?}");
            let dropped = (&attached.stats() - &before).master_dropped(DropReason::Spoofed);
            assert_eq!(dropped, SENT, "as {source} to {to}");
        }
        assert!(renamer.seen() >= 3 * TIMES as u64, "they came by");
    }
}

#[test]
fn what_is_on_a_childs_device_goes_with_the_setting_and_with_the_data_path() {
    needs!(require::lab, require::binary);
    let lab = Lab::new();
    let child = lab.child("g1", Mode::Bridge);
    let before = Traces::of(&lab);
    let on_child = || pins(&lab).into_iter().filter(|pin| pin.to_string_lossy().contains("child_")).count();
    let attached = Attached::new(&lab, &[]);
    assert_eq!(on_child(), 0);
    set(&lab, "g1,anti-spoof=mac");
    assert_eq!(on_child(), 1);
    // Once more changes nothing, and another child's change neither.
    let there = pins(&lab);
    lab.ctl(&["attach", "eth0"]).succeeded();
    assert_eq!(pins(&lab), there);
    set(&lab, "g1,anti-spoof=off");
    assert_eq!(on_child(), 0);

    set(&lab, "g1,anti-spoof=mac");
    // Another MAC, given from inside: where it may have that, the next command follows.
    set(&lab, "g1,mac-change=on");
    child.ns.ip(&format!("link set {} address 02:00:00:00:aa:01", child.dev));
    lab.ctl(&["attach", "eth0"]).succeeded();
    assert_eq!(on_child(), 1);
    assert!(pins(&lab).iter().any(|pin| pin.to_string_lossy().contains("child_free_02000000aa01_")));
    attached.detach(&[]).succeeded();
    assert_eq!(Traces::of(&lab).pins, before.pins);
    let marker = Marker::new();
    let mut crowd = macvlan_tests::sniff::Tap::on_device(&lab.wire.ns, &lab.port);
    Injector::new(&child.ns, &child.dev).send(&marked(lab.wire.mac, lab.host.mac, marker));
    crowd.wait_for(marker, 1);
}

#[test]
fn children_that_are_held_talk_as_ever() {
    needs!(require::lab, require::binary);
    for args in DEMULTIPLEXERS {
        let lab = Lab::with().ipv6().build();
        let (one, other) = (lab.child("g1", Mode::Bridge), lab.child("g2", Mode::Private));
        let attached = Attached::new(&lab, args);
        HELD.iter().for_each(|change| set(&lab, change));
        for family in FAMILIES {
            for (from, to) in [(&one, &lab.host), (&lab.host, &other), (&one, &lab.wire), (&lab.wire, &other)]
            {
                assert!(ping(from, to.address(family)), "{args:?}: {} to {}, {family:?}", from.dev, to.dev);
            }
        }
        let stats = attached.stats();
        for child in ["g1", "g2"] {
            assert_eq!(stats.dropped(child, DropReason::Spoofed), Count::default(), "{args:?}");
            assert!(stats.tx(child, Path::Host).packets > 0, "{args:?}");
        }
        assert_eq!(stats.master_dropped(DropReason::Spoofed), Count::default(), "{args:?}");
    }
}
