//! Rates: what a child receives and sends comes down to what was set, whoever the other side is.

use std::{
    thread,
    time::{Duration, Instant},
};

use macvlan_common::{
    child::Mode,
    counters::{Count, DropReason, Path},
};
use macvlan_tests::{
    attached::Attached,
    cli::Ran,
    fail::OrFail as _,
    frames::{Marker, marked},
    generator::Generator,
    lab::{Lab, Station},
    needs, require,
    sniff::Injector,
    stream::{Stream, come_to_the_rate},
    talk::ping,
};

#[track_caller]
fn set(lab: &Lab, spec: &str) -> Ran {
    lab.ctl(&["child", "set", "eth0", spec]).succeeded()
}

/// 20 Mbit a second, each way.
const RATE: f64 = 20e6;

#[test]
fn tcp_and_udp_come_to_the_rate_on_every_path_and_in_both_directions() {
    needs!(require::lab, require::binary);
    for args in [&[][..], &["--xdp", "native"]] {
        let lab = Lab::new();
        let names = ["th", "tw", "ht", "wt", "uh", "uw", "hu", "wu"];
        let children = names.map(|name| lab.child(name, Mode::Bridge));
        let attached = Attached::new(&lab, args);
        for child in &children {
            lab.introduce(&[&lab.wire, &lab.host, child]);
        }
        let specs: Vec<String> =
            names.iter().map(|name| format!("{name},rate-rx=20mbit,rate-tx=20mbit")).collect();
        let line: Vec<&str> =
            ["child", "set", "eth0"].into_iter().chain(specs.iter().map(|s| &**s)).collect();
        lab.ctl(&line).succeeded();
        let before = attached.stats();

        let [th, tw, ht, wt, uh, uw, hu, wu] = &children;
        // Three times the rate.
        let udp = |from: &Station, to: &Station| Stream::udp(from, to, 5000);
        let streams = [
            ("TCP, child to host", Stream::tcp(th, &lab.host)),
            ("TCP, child to wire", Stream::tcp(tw, &lab.wire)),
            ("TCP, host to child", Stream::tcp(&lab.host, ht)),
            ("TCP, wire to child", Stream::tcp(&lab.wire, wt)),
            ("UDP, child to host", udp(uh, &lab.host)),
            ("UDP, child to wire", udp(uw, &lab.wire)),
            ("UDP, host to child", udp(&lab.host, hu)),
            ("UDP, wire to child", udp(&lab.wire, wu)),
        ];
        let streams = streams.map(|(name, stream)| (format!("{args:?} {name}"), stream));
        come_to_the_rate(&streams, RATE);
        drop(streams);

        let gained = &attached.stats() - &before;
        for name in names {
            assert!(gained.dropped(name, DropReason::Rate).packets > 0, "{args:?}: nothing of {name}");
        }
    }
}

/// Frames a second in the tests that count frames.
const FRAMES: u32 = 1000;

/// How many frames a rate of [`FRAMES`] lets through in this time, after a burst of half a second.
fn let_through(took: Duration) -> f64 {
    f64::from(FRAMES) * (0.5 + took.as_secs_f64())
}

#[test]
fn a_flood_of_frames_comes_down_to_the_rate_behind_every_demultiplexer() {
    needs!(require::lab, require::binary);
    const FLOOD: u32 = 200_000;
    for args in [&[][..], &["--xdp", "native"], &["--xdp", "generic"]] {
        let lab = Lab::new();
        let child = lab.child("web", Mode::Bridge);
        let other = lab.child("db", Mode::Bridge);
        let attached = Attached::new(&lab, args);
        set(&lab, "web,rate-rx=1kpps");
        let before = attached.stats();

        let flood = marked(child.mac, lab.wire.mac, Marker::new());
        let took = Generator::on_wire(&lab).send(&flood, FLOOD).elapsed;

        let gained = &attached.stats() - &before;
        let (got, lost) = (gained.rx("web", Path::Wire), gained.dropped("web", DropReason::Rate));
        println!("{args:?}: {} of {FLOOD} in {took:?}, {:.0} wanted", got.packets, let_through(took));
        assert_eq!(got.packets + lost.packets, u64::from(FLOOD), "{args:?}: every frame is counted once");
        let share = got.packets as f64 / let_through(took);
        assert!((0.5..1.1).contains(&share), "{args:?}: {share:.2} of the rate");
        lab.introduce(&[&lab.wire, &other]);
        assert!(ping(&lab.wire, other.ip.into()), "{args:?}: the other child has no rate");
    }
}

