//! Who is to be no router and no DHCP server, with real devices and under every demultiplexer.

use std::fs;

use macvlan_common::{child::Mode, counters::DropReason};
use macvlan_tests::{
    attached::Attached,
    control::{child, status},
    fail::OrFail as _,
    frames::{self, Marker},
    lab::{Lab, Station},
    needs, require,
    servers::{ALL_NODES, datagrams, messages},
    sniff::{Injector, Tap},
    stats::Stats,
};

/// How many of these frames arrive.
#[track_caller]
fn arrive(from: &Station, to: &Station, frames: &[Vec<u8>], marker: Marker) -> usize {
    let fence = Marker::new();
    let mut tap = Tap::on_device(&to.ns, &to.dev);
    let injector = Injector::new(&from.ns, &from.dev);
    frames.iter().for_each(|frame| injector.send(frame));
    injector.send(&frames::marked(to.mac, from.mac, fence));
    tap.wait_for(fence, 1);
    tap.came_in(marker)
}

/// What was dropped of `g1` as router and as DHCP server.
fn drops(gained: &Stats) -> (u64, u64) {
    let dropped = |reason| gained.dropped("g1", reason).packets;
    (dropped(DropReason::RaGuard), dropped(DropReason::DhcpGuard))
}

#[test]
fn routers_and_dhcp_servers_are_refused_where_asked_for() {
    needs!(require::lab, require::binary);
    for args in [&[][..], &["--xdp", "native"], &["--xdp", "generic"]] {
        let lab = Lab::with().ipv6().build();
        let (hostile, sibling) = (lab.child("g1", Mode::Bridge), lab.child("g2", Mode::Bridge));
        let attached = Attached::new(&lab, args);
        lab.ctl(&["child", "set", "eth0", "g1,host-control=on"]).succeeded();
        let expect = |ra: bool, dhcp: bool| {
            // Generic XDP matters to the direct path between siblings alone.
            let receivers = [&sibling, &lab.host, &lab.wire];
            for to in if args.contains(&"generic") { &receivers[..1] } else { &receivers[..] } {
                let (marker, before) = (Marker::new(), attached.stats());
                let mut bad_ra = messages(&hostile, to.mac, 134, marker);
                bad_ra.extend(messages(&hostile, to.mac, 137, marker));
                let mut bad_dhcp = datagrams(&hostile, to.mac, [(67, 68), (547, 546)], marker);
                bad_dhcp.extend(datagrams(&hostile, to.mac, [(67, 67), (547, 9)], marker));
                let mut fine = messages(&hostile, to.mac, 133, marker);
                fine.extend(datagrams(&hostile, to.mac, [(68, 67), (546, 547)], marker));
                let all = [&bad_ra[..], &bad_dhcp, &fine].concat();
                let gone = (if ra { 4 } else { 0 }, if dhcp { 4 } else { 0 });
                let came = arrive(&hostile, to, &all, marker);
                let case = format!("{args:?}: to {}, ra {ra}, dhcp {dhcp}", to.dev);
                assert_eq!(came as u64, all.len() as u64 - gone.0 - gone.1, "{case}");
                assert_eq!(drops(&(&attached.stats() - &before)), gone, "{case}");
            }
        };
        if args.is_empty() {
            expect(false, false);
            lab.ctl(&["child", "set", "eth0", "g1", "--no-ra"]).succeeded();
            expect(true, false);
            lab.ctl(&["child", "set", "eth0", "g1,ra=on", "--no-dhcp-server"]).succeeded();
            expect(false, true);
        }
        lab.ctl(&["child", "set", "eth0", "g1", "--no-dhcp-server", "--no-ra"]).succeeded();
        expect(true, true);
        // A sibling may do what it likes.
        let marker = Marker::new();
        assert_eq!(arrive(&sibling, &lab.wire, &messages(&sibling, lab.wire.mac, 134, marker), marker), 2);
        let shown = child(&attached.status(), "g1").clone();
        assert_eq!((&shown["ra"], &shown["dhcp_server"]), (&false.into(), &false.into()));
        let table = lab.ctl(&["status", "eth0"]).succeeded().stdout;
        assert!(
            table.lines().any(|line| line.ends_with("g1: ra off, dhcp-server off, host-control on")),
            "{table}"
        );
    }
}

