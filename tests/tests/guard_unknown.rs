//! `--drop-unknown` with real traffic: what is needed arrives, what nobody has is dropped and counted,
//! and it is refused while somebody else on the device takes such frames.

use std::process::{Child, Stdio};

use macvlan_common::{
    cases::STRANGER,
    child::Mode,
    counters::{Count, DropReason},
};
use macvlan_tests::{
    attached::Attached,
    fail::{OrFail as _, wait_for},
    frames::{self, Marker},
    lab::{FAMILIES, Lab},
    needs, require,
    sniff::Injector,
    talk::{ping, tcp_transfer},
};

#[test]
fn everybody_is_reached_while_frames_to_nobody_are_dropped() {
    needs!(require::lab, require::binary);
    const FRAMES: usize = 50;
    for args in [&[][..], &["--xdp", "native"], &["--xdp", "generic"], &["--tc", "clsact"]] {
        let lab = Lab::with().ipv6().build();
        let (web, db) = (lab.child("web", Mode::Bridge), lab.child("db", Mode::Private));
        // Not forced: this is what a node looks like that needs no such frame.
        let attached = Attached::new(&lab, &[args, &["--drop-unknown"]].concat());
        let (host, wire) = (&lab.host, &lab.wire);
        let frame = frames::marked(STRANGER, wire.mac, Marker::new());
        let sender = Injector::new(&wire.ns, &wire.dev);
        let before = attached.stats();

        sender.send_times(&frame, FRAMES);
        for family in FAMILIES {
            for (from, to) in
                [(wire, host), (host, wire), (wire, &web), (&db, wire), (host, &web), (&db, host)]
            {
                let address = to.address(family);
                assert!(ping(from, address), "{args:?}: {} to {address} of {}", from.dev, to.dev);
            }
            tcp_transfer(wire, &web, family, 200_000);
            tcp_transfer(host, &db, family, 200_000);
            tcp_transfer(&web, wire, family, 200_000);
        }
        sender.send_times(&frame, FRAMES);

        let expected = Count { packets: 2 * FRAMES as u64, bytes: 2 * (FRAMES * frame.len()) as u64 };
        wait_for("the last frame to be counted", || {
            (attached.stats().master_dropped(DropReason::Unknown).packets >= expected.packets).then_some(())
        });
        let gained = &attached.stats() - &before;
        assert_eq!(gained.master_dropped(DropReason::Unknown), expected, "{args:?}");
        assert_eq!(gained.unknown_unicast(), Count::default(), "{args:?}");
    }
}

/// Nobody follows here: the programs themselves must see that the host has another MAC.
#[test]
fn a_host_with_another_mac_is_reached_though_nobody_tells_the_programs() {
    needs!(require::lab, require::binary);
    for args in [&[][..], &["--xdp", "native"], &["--xdp", "generic"], &["--tc", "clsact"]] {
        let lab = Lab::with().ipv6().build();
        let _attached = Attached::new(&lab, &[args, &["--drop-unknown"]].concat());
        let (host, wire) = (&lab.host, &lab.wire);
        host.ns.ip(&format!("link set {} address 02:00:00:00:77:01", host.dev));
        for family in FAMILIES {
            let told = format!("{args:?}: {family:?}");
            // The first request takes up to a second: neighbour discovery tries again.
            wait_for(format_args!("the wire to be reached, {told}"), || {
                ping(host, wire.address(family)).then_some(())
            });
            assert!(ping(wire, host.address(family)), "{told}");
            tcp_transfer(wire, host, family, 200_000);
        }
    }
}

/// A capture on the host's device, until this is dropped.
struct Capture(Child);

impl Capture {
    #[track_caller]
    fn start(lab: &Lab, further: &[&str]) -> Self {
        let mut tcpdump = lab.host.ns.command("tcpdump");
        tcpdump.args(["-i", &lab.host.dev, "-w", "/dev/null"]).args(further);
        let process = tcpdump.stderr(Stdio::null()).spawn().or_fail("run tcpdump");
        let capture = Self(process);
        wait_for("the capture to begin", || {
            let sockets = lab.host.ns.enter(|| std::fs::read_to_string("/proc/thread-self/net/packet"));
            (sockets.or_fail("list packet sockets").lines().count() > 1).then_some(())
        });
        capture
    }
}

impl Drop for Capture {
    fn drop(&mut self) {
        // It may have ended by itself; that is as good.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Asserts that frames to nobody are not dropped unless forced, for this reason.
#[track_caller]
fn refused(lab: &Lab, why: &str) {
    let master = &lab.host.dev;
    let ran = lab.ctl(&["attach", master, "--drop-unknown"]);
    let told = ran.failed(1);
    let start = format!("cannot attach to {master:?}: unknown unicast is not dropped: ");
    assert!(told.contains(&start) && told.contains(why), "{told}");
    assert!(told.trim_end().ends_with("force it with --drop-unknown=force"), "{told}");
    // Nothing was done.
    assert_eq!(lab.ctl(&["-j", "status", master]).succeeded().json()[0]["datapath"], "kernel");
    lab.ctl(&["attach", master, "--drop-unknown=force"]).succeeded();
    let status = lab.ctl(&["-j", "status", master]).succeeded().json();
    assert_eq!(status[0]["drop_unknown"], "force");
    lab.ctl(&["detach", master]).succeeded();
}

#[track_caller]
fn taken(lab: &Lab) {
    lab.ctl(&["attach", &lab.host.dev, "--drop-unknown"]).succeeded();
    lab.ctl(&["detach", &lab.host.dev]).succeeded();
}

#[test]
fn a_capture_of_all_frames_keeps_them_and_one_of_its_own_does_not() {
    needs!(require::lab, require::binary, require::tcpdump);
    let lab = Lab::new();
    // Its MAC may make the kernel itself count a promiscuous user of the device.
    let _child = lab.child("web", Mode::Bridge);
    taken(&lab);
    let capture = Capture::start(&lab, &[]);
    refused(&lab, "is in promiscuous mode, for a packet capture or because it was set so");
    drop(capture);
    wait_for("the device to leave promiscuous mode", || {
        let sockets = lab.host.ns.enter(|| std::fs::read_to_string("/proc/thread-self/net/packet"));
        (sockets.or_fail("list packet sockets").lines().count() == 1).then_some(())
    });
    taken(&lab);
}

#[test]
fn a_child_that_is_not_adopted_keeps_them() {
    needs!(require::lab, require::binary);
    let lab = Lab::new();
    let _child = lab.child("web", Mode::Bridge);
    let ran = lab.ctl(&["attach", &lab.host.dev, "--no-adopt", "--drop-unknown"]);
    let told = ran.failed(1);
    assert!(
        told.contains("unknown unicast is not dropped: child ") && told.contains(" is not adopted"),
        "{told}"
    );
    lab.ctl(&["attach", &lab.host.dev, "--no-adopt", "--drop-unknown=force"]).succeeded();
    lab.ctl(&["detach", &lab.host.dev]).succeeded();
    taken(&lab);
}

#[test]
fn the_port_of_a_bridge_is_refused_whatever_is_asked_for() {
    needs!(require::lab, require::binary);
    let lab = Lab::new();
    let host = &lab.host;
    host.ns.ip("link add br0 type bridge");
    host.ns.ip(&format!("link set {} master br0", host.dev));
    for option in ["--drop-unknown", "--drop-unknown=force"] {
        let ran = lab.ctl(&["attach", &host.dev, option]);
        let told = ran.failed(1);
        assert!(told.contains("it is a port of bridge \"br0\"; attach to \"br0\" instead"), "{told}");
    }
}