/// Sends the same frame from as many threads as there are processors, until each has sent so many; gives
/// how long that took.
fn send_at_once(from: &Station, frame: &[u8], times: usize) -> (usize, Duration) {
    let threads = thread::available_parallelism().map_or(2, |count| count.get().max(2));
    let senders: Vec<Injector> = (0..threads).map(|_| Injector::new(&from.ns, &from.dev)).collect();
    let start = Instant::now();
    thread::scope(|scope| {
        for sender in &senders {
            scope.spawn(move || sender.send_times(frame, times));
        }
    });
    (threads * times, start.elapsed())
}

/// Buckets have no lock: what several processors let through at the same moment must be paid for by all.
#[test]
fn no_more_than_the_rate_comes_through_from_several_processors_at_once() {
    needs!(require::lab, require::binary);
    let lab = Lab::new();
    let child = lab.child("web", Mode::Bridge);
    let attached = Attached::new(&lab, &[]);
    set(&lab, "web,rate-tx=20kpps");
    let before = attached.stats();

    let frame = marked(lab.wire.mac, child.mac, Marker::new());
    let (sent, took) = send_at_once(&child, &frame, 150_000);

    let gained = &attached.stats() - &before;
    let got = gained.tx("web", Path::Wire).packets;
    let most = 20_000.0 * (0.5 + took.as_secs_f64());
    println!("{got} of {sent} in {took:?}, {most:.0} at most");
    assert_eq!(got + gained.dropped("web", DropReason::Rate).packets, sent as u64);
    assert!((0.5..1.02).contains(&(got as f64 / most)), "{got} of {most:.0}");
}

#[test]
fn a_scope_of_the_wire_leaves_host_and_siblings_alone() {
    needs!(require::lab, require::binary);
    const TIMES: u64 = 2000;
    let lab = Lab::new();
    let [web, db] = [lab.child("web", Mode::Bridge), lab.child("db", Mode::Bridge)];
    let attached = Attached::new(&lab, &[]);
    let send = |from: &Station, to: &Station| {
        let frame = marked(to.mac, from.mac, Marker::new());
        Injector::new(&from.ns, &from.dev).send_times(&frame, TIMES as usize);
    };
    for (scope, is_limited) in [("wire", false), ("all", true)] {
        set(&lab, &format!("web,rate-rx=10pps,rate-tx=10pps,rate-scope={scope}"));
        for (from, to, path) in [
            (&lab.host, &web, Path::Host),
            (&web, &lab.host, Path::Host),
            (&db, &web, Path::Sibling),
            (&web, &db, Path::Sibling),
            (&web, &lab.wire, Path::Wire),
            (&lab.wire, &web, Path::Wire),
        ] {
            let before = attached.stats();
            send(from, to);
            let gained = &attached.stats() - &before;
            let lost = gained.dropped("web", DropReason::Rate).packets;
            let case = format!("{scope}, {} to {}", from.dev, to.dev);
            if is_limited || path == Path::Wire {
                assert!(lost > TIMES / 2, "{case}: {lost}");
            } else {
                assert_eq!(lost, 0, "{case}");
            }
            let counted = match from.dev == "web" {
                true => gained.tx("web", path),
                false => gained.rx("web", path),
            };
            assert_eq!(counted.packets + lost, TIMES, "{case}: every frame is counted once");
            assert_eq!(gained.dropped("db", DropReason::Rate), Count::default(), "{case}");
        }
    }
}

