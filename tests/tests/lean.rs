//! `--ingress off` and `auto`: no program of ours is at TC ingress of the master while nothing needs one. Host, children and
//! wire reach each other as with one; what has to be there comes back by itself, and no frame is lost on the way.

use std::{
    net::UdpSocket,
    sync::atomic::{AtomicBool, Ordering::Relaxed},
    thread,
    time::Duration,
};

use macvlan_common::{child::Mode, counters::Path};
use macvlan_tests::{
    attached::{Attached, tc_means},
    control::{Pinned, named, pinned, record, status},
    fail::{OrFail as _, wait_for},
    following::Following,
    lab::{Lab, Station},
    needs, require,
    station::Family,
    stats::Stats,
    talk::{is_silent, ping, reach_each_other, udp_echo},
    tracer::Tracer,
};
use nix::sys::signal::Signal;
use serde_json::Value;

const OFF: [&str; 2] = ["--ingress", "off"];

#[test]
fn everybody_reaches_everybody_with_no_program_at_ingress() {
    needs!(require::lab, require::tc, require::binary);
    let mut ways: Vec<Vec<&str>> = tc_means().iter().map(|means| vec!["--tc", *means]).collect();
    ways.extend([vec!["--xdp", "native"], vec!["--xdp", "generic"]]);
    for way in ways {
        let lab = Lab::with().ipv6().build();
        let (one, other) = (lab.child("b1", Mode::Bridge), lab.child("b2", Mode::Bridge));
        let args = [&OFF[..], &way].concat();
        let attached = Attached::new(&lab, &args);
        check_lean(&lab, &format!("{args:?}"));
        for child in [&one, &other] {
            for family in [Family::V4, Family::V6] {
                for station in [&lab.host, &lab.wire] {
                    assert!(
                        ping(station, child.address(family)),
                        "{} to {}, {args:?}",
                        station.dev,
                        child.dev
                    );
                    assert!(
                        ping(child, station.address(family)),
                        "{} to {}, {args:?}",
                        child.dev,
                        station.dev
                    );
                }
            }
        }
        assert!(ping(&one, other.ip.into()) && ping(&lab.wire, lab.host.ip.into()), "{args:?}");
        attached.detach(&[]).succeeded();
        assert!(is_silent(&lab.host, one.ip.into()), "after a detach, {args:?}");
    }
}

#[test]
fn what_no_program_sees_is_counted_by_the_devices() {
    needs!(require::lab, require::binary);
    const DATAGRAMS: usize = 50;
    let lab = Lab::new();
    let (one, other) = (lab.child("b1", Mode::Bridge), lab.child("b2", Mode::Bridge));
    lab.introduce(&[&lab.host, &lab.wire, &one, &other]);
    for (args, counts_wire) in [(&["--xdp", "off"], false), (&["--xdp", "native"], true)] {
        let attached = Attached::new(&lab, &[&OFF[..], args].concat());
        let before = stats(&lab);
        for from in [&lab.host, &lab.wire, &other] {
            assert_eq!(udp_echo(from, &one, Family::V4, DATAGRAMS, 1000), DATAGRAMS);
        }
        let after = stats(&lab);
        let gained = |what: &str| {
            let [now, was] =
                [&after, &before].map(|stats| stats["children"][0][what]["rx"]["packets"].clone());
            Some(now.as_u64()? - was.as_u64()?)
        };
        assert_eq!(after["children"][0]["ifname"], "b1");
        let sent = DATAGRAMS as u64;
        assert_eq!(gained("host"), Some(sent), "{args:?}");
        assert_eq!(gained("sibling"), None, "{args:?}");
        assert_eq!(gained("wire"), counts_wire.then_some(sent), "{args:?}");
        let all = gained("stats64").or_fail("read what the device counts");
        assert!((3 * sent..3 * sent + 20).contains(&all), "{args:?}: {all} of three times {sent}");
        assert_eq!(after["unknown_unicast"].is_null(), !counts_wire, "{args:?}");
        assert_eq!(after["flood"]["wire"].is_null(), !counts_wire, "{args:?}");
        let told = lab.ctl(&["stats", "eth0"]).succeeded().stdout;
        assert!(told.contains(" all ") && !told.contains(" sibling "), "{told}");
        attached.detach(&[]).succeeded();
    }
}

