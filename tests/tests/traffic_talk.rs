//! Programs talking across the hairpin: ping, UDP and TCP, with addresses resolved as usual.

use macvlan_common::{child::Mode, counters::Path};
use macvlan_tests::{
    attached::Attached,
    fail::wait_for,
    lab::{FAMILIES, Family, Lab, Station},
    needs, require,
    sniff::Tap,
    talk::{is_silent, ping, tcp_transfer, udp_echo},
};

const BULK: usize = 4 << 20;

#[test]
fn without_the_data_path_host_and_child_cannot_ping_each_other() {
    needs!(require::lab);
    let lab = Lab::with().ipv6().build();
    let child = lab.child("b1", Mode::Bridge);
    for family in FAMILIES {
        assert!(is_silent(&lab.host, child.address(family)), "{family:?}");
        assert!(ping(&lab.wire, child.address(family)), "{family:?}");
    }
}

#[test]
fn host_and_bridge_children_resolve_and_ping_each_other() {
    needs!(require::lab, require::binary);
    check_ping(Mode::Bridge, &[]);
}

#[test]
fn host_and_private_children_resolve_and_ping_each_other() {
    needs!(require::lab, require::binary);
    check_ping(Mode::Private, &[]);
}

#[test]
fn host_and_children_ping_each_other_with_native_xdp() {
    needs!(require::lab, require::binary);
    check_ping(Mode::Bridge, &["--xdp", "native"]);
    check_ping(Mode::Private, &["--xdp", "native"]);
}

#[test]
fn host_and_children_ping_each_other_with_generic_xdp() {
    needs!(require::lab, require::binary);
    check_ping(Mode::Bridge, &["--xdp", "generic"]);
    check_ping(Mode::Private, &["--xdp", "generic"]);
}

#[test]
fn tcp_crosses_the_hairpin_both_ways_and_stays_off_the_wire() {
    needs!(require::lab, require::binary);
    let lab = Lab::with().ipv6().build();
    let (bridge, private) = (lab.child("b1", Mode::Bridge), lab.child("p1", Mode::Private));
    lab.introduce(&[&lab.host, &lab.wire, &bridge, &private]);
    let _attached = Attached::new(&lab, &[]);
    let mut wire = Tap::on_device(&lab.wire.ns, &lab.port);
    for family in FAMILIES {
        for child in [&bridge, &private] {
            tcp_transfer(&lab.host, child, family, BULK);
            tcp_transfer(child, &lab.host, family, BULK);
        }
    }
    let unicast = wire.seen().iter().filter(|seen| seen.data[0] & 1 == 0).count();
    assert_eq!(unicast, 0, "frames of the hairpin on the wire");
}

#[test]
fn tcp_reaches_siblings_and_the_wire_as_before() {
    needs!(require::lab, require::binary);
    let lab = Lab::with().ipv6().build();
    let (one, other) = (lab.child("b1", Mode::Bridge), lab.child("b2", Mode::Bridge));
    let _attached = Attached::new(&lab, &[]);
    for family in FAMILIES {
        tcp_transfer(&one, &other, family, BULK);
        tcp_transfer(&one, &lab.wire, family, BULK);
        tcp_transfer(&lab.wire, &one, family, BULK);
        tcp_transfer(&lab.wire, &lab.host, family, BULK);
    }
}

#[test]
fn every_datagram_is_counted_once_on_its_path() {
    needs!(require::lab, require::binary);
    const DATAGRAMS: usize = 50;
    const PAYLOAD: usize = 1000;
    for args in [&[][..], &["--xdp", "native"], &["--xdp", "generic"]] {
        let lab = Lab::new();
        let (one, other) = (lab.child("b1", Mode::Bridge), lab.child("b2", Mode::Bridge));
        let everybody = [&lab.host, &lab.wire, &one, &other];
        lab.introduce(&everybody);
        let attached = Attached::new(&lab, args);
        let rows: [(&Station, &Station, Path); 3] =
            [(&lab.host, &one, Path::Host), (&lab.wire, &one, Path::Wire), (&other, &one, Path::Sibling)];
        for (from, to, path) in rows {
            let before = attached.stats();

            assert_eq!(udp_echo(from, to, Family::V4, DATAGRAMS, PAYLOAD), DATAGRAMS);

            let gained = &attached.stats() - &before;
            let bytes = (DATAGRAMS * (14 + 20 + 8 + PAYLOAD)) as u64;
            for count in [gained.rx("b1", path), gained.tx("b1", path)] {
                assert_eq!((count.packets, count.bytes), (DATAGRAMS as u64, bytes), "{args:?} {path:?}");
            }
        }
    }
}

#[track_caller]
fn check_ping(mode: Mode, args: &[&str]) {
    let lab = Lab::with().ipv6().build();
    let child = lab.child("c1", mode);
    let attached = Attached::new(&lab, args);
    for family in FAMILIES {
        assert!(ping(&lab.host, child.address(family)), "host to child, {family:?} {args:?}");
        assert!(ping(&child, lab.host.address(family)), "child to host, {family:?} {args:?}");
        assert!(ping(&lab.wire, child.address(family)), "wire to child, {family:?} {args:?}");
        assert!(ping(&child, lab.wire.address(family)), "child to wire, {family:?} {args:?}");
        assert!(ping(&lab.wire, lab.host.address(family)), "wire to host, {family:?} {args:?}");
    }
    wait_for("the host's path to be counted", || {
        (attached.stats().rx("c1", Path::Host).packets > 0).then_some(())
    });
}
