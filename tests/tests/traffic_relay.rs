//! Behind a switch that sends frames back out of the port they came in by (reflective relay, IEEE
//! 802.1Qbg): everybody still gets every frame once, and private children stay apart.

use macvlan_common::{
    child::Mode,
    counters::{Count, DropReason, FloodOrigin, Path},
};
use macvlan_tests::{
    attached::Attached,
    crowd::{Arrivals, CHILDREN, Crowd, EVERYBODY, LEN, TIMES},
    lab::{FAMILIES, Lab, Station},
    needs, require,
    talk::{is_silent, ping},
};

const SENT: Count = Count { packets: TIMES as u64, bytes: (TIMES * LEN) as u64 };
const DEMULTIPLEXERS: [&[&str]; 3] = [&[], &["--xdp", "native"], &["--xdp", "generic"]];

/// What a child's counters gain: its name, path and direction, count.
type Gain = (String, &'static str, &'static str, Count);

#[test]
fn unicast_is_delivered_once_with_the_default_demultiplexer() {
    needs!(require::lab, require::binary);
    check_unicast(DEMULTIPLEXERS[0]);
}

#[test]
fn unicast_is_delivered_once_with_native_xdp() {
    needs!(require::lab, require::binary);
    check_unicast(DEMULTIPLEXERS[1]);
}

#[test]
fn unicast_is_delivered_once_with_generic_xdp() {
    needs!(require::lab, require::binary);
    check_unicast(DEMULTIPLEXERS[2]);
}

#[test]
fn everybody_hears_a_reflected_broadcast_once() {
    needs!(require::lab, require::binary);
    for args in DEMULTIPLEXERS {
        let lab = Lab::with().reflective_switch().build();
        let mut crowd = Crowd::new(&lab);
        let attached = Attached::new(&lab, args);
        for from in EVERYBODY {
            for to in ["broadcast", "multicast"] {
                let before = attached.stats();

                crowd.expect(from, to, hearers(from));

                let gained = &attached.stats() - &before;
                let sent: Vec<Gain> =
                    mode(from).iter().map(|_| (from.to_owned(), Path::Wire.as_str(), "tx", SENT)).collect();
                assert_eq!(gained.all(), sent, "{args:?}: counters, {from} to {to}");
                let reflected = if from == "host" { SENT } else { Count::default() };
                let dropped = gained.master_dropped(DropReason::Reflected);
                assert_eq!(dropped, reflected, "{args:?}: {from} to {to}, reflected");
            }
        }
    }
}

#[test]
fn a_childs_broadcast_counts_once_on_its_way_out_and_once_reflected() {
    needs!(require::lab, require::binary);
    for args in DEMULTIPLEXERS {
        let lab = Lab::with().reflective_switch().build();
        let mut crowd = Crowd::new(&lab);
        let attached = Attached::new(&lab, args);
        for (from, _) in CHILDREN {
            let before = attached.stats();
            crowd.expect(from, "broadcast", hearers(from));
            let gained = &attached.stats() - &before;
            // The crowd ends every exchange with a broadcast of its own from the wire.
            let fence = Count { packets: 1, bytes: LEN as u64 };
            assert_eq!(gained.flood(FloodOrigin::Child), SENT, "{args:?} {from}");
            assert_eq!(gained.flood(FloodOrigin::Host), Count::default(), "{args:?} {from}");
            let wire = Count { packets: SENT.packets + fence.packets, bytes: SENT.bytes + fence.bytes };
            assert_eq!(gained.flood(FloodOrigin::Wire), wire, "{args:?} {from}");
        }
    }
}

#[test]
fn without_the_data_path_private_children_reach_each_other_through_the_switch() {
    needs!(require::lab);
    let lab = Lab::with().reflective_switch().ipv6().build();
    let (one, other) = acquainted_private_children(&lab);
    for family in FAMILIES {
        assert!(ping(&one, other.address(family)), "{family:?}");
    }
}

#[test]
fn private_children_stay_apart_although_the_switch_reflects() {
    needs!(require::lab, require::binary);
    for args in DEMULTIPLEXERS {
        let lab = Lab::with().reflective_switch().ipv6().build();
        let (one, other) = acquainted_private_children(&lab);
        let attached = Attached::new(&lab, args);
        for family in FAMILIES {
            assert!(is_silent(&one, other.address(family)), "{args:?} {family:?}");
            assert!(is_silent(&other, one.address(family)), "{args:?} {family:?}");
            assert!(ping(&one, lab.host.address(family)), "{args:?} {family:?}");
            assert!(ping(&one, lab.wire.address(family)), "{args:?} {family:?}");
        }
        for child in ["p1", "p2"] {
            assert!(attached.stats().dropped(child, DropReason::Isolated).packets > 0, "{args:?} {child}");
        }
    }
}

#[test]
fn a_frame_on_the_wire_with_a_private_siblings_source_reaches_no_child() {
    needs!(require::lab, require::binary);
    for args in DEMULTIPLEXERS {
        let lab = Lab::with().reflective_switch().build();
        let mut crowd = Crowd::new(&lab);
        assert_eq!(crowd.send_as("wire", "p1", "p2", &["p2"])["p2"], TIMES, "the plain kernel leaks");
        let attached = Attached::new(&lab, args);
        let pairs = CHILDREN.iter().flat_map(|source| CHILDREN.iter().map(move |target| (source, target)));
        let isolated = pairs.filter(|((source, source_mode), (target, target_mode))| {
            source != target && (*source_mode == Mode::Private || *target_mode == Mode::Private)
        });
        for ((source, _), (target, _)) in isolated {
            let before = attached.stats();

            let arrivals = crowd.send_as("wire", source, target, &[]);

            assert_eq!(arrivals, Arrivals::new(), "{args:?}: {source} to {target}");
            let dropped = ((*target).to_owned(), "drops", DropReason::Isolated.as_str(), SENT);
            assert_eq!((&attached.stats() - &before).all(), [dropped], "{args:?}: {source} to {target}");
        }
    }
}