/// The driver gives a bridge child's broadcasts to its siblings itself, before the master's hooks.
#[test]
fn not_even_what_the_driver_gives_to_bridge_siblings_gets_through() {
    needs!(require::lab, require::binary);
    let lab = Lab::with().ipv6().build();
    let (hostile, sibling) = (lab.child("g1", Mode::Bridge), lab.child("g2", Mode::Bridge));
    let attached = Attached::new(&lab, &[]);
    let sent = |marker| {
        let mut frames = messages(&hostile, ALL_NODES, 134, marker);
        frames.extend(datagrams(&hostile, ALL_NODES, [(67, 68), (547, 546)], marker));
        frames
    };
    let count = |frames: &[Vec<u8>], marker| {
        let mut tap = Tap::on_device(&sibling.ns, &sibling.dev);
        let injector = Injector::new(&hostile.ns, &hostile.dev);
        frames.iter().for_each(|frame| injector.send(frame));
        let fence = Marker::new();
        injector.send(&frames::marked(ALL_NODES, hostile.mac, fence));
        tap.wait_for(fence, 1);
        tap.came_in(marker)
    };
    let marker = Marker::new();
    let frames = sent(marker);
    assert_eq!(count(&frames, marker), frames.len(), "the test shows nothing");
    lab.ctl(&["child", "set", "eth0", "g1,ra=off,dhcp-server=off"]).succeeded();
    let (before, marker) = (attached.stats(), Marker::new());
    assert_eq!(count(&sent(marker), marker), 0);
    assert_eq!(drops(&(&attached.stats() - &before)), (2, 2));
}

#[test]
fn a_configuration_makes_everybody_a_mere_client() {
    needs!(require::lab, require::binary);
    const FILE: &str = "/run/macvlan-ctl.toml";
    let lab = Lab::with().ipv6().build();
    let hostile = lab.child("g1", Mode::Bridge);
    let text = "[[master]]\nname = \"eth0\"\n[[master.policy]]\nmatch = { name = \"*\" }\nra = false\n\
                dhcp-server = false\nanti-spoof = \"ip\"\n";
    lab.mounts().enter(|| fs::write(FILE, text).or_fail("write a configuration"));
    lab.ctl(&["apply", "--config", FILE]).succeeded();
    let shown = child(&status(&lab), "g1").clone();
    assert_eq!(
        (&shown["ra"], &shown["dhcp_server"], &shown["anti_spoof"]),
        (&false.into(), &false.into(), &"ip".into())
    );
    let marker = Marker::new();
    let mut frames = messages(&hostile, lab.wire.mac, 134, marker);
    frames.extend(datagrams(&hostile, lab.wire.mac, [(67, 68), (547, 546)], marker));
    assert_eq!(arrive(&hostile, &lab.wire, &frames, marker), 0);
    let before = lab.ctl(&["check", "--config", FILE]).succeeded();
    assert_eq!(before.stdout, "up to date\n");
}

/// A passthru child bears the host's MAC, and that is told.
#[test]
fn a_passthru_child_is_not_guarded_and_status_says_so() {
    needs!(require::lab, require::binary);
    let lab = Lab::new();
    let _passthru = lab.child("t1", Mode::Passthru);
    let attached = Attached::new(&lab, &[]);
    lab.ctl(&["child", "set", "eth0", "t1,ra=off"]).succeeded();
    let degraded = attached.status()["degraded"].to_string();
    assert!(degraded.contains("a passthru child bears the host's MAC"), "{degraded}");
}
