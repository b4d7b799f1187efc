//! Every row of the forwarding contract with real devices: who gets a frame, who does not, and
//! which counters change, for every sender and every destination, under every demultiplexer.

use macvlan_common::{
    child::Mode,
    counters::{Count, DropReason, Path},
};
use macvlan_tests::{
    attached::Attached,
    crowd::{CHILDREN, Crowd, EVERYBODY, LEN, TIMES},
    lab::Lab,
    needs, require,
};

/// Where a unicast frame goes, and what is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Fate {
    arrives: Option<&'static str>,
    tx: Option<Path>,
    rx: Option<Path>,
    dropped: bool,
}

/// The contract's unicast rows.
fn fate(from: &'static str, to: &'static str) -> Fate {
    let to_wire = Fate { arrives: Some("wire"), tx: None, rx: None, dropped: false };
    match (mode(from), mode(to)) {
        (None, None) => Fate { arrives: Some(to), ..to_wire },
        // From the wire, or from the host.
        (None, Some(mode)) => match (from, mode) {
            ("wire", _) => Fate { arrives: Some(to), rx: Some(Path::Wire), ..to_wire },
            (_, Mode::Bridge | Mode::Private) => Fate { arrives: Some(to), rx: Some(Path::Host), ..to_wire },
            (_, _) => to_wire,
        },
        // To the wire, or to the host.
        (Some(mode), None) => match (to, mode) {
            ("host", Mode::Bridge | Mode::Private) => {
                Fate { arrives: Some(to), tx: Some(Path::Host), ..to_wire }
            }
            (_, _) => Fate { tx: Some(Path::Wire), ..to_wire },
        },
        (Some(Mode::Private), Some(_)) | (Some(_), Some(Mode::Private)) => {
            Fate { arrives: None, dropped: true, ..to_wire }
        }
        (Some(Mode::Bridge), Some(Mode::Bridge)) => {
            Fate { arrives: Some(to), tx: Some(Path::Sibling), rx: Some(Path::Sibling), dropped: false }
        }
        (Some(_), Some(_)) => Fate { tx: Some(Path::Wire), ..to_wire },
    }
}

/// Who hears a sender's broadcast.
fn hearers(from: &str) -> &'static [&'static str] {
    match from {
        "wire" => &["b1", "b2", "p1", "p2", "v1", "v2", "host"],
        "host" => &["b1", "b2", "p1", "p2", "v1", "v2", "wire"],
        "b1" => &["b2", "host", "wire"],
        "b2" => &["b1", "host", "wire"],
        "p1" | "p2" => &["host", "wire"],
        "v1" | "v2" => &["wire"],
        other => panic!("no sender {other:?}"),
    }
}

fn mode(name: &str) -> Option<Mode> {
    CHILDREN.iter().find(|(child, _)| *child == name).map(|(_, mode)| *mode)
}

const SENT: Count = Count { packets: TIMES as u64, bytes: (TIMES * LEN) as u64 };

#[test]
fn without_the_data_path_host_and_children_do_not_hear_each_other() {
    needs!(require::lab);
    let lab = Lab::new();
    let mut crowd = Crowd::new(&lab);
    for (child, _) in CHILDREN {
        crowd.expect("host", child, &["wire"]);
        crowd.expect(child, "host", &["wire"]);
    }
    crowd.expect("host", "broadcast", &["wire"]);
    crowd.expect("b1", "broadcast", &["b2", "wire"]);
    crowd.expect("p1", "broadcast", &["wire"]);
}

#[test]
fn unicast_goes_where_the_contract_says_with_the_default_demultiplexer() {
    needs!(require::lab, require::binary);
    check_unicast(&Lab::new(), &[]);
}

#[test]
fn unicast_goes_where_the_contract_says_among_ports() {
    needs!(require::lab, require::binary);
    check_unicast(&Lab::with().ports().build(), &[]);
}

#[test]
fn unicast_goes_where_the_contract_says_among_ports_with_native_xdp() {
    needs!(require::lab, require::binary);
    check_unicast(&Lab::with().ports().build(), &["--xdp", "native"]);
}

#[test]
fn unicast_goes_where_the_contract_says_with_native_xdp() {
    needs!(require::lab, require::binary);
    check_unicast(&Lab::new(), &["--xdp", "native"]);
}

#[test]
fn unicast_goes_where_the_contract_says_with_generic_xdp() {
    needs!(require::lab, require::binary);
    check_unicast(&Lab::new(), &["--xdp", "generic"]);
}

#[test]
fn everybody_hears_a_broadcast_once_with_the_default_demultiplexer() {
    needs!(require::lab, require::binary);
    check_flood(&Lab::new(), &[]);
}

#[test]
fn everybody_hears_a_broadcast_once_among_ports() {
    needs!(require::lab, require::binary);
    check_flood(&Lab::with().ports().build(), &[]);
}

#[test]
fn everybody_hears_a_broadcast_once_among_ports_with_native_xdp() {
    needs!(require::lab, require::binary);
    check_flood(&Lab::with().ports().build(), &["--xdp", "native"]);
}

#[test]
fn everybody_hears_a_broadcast_once_with_native_xdp() {
    needs!(require::lab, require::binary);
    check_flood(&Lab::new(), &["--xdp", "native"]);
}

#[test]
fn everybody_hears_a_broadcast_once_with_generic_xdp() {
    needs!(require::lab, require::binary);
    check_flood(&Lab::new(), &["--xdp", "generic"]);
}

#[track_caller]
fn check_unicast(lab: &Lab, args: &[&str]) {
    let mut crowd = Crowd::new(lab);
    let attached = Attached::new(lab, args);
    for from in EVERYBODY {
        for to in EVERYBODY.into_iter().filter(|to| *to != from) {
            let fate = fate(from, to);
            let before = attached.stats();

            crowd.expect(from, to, fate.arrives.as_slice());

            let mut counted = Vec::new();
            if let Some(path) = fate.tx {
                counted.push((from.to_owned(), path.as_str(), "tx", SENT));
            }
            if let Some(path) = fate.rx {
                counted.push((to.to_owned(), path.as_str(), "rx", SENT));
            }
            if fate.dropped {
                counted.push((from.to_owned(), "drops", DropReason::Isolated.as_str(), SENT));
            }
            counted.sort_by(|one, other| (&one.0, one.1, one.2).cmp(&(&other.0, other.1, other.2)));
            assert_eq!((&attached.stats() - &before).all(), counted, "counters, {from} to {to}");
        }
        let before = attached.stats();
        let (arrives, unknown) =
            if from == "wire" { (&[][..], SENT) } else { (&["wire"][..], Count::default()) };
        crowd.expect(from, "nobody", arrives);
        assert_eq!((&attached.stats() - &before).unknown_unicast(), unknown, "{from} to nobody");
    }
}

#[track_caller]
fn check_flood(lab: &Lab, args: &[&str]) {
    let mut crowd = Crowd::new(lab);
    let attached = Attached::new(lab, args);
    for from in EVERYBODY {
        for to in ["broadcast", "multicast"] {
            let before = attached.stats();

            crowd.expect(from, to, hearers(from));

            let counted: Vec<_> =
                mode(from).iter().map(|_| (from.to_owned(), Path::Wire.as_str(), "tx", SENT)).collect();
            assert_eq!((&attached.stats() - &before).all(), counted, "counters, {from} to {to}");
        }
    }
}