#[test]
fn what_needs_a_program_at_ingress_brings_it_back_and_lets_it_go() {
    needs!(require::lab, require::tc, require::binary);
    for means in tc_means() {
        let lab = Lab::new();
        let web = lab.child("web", Mode::Bridge);
        lab.ctl(&["attach", "eth0", "--tc", means, "--ingress", "off"]).succeeded();
        let held = named(&web, "anti-spoof=mac");
        let free = named(&web, "anti-spoof=off");
        let lines: [(&[&str], &[&str], &str); 5] = [
            (&["child", "set", "eth0", &held], &["child", "set", "eth0", &free], "is guarded"),
            (
                &["attach", "eth0", "--storm-limit", "1000"],
                &["attach", "eth0", "--storm-limit", "off"],
                "storm-limit",
            ),
            (
                &["attach", "eth0", "--drop-unknown"],
                &["attach", "eth0", "--drop-unknown=off"],
                "drop-unknown",
            ),
            (
                &["child", "add", "eth0", "own,mode=private"],
                &["child", "del", "eth0", "own"],
                "is in mode private",
            ),
            (&["attach", "eth0", "--ingress", "on"], &["attach", "eth0", "--ingress", "off"], ""),
        ];
        for (there, back, why) in lines {
            check_lean(&lab, &format!("before {there:?}"));
            let ran = lab.ctl(there).succeeded();
            check_full(&lab, why, &format!("{there:?}"));
            assert!(ran.stderr.contains(why), "{}", ran.report());
            assert!(reach_each_other(&lab.host, &web), "{there:?}");
            lab.ctl(back).succeeded();
            assert!(reach_each_other(&lab.host, &web), "{back:?}");
        }
        check_lean(&lab, "in the end");
        // Nobody minds.
        lab.ctl(&["attach", "eth0", "--ingress", "auto"]).succeeded();
        check_lean(&lab, "auto");
        lab.ctl(&["child", "set", "eth0", &held]).succeeded();
        check_full(&lab, "", "auto, with a child that is held");
        lab.ctl(&["detach", "eth0"]).succeeded();
    }
}

#[test]
fn run_brings_it_back_for_a_child_that_somebody_makes() {
    needs!(require::lab, require::tc, require::binary);
    let lab = Lab::new();
    let web = lab.child("web", Mode::Bridge);
    let run = Following::start(&lab, &["eth0", "--ingress", "auto"]);
    wait_for_ingress(&lab, false);
    for mode in [Mode::Private, Mode::Vepa] {
        let other = lab.child("other", mode);
        wait_for_ingress(&lab, true);
        assert!(reach_each_other(&lab.host, &web), "{}", mode.as_str());
        other.ns.ip("link del other");
        wait_for_ingress(&lab, false);
        assert!(reach_each_other(&lab.host, &web), "without it");
    }
    // Its flood device goes, and comes back.
    let flood = lab.host.ns.ip_json("-d link show type macvlan");
    let name = flood[0]["ifname"].as_str().or_fail("find the flood device").to_owned();
    lab.host.ns.ip(&format!("link del {name}"));
    wait_for("another flood device", || {
        let now = status(&lab);
        (now["host_flood"] == "device" && now["ingress"] == false).then_some(())
    });
    assert!(run.end(Signal::SIGTERM).success());
}

#[test]
fn no_datagram_is_lost_on_the_way_there_and_back() {
    needs!(require::lab, require::tc, require::binary);
    for means in tc_means() {
        let lab = Lab::new();
        let web = lab.child("web", Mode::Bridge);
        lab.introduce(&[&lab.host, &lab.wire, &web]);
        lab.ctl(&["attach", "eth0", "--tc", means, "--ingress", "off"]).succeeded();
        let ends = [(&lab.host, &web), (&web, &lab.host), (&lab.wire, &web)];
        let done = AtomicBool::new(false);
        let sockets = ends.map(|(from, to)| Numbered::between(from, to));
        thread::scope(|scope| {
            let ends = sockets.each_ref().map(|numbered| {
                (scope.spawn(|| numbered.send_until(&done)), scope.spawn(|| numbered.receive_until(&done)))
            });
            let held = named(&web, "anti-spoof=mac");
            let free = named(&web, "anti-spoof=off");
            for spec in [&held, &free].into_iter().cycle().take(12) {
                lab.ctl(&["child", "set", "eth0", spec]).succeeded();
                assert_eq!(status(&lab)["ingress"], spec == &held, "{means}");
            }
            done.store(true, Relaxed);
            for ((sender, receiver), numbered) in ends.into_iter().zip(&sockets) {
                let sent = sender.join().ok().or_fail("end a sender");
                let received = receiver.join().ok().or_fail("end a receiver");
                assert!(sent > 100, "{means}: {sent} sent");
                assert!(
                    received.iter().copied().eq(0..sent),
                    "{means}: {}, {} of {sent}",
                    numbered.what,
                    received.len()
                );
            }
        });
        lab.ctl(&["detach", "eth0"]).succeeded();
    }
}