#[test]
fn vepa_children_resolve_and_reach_each_other_and_the_host_through_the_switch() {
    needs!(require::lab, require::binary);
    for args in DEMULTIPLEXERS {
        let lab = Lab::with().reflective_switch().ipv6().build();
        let (one, other) = (lab.child("v1", Mode::Vepa), lab.child("v2", Mode::Vepa));
        let bridge = lab.child("b1", Mode::Bridge);
        let _attached = Attached::new(&lab, args);
        let pairs =
            [(&one, &other), (&one, &lab.host), (&lab.host, &other), (&one, &bridge), (&bridge, &one)];
        for family in FAMILIES {
            for (from, to) in pairs {
                assert!(ping(from, to.address(family)), "{args:?}: {} to {}, {family:?}", from.dev, to.dev);
            }
        }
    }
}

/// Two private children with permanent neighbours, as somebody sets them who wants around the
/// isolation.
fn acquainted_private_children(lab: &Lab) -> (Station, Station) {
    let (one, other) = (lab.child("p1", Mode::Private), lab.child("p2", Mode::Private));
    lab.introduce(&[&lab.host, &lab.wire, &one, &other]);
    (one, other)
}

#[track_caller]
fn check_unicast(args: &[&str]) {
    let lab = Lab::with().reflective_switch().build();
    let mut crowd = Crowd::new(&lab);
    let attached = Attached::new(&lab, args);
    for from in EVERYBODY {
        for to in EVERYBODY.into_iter().filter(|to| *to != from) {
            let (arrives, mut counted) = fate(from, to);
            let before = attached.stats();

            crowd.expect(from, to, &arrives);

            counted.sort_by(|one, other| (&one.0, one.1, one.2).cmp(&(&other.0, other.1, other.2)));
            assert_eq!((&attached.stats() - &before).all(), counted, "{args:?}: counters, {from} to {to}");
        }
        let before = attached.stats();
        // A switch floods what it does not know, back out of the port it came in by too.
        let arrives: &[&str] = if from == "wire" { &[] } else { &["wire"] };
        crowd.expect(from, "nobody", arrives);
        assert_eq!((&attached.stats() - &before).unknown_unicast(), SENT, "{args:?}: {from} to nobody");
    }
}

/// Who gets a unicast frame, and what is counted.
fn fate(from: &'static str, to: &'static str) -> (Vec<&'static str>, Vec<Gain>) {
    let count = |child: &str, path: Path, direction| (child.to_owned(), path.as_str(), direction, SENT);
    match (mode(from), mode(to)) {
        (None, None) => (vec![to], vec![]),
        (None, Some(_)) if from == "wire" => (vec![to], vec![count(to, Path::Wire, "rx")]),
        (None, Some(Mode::Vepa)) => (vec![to, "wire"], vec![count(to, Path::Wire, "rx")]),
        (None, Some(_)) => (vec![to], vec![count(to, Path::Host, "rx")]),
        (Some(Mode::Vepa), None) if to == "host" => {
            (vec!["host", "wire"], vec![count(from, Path::Wire, "tx")])
        }
        (Some(_), None) if to == "wire" => (vec!["wire"], vec![count(from, Path::Wire, "tx")]),
        (Some(_), None) => (vec!["host"], vec![count(from, Path::Host, "tx")]),
        (Some(Mode::Private), Some(_)) | (Some(_), Some(Mode::Private)) => {
            (vec![], vec![(from.to_owned(), "drops", DropReason::Isolated.as_str(), SENT)])
        }
        (Some(Mode::Bridge), Some(Mode::Bridge)) => {
            (vec![to], vec![count(from, Path::Sibling, "tx"), count(to, Path::Sibling, "rx")])
        }
        // To the switch and back.
        (Some(_), Some(_)) => {
            (vec![to, "wire"], vec![count(from, Path::Wire, "tx"), count(to, Path::Wire, "rx")])
        }
    }
}

/// Who hears a sender's broadcast.
fn hearers(from: &str) -> &'static [&'static str] {
    match from {
        "wire" => &["b1", "b2", "p1", "p2", "v1", "v2", "host"],
        "host" => &["b1", "b2", "p1", "p2", "v1", "v2", "wire"],
        "b1" => &["b2", "v1", "v2", "host", "wire"],
        "b2" => &["b1", "v1", "v2", "host", "wire"],
        // The macvlan driver hands a private child its own reflected broadcast
        // (`macvlan_handle_frame` in drivers/net/macvlan.c).
        "p1" => &["p1", "host", "wire"],
        "p2" => &["p2", "host", "wire"],
        "v1" => &["b1", "b2", "v2", "host", "wire"],
        "v2" => &["b1", "b2", "v1", "host", "wire"],
        other => panic!("no sender {other:?}"),
    }
}

fn mode(name: &str) -> Option<Mode> {
    CHILDREN.iter().find(|(child, _)| *child == name).map(|(_, mode)| *mode)
}
