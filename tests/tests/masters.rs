//! Masters that are not a cable's end: a VLAN of one, a bond, a bridge. Run on several kernels by
//! `cargo xtask vm-test`.

use macvlan_common::{child::Mode, counters::Path};
use macvlan_tests::{
    attached::Attached,
    fail::wait_for,
    lab::{Family, Lab, Station},
    needs, require,
    talk::{is_silent, ping, tcp_transfer},
};

const BULK: usize = 256 << 10;

/// Ways of attaching that every kernel has.
const MEANS: [&[&str]; 3] = [&[], &["--xdp", "generic"], &["--tc", "clsact"]];

#[test]
fn children_of_a_vlan_talk_with_the_host() {
    needs!(require::lab, require::vlan, require::binary);
    let mut lab = Lab::new();
    for station in [&mut lab.host, &mut lab.wire] {
        replace_device(
            station,
            "tagged",
            &format!("link add link {} name tagged type vlan id 7", station.dev),
        );
    }
    lab.port = lab.wire.dev.clone();
    check(&lab);
}

#[test]
fn children_of_a_bond_talk_with_the_host() {
    needs!(require::lab, require::bond, require::binary);
    let mut lab = Lab::new();
    let slave = lab.host.dev.clone();
    lab.host.ns.ip(&format!("link set {slave} down"));
    replace_device(&mut lab.host, "bond0", "link add bond0 type bond mode active-backup miimon 100");
    lab.host.ns.ip(&format!("link set {slave} master bond0"));
    check(&lab);
}

#[test]
fn children_of_a_bridge_talk_with_the_host() {
    needs!(require::lab, require::bridge, require::binary);
    let mut lab = Lab::new();
    let (port, mac) = (lab.host.dev.clone(), lab.host.mac);
    replace_device(&mut lab.host, "bridge0", &format!("link add bridge0 address {mac} type bridge"));
    lab.host.ns.ip(&format!("link set {port} master bridge0"));
    check(&lab);
}

/// Puts the station's address on another device, which this `ip` command makes.
#[track_caller]
fn replace_device(station: &mut Station, name: &str, make: &str) {
    station.ns.ip_batch([
        format!("addr flush dev {}", station.dev),
        make.to_owned(),
        format!("addr add {}/24 dev {name}", station.ip),
        format!("link set {name} up"),
    ]);
    station.dev = name.to_owned();
}

/// Attaches to the lab's master, in every way of demultiplexing, and takes it off again.
#[track_caller]
fn check(lab: &Lab) {
    let (bridge, private) = (lab.child("web", Mode::Bridge), lab.child("db", Mode::Private));
    let carries = || ping(&lab.wire, bridge.ip.into()).then_some(());
    wait_for("the master to carry frames", carries);
    for args in MEANS {
        assert!(is_silent(&lab.host, bridge.ip.into()), "before {args:?}");
        let attached = Attached::new(lab, args);
        check_talk(lab, &[&bridge, &private]);
        check_counters(&attached);
        attached.detach(&[]).succeeded();
    }
}

/// Everybody reaches host and wire; nobody reaches the private child but those two.
#[track_caller]
fn check_talk(lab: &Lab, children: &[&Station; 2]) {
    for child in children {
        for station in [&lab.host, &lab.wire] {
            assert!(ping(station, child.ip.into()), "{} to {}", station.dev, child.dev);
            assert!(ping(child, station.ip.into()), "{} to {}", child.dev, station.dev);
        }
        tcp_transfer(&lab.host, child, Family::V4, BULK);
        tcp_transfer(child, &lab.host, Family::V4, BULK);
        tcp_transfer(&lab.wire, child, Family::V4, BULK);
    }
    assert!(is_silent(children[0], children[1].ip.into()), "bridge to private");
    assert!(is_silent(children[1], children[0].ip.into()), "private to bridge");
}

/// What crossed the hairpin is counted as the host's, what came by the cable as the wire's.
#[track_caller]
fn check_counters(attached: &Attached<'_>) {
    let stats = attached.stats();
    for child in ["web", "db"] {
        for path in [Path::Host, Path::Wire] {
            let (rx, tx) = (stats.rx(child, path), stats.tx(child, path));
            let least = BULK as u64;
            assert!(rx.bytes > least, "{child} {path:?} rx: {rx:?}");
            assert!(tx.packets > 0, "{child} {path:?} tx: {tx:?}");
        }
    }
}