#[test]
fn a_trace_sees_what_comes_from_the_wire_and_leaves_the_master_lean() {
    needs!(require::lab, require::tcx, require::binary);
    let lab = Lab::new();
    let web = lab.child("web", Mode::Bridge);
    let _attached = Attached::new(&lab, &OFF);
    let tracer = Tracer::start(&lab, &[]);
    check_full(&lab, "", "traced");
    assert!(ping(&lab.wire, web.ip.into()));
    let from_wire = |event: &Value| event["hook"] == "ingress" && event["path"] == "wire";
    wait_for("a frame from the wire", || tracer.events().iter().any(from_wire).then_some(()));
    tracer.stop();
    check_lean(&lab, "after a trace");
    assert!(reach_each_other(&lab.host, &web));
}

/// Datagrams with a number in each, from one station to another.
struct Numbered {
    what: String,
    from: UdpSocket,
    to: UdpSocket,
}

impl Numbered {
    fn between(from: &Station, to: &Station) -> Self {
        let socket = |station: &Station| {
            station.ns.enter(|| UdpSocket::bind((station.ip, 0)).or_fail("open a socket"))
        };
        let (sender, receiver) = (socket(from), socket(to));
        sender.connect(receiver.local_addr().or_fail("read an address")).or_fail("connect");
        receiver.set_read_timeout(Some(Duration::from_millis(500))).or_fail("set a timeout");
        Self { what: format!("{} to {}", from.dev, to.dev), from: sender, to: receiver }
    }

    /// Sends one each fifth of a millisecond; gives how many.
    fn send_until(&self, done: &AtomicBool) -> u64 {
        let mut sent = 0;
        while !done.load(Relaxed) {
            self.from.send(&u64::to_be_bytes(sent)).or_fail(format!("send from {}", self.what));
            sent += 1;
            thread::sleep(Duration::from_micros(200));
        }
        sent
    }

    /// The numbers that come in, until none has come for a while and all are sent.
    fn receive_until(&self, done: &AtomicBool) -> Vec<u64> {
        let (mut numbers, mut number) = (Vec::new(), [0; 8]);
        loop {
            match self.to.recv(&mut number) {
                Ok(_) => numbers.push(u64::from_be_bytes(number)),
                Err(_) if done.load(Relaxed) => return numbers,
                Err(_) => {}
            }
        }
    }
}

#[track_caller]
fn stats(lab: &Lab) -> Value {
    let all = lab.ctl(&["-j", "stats", "eth0"]).succeeded().json();
    // The shape is what every reader expects.
    let _ = Stats::of(&all).rx("b1", Path::Host);
    all[0].clone()
}

#[track_caller]
fn wait_for_ingress(lab: &Lab, there: bool) {
    wait_for(format_args!("ingress to be {there}"), || (status(lab)["ingress"] == there).then_some(()));
}

/// Nothing of ours is at ingress, as status, the record and the hook say.
#[track_caller]
fn check_lean(lab: &Lab, when: &str) {
    let told = status(lab);
    assert_eq!(
        (&told["ingress"], &told["hairpin"] != "off"),
        (&Value::Bool(false), true),
        "{when}: {told:#}"
    );
    assert_eq!(told["host_flood"], "device", "{when}");
    assert_eq!(at_ingress(lab), 0, "{when}");
    assert_eq!(record(lab)["lean"], true, "{when}");
}

/// A program of ours is there; where it was not to be, for this reason.
#[track_caller]
fn check_full(lab: &Lab, why: &str, when: &str) {
    let told = status(lab);
    assert_eq!(told["ingress"], true, "{when}: {told:#}");
    assert_eq!(at_ingress(lab), 1, "{when}");
    let degraded = told["degraded"].as_array().or_fail("read what is less");
    let reason =
        degraded.iter().find(|part| part["feature"] == "ingress").map(|part| part["reason"].to_string());
    assert_eq!(reason.is_some(), !why.is_empty(), "{when}: {told:#}");
    assert!(reason.unwrap_or_default().contains(why), "{when}: {told:#}");
}

#[track_caller]
fn filters_at_ingress(lab: &Lab) -> String {
    let mut tc = lab.host.ns.command("tc");
    let ran = tc.args(["filter", "show", "dev", "eth0", "ingress"]).output().or_fail("run tc");
    String::from_utf8_lossy(&ran.stdout).into_owned()
}

/// How many programs of ours are at TC ingress of the master.
#[track_caller]
fn at_ingress(lab: &Lab) -> usize {
    let is_link = |pin: &Pinned| matches!(pin, Pinned::Link(..));
    let links = usize::from(pinned(lab).get("link_ingress").is_some_and(is_link));
    let filters = filters_at_ingress(lab).matches("handle 0x6d76").count();
    links + filters
}