#[test]
fn rates_come_go_and_change_while_everything_else_stays() {
    needs!(require::lab, require::binary);
    let lab = Lab::new();
    let child = lab.child("web", Mode::Bridge);
    let attached = Attached::new(&lab, &[]);
    lab.introduce(&[&lab.host, &child]);
    let web = || attached.status()["children"][0].clone();
    assert!(web()["rate_rx"].is_null() && web()["rate_scope"] == "all");
    set(&lab, "web,new-group=blue,anti-spoof=mac");
    assert!(ping(&lab.host, child.ip.into()));
    let before = attached.stats().rx("web", Path::Host);

    set(&lab, "web,rate-rx=100mbit+50kpps/256k,rate-scope=wire");
    let limit = serde_json::json!({ "bits": 100_000_000, "burst": 262_144, "packets": 50_000 });
    assert_eq!((&web()["rate_rx"], &web()["rate_tx"]), (&limit, &serde_json::Value::Null));
    set(&lab, "web,rate-tx=1.5gbit");
    let status = lab.ctl(&["status", "eth0"]).succeeded().stdout.replace("\n  ", " ");
    let line = "web: group blue, anti-spoof mac, rate-rx 100mbit+50kpps/256k, rate-tx 1500mbit,";
    assert!(status.contains(line) && status.contains("rate-scope wire"), "{status}");
    assert_eq!(attached.stats().rx("web", Path::Host), before);
    // Attached again, it keeps them.
    lab.ctl(&["attach", "eth0"]).succeeded();
    assert_eq!((&web()["rate_rx"], &web()["group"]), (&limit, &"blue".into()));

    set(&lab, "web,rate-rx=off");
    assert!(web()["rate_rx"].is_null() && web()["rate_tx"]["bits"] == 1_500_000_000_u64);
    set(&lab, "web,rate-tx=off,rate-scope=all");
    assert!(web()["rate_tx"].is_null() && web()["anti_spoof"] == "mac");
    for (spec, told) in [
        ("web,rate-rx=0mbit", "bad rate \"0mbit\": a rate of 0 lets nothing through; for no limit: off"),
        ("web,rate-tx=100mbps", "bad rate \"100mbps\": \"100mbps\" is not a number with bit, kbit"),
        ("web,rate-tx=1kpps/1m", "a burst is for a rate in bits, and there is none"),
        ("web,rate-scope=lan", "unknown rate-scope \"lan\": wire or all"),
    ] {
        let ran = lab.ctl(&["child", "set", "eth0", spec]);
        assert!(ran.misused().contains(told), "{}", ran.report());
    }
}

/// What the kernel's own queue of broadcasts could not take is told beside what we dropped.
#[test]
fn broadcasts_beyond_the_kernels_queue_show_in_the_stats() {
    needs!(require::lab, require::binary);
    let lab = Lab::new();
    // What one child alone hears is not queued (`bc_cutoff`); the longest queue asked for counts.
    for name in ["web", "db", "mail"] {
        let child = lab.child(name, Mode::Bridge);
        child.ns.ip(&format!("link set {name} type macvlan mode bridge bcqueuelen 1"));
    }
    let attached = Attached::new(&lab, &[]);
    let dropped = || {
        let stats = lab.ctl(&["-j", "stats", "eth0"]).succeeded().json();
        stats[0]["kernel_rx_dropped"].as_u64().or_fail("read what the kernel dropped")
    };
    let before = dropped();
    let storm = marked(macvlan_common::mac::Mac::BROADCAST, lab.wire.mac, Marker::new());
    Generator::on_wire(&lab).send(&storm, 100_000);
    assert!(dropped() > before, "{before} and {}", dropped());
    assert!(lab.ctl(&["stats", "eth0"]).succeeded().stdout.contains("its broadcast queue full or else"));
    assert_eq!(attached.stats().master_dropped(DropReason::Storm), Count::default());
}
