//! The storm guard: broadcast and multicast beyond a rate is dropped before the kernel copies it to
//! every child, from the wire and from each child for itself.

use std::{
    net::Ipv4Addr,
    time::{Duration, Instant},
};

use macvlan_common::{
    child::Mode,
    counters::{DropReason, FloodOrigin},
    mac::Mac,
};
use macvlan_tests::{
    attached::Attached,
    frames::{Marker, marked},
    generator::Generator,
    lab::Lab,
    needs, require,
    sniff::Injector,
    talk::{is_silent, ping},
};

/// Frames of a storm.
const STORM: u32 = 200_000;

/// The limit: a hundred of them may come at once.
const LIMIT: u32 = 1000;

const MODES: [&[&str]; 3] = [&[], &["--xdp", "native"], &["--xdp", "generic"]];

/// How many frames a limit lets through in this time, at most: a sender that has to wait for a busy
/// machine loses what would have been let through meanwhile, but for one burst.
fn let_through(took: Duration) -> f64 {
    f64::from(LIMIT) * (0.1 + took.as_secs_f64())
}

#[test]
fn of_a_storm_from_the_wire_the_limit_comes_in() {
    needs!(require::lab, require::binary);
    for args in MODES {
        let lab = Lab::new();
        let child = lab.child("web", Mode::Bridge);
        let limit = LIMIT.to_string();
        let attached = Attached::new(&lab, &[args, &["--storm-limit", &limit]].concat());
        assert_eq!(attached.status()["storm_limit"], LIMIT);
        let storm = marked(Mac::BROADCAST, lab.wire.mac, Marker::new());
        let before = attached.stats();

        let took = Generator::on_wire(&lab).send(&storm, STORM).elapsed;

        let gained = &attached.stats() - &before;
        let dropped = gained.master_dropped(DropReason::Storm).packets;
        let flooded = gained.flood(FloodOrigin::Wire).packets;
        println!("{args:?}: {flooded} of {STORM} in {took:?}, {:.0} wanted", let_through(took));
        assert_eq!(dropped + flooded, u64::from(STORM), "{args:?}: every frame is counted once");
        let share = flooded as f64 / let_through(took);
        assert!((0.5..1.1).contains(&share), "{args:?}: {share:.2} of the limit");
        // Unicast has nothing to do with it.
        lab.introduce(&[&lab.wire, &child, &lab.host]);
        assert!(ping(&lab.wire, child.ip.into()), "{args:?}");
        assert!(ping(&lab.host, child.ip.into()), "{args:?}");
    }
}

#[test]
fn each_child_has_a_limit_of_its_own() {
    needs!(require::lab, require::binary);
    let lab = Lab::new();
    let [noisy, quiet] = [lab.child("noisy", Mode::Bridge), lab.child("quiet", Mode::Private)];
    let attached = Attached::new(&lab, &["--storm-limit", &LIMIT.to_string()]);
    let before = attached.stats();
    let start = Instant::now();
    let storm = marked(Mac::BROADCAST, noisy.mac, Marker::new());
    Injector::new(&noisy.ns, &noisy.dev).send_times(&storm, 20_000);
    let took = start.elapsed();
    let told = marked(Mac::BROADCAST, quiet.mac, Marker::new());
    Injector::new(&quiet.ns, &quiet.dev).send_times(&told, 50);
    let from_host = marked(Mac::BROADCAST, lab.host.mac, Marker::new());
    Injector::new(&lab.host.ns, &lab.host.dev).send_times(&from_host, 500);

    let gained = &attached.stats() - &before;
    let dropped = gained.dropped("noisy", DropReason::Storm).packets;
    let sent = gained.flood(FloodOrigin::Child).packets - 50;
    assert_eq!(dropped + sent, 20_000);
    let share = sent as f64 / let_through(took);
    assert!((0.5..1.1).contains(&share), "{share:.2} of the limit");
    assert_eq!(gained.dropped("quiet", DropReason::Storm).packets, 0);
    assert_eq!(gained.flood(FloodOrigin::Host).packets, 500, "the host itself has no limit");
    assert_eq!(gained.master_dropped(DropReason::Storm).packets, 0);
}

#[test]
fn a_limit_comes_goes_and_is_checked() {
    needs!(require::lab, require::binary);
    let lab = Lab::new();
    let attached = Attached::new(&lab, &[]);
    assert!(attached.status()["storm_limit"].is_null());
    for nonsense in ["0", "many", "1000000001", "-1", "1e3"] {
        let ran = lab.ctl(&["attach", "eth0", &format!("--storm-limit={nonsense}")]);
        assert!(ran.code() == 2 && ran.stderr.contains("frames per second"), "{}", ran.report());
    }
    lab.ctl(&["attach", "eth0", "--storm-limit", "5"]).succeeded();
    assert_eq!(attached.status()["storm_limit"], 5);
    assert!(lab.ctl(&["status"]).succeeded().stdout.contains("storm limit 5 pps"));
    lab.ctl(&["attach", "eth0"]).succeeded();
    assert_eq!(attached.status()["storm_limit"], 5);
    let steps = lab.ctl(&["attach", "eth0", "--storm-limit", "off", "--dry-run"]).succeeded();
    assert!(steps.stdout.contains("lift the limit of storms on"), "{}", steps.report());
    lab.ctl(&["attach", "eth0", "--storm-limit", "off"]).succeeded();
    assert!(attached.status()["storm_limit"].is_null());
    // Nobody is there: a request for an address is a broadcast like others.
    assert!(is_silent(&lab.host, Ipv4Addr::new(10, 9, 0, 200).into()));
}
