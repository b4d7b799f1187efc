//! Another version of the program takes over: programs are replaced packet by packet, maps and what they
//! counted stay.

use macvlan_common::{cases::OUTSIDE, child::Mode, counters::Path, names};
use macvlan_tests::{
    attached::Attached,
    control::{Pinned, child, make_older, named, pinned, record, status},
    conversation::Conversation,
    flood::{Sent, send_while},
    frames::{EXPERIMENTAL, Frame},
    generator::Generator,
    lab::{Family, Lab},
    needs, require,
    sniff::Injector,
    talk::{ping, tcp_transfer},
};

const TCX: &[&str] = &["--tc", "tcx"];
const CLSACT: &[&str] = &["--tc", "clsact"];
const NATIVE: &[&str] = &["--xdp", "native"];
const GENERIC: &[&str] = &["--xdp", "generic"];

/// Upgrades under load, for each way of attaching.
const UPGRADES: usize = 4;

/// Frames that the generator sends at a time: some 100 ms.
const BURST: u32 = 100_000;

/// Frames per second that must not lose one.
const LEAST_RATE: f64 = 100_000.0;

#[test]
fn programs_are_replaced_and_all_else_stays() {
    needs!(require::lab, require::binary);
    for args in [TCX, CLSACT, NATIVE, GENERIC] {
        let lab = Lab::new();
        let (web, db) = (lab.child("web", Mode::Bridge), lab.child("db", Mode::Private));
        let attached = Attached::new(&lab, args);
        lab.ctl(&["child", "set", "eth0", &named(&db, "host-access=off")]).succeeded();
        for station in [&lab.host, &lab.wire] {
            tcp_transfer(station, &web, Family::V4, 100_000);
        }
        let current = record(&lab)["object"].clone();
        make_older(&lab);
        let pins = pinned(&lab);
        let before = attached.stats();

        lab.ctl(&[&["attach", "eth0"], args].concat()).succeeded();

        let after = pinned(&lab);
        assert_eq!(pins.keys().collect::<Vec<_>>(), after.keys().collect::<Vec<_>>(), "{args:?}");
        for (name, was) in &pins {
            match (*was, after[name]) {
                (Pinned::Map(was), Pinned::Map(is)) => assert_eq!(was, is, "{args:?}: map {name}"),
                (Pinned::Program(was), Pinned::Program(is)) => {
                    assert_ne!(was, is, "{args:?}: program {name}");
                }
                (Pinned::Link(was, old), Pinned::Link(is, new)) => {
                    assert_eq!(was, is, "{args:?}: {name}");
                    assert_ne!(old, new, "{args:?}: the program of {name}");
                    let pin = program_of(name);
                    assert_eq!(after[pin], Pinned::Program(new), "{args:?}: {name} and pin {pin}");
                }
                (was, is) => panic!("{args:?}: {name} was {was:?} and is {is:?}"),
            }
        }
        // Nobody has sent anything since.
        let counters =
            ["web", "db"].map(|child| (attached.stats().rx(child, Path::Host), before.rx(child, Path::Host)));
        assert!(counters.iter().all(|(is, was)| is == was), "{args:?}: {counters:?}");
        assert!(counters[0].0.bytes >= 100_000, "{args:?}: {counters:?}");
        assert_eq!(record(&lab)["object"], current, "{args:?}");
        let status = status(&lab);
        assert_eq!(child(&status, "db")["host_access"], false, "{args:?}");
        assert!(ping(&lab.host, web.ip.into()), "{args:?}");
        attached.detach(&[]).succeeded();
    }
}

/// The pin of the program that a link is of.
fn program_of(link: &str) -> &'static str {
    match link {
        "link_ingress" => names::INGRESS,
        "link_egress" => names::EGRESS,
        "link_xdp" => names::XDP,
        other => panic!("no link is pinned as {other}"),
    }
}

#[test]
fn an_upgrade_under_load_loses_no_frame_from_the_wire() {
    needs!(require::lab, require::binary);
    for args in [TCX, CLSACT, NATIVE, GENERIC] {
        let lab = Lab::new();
        let web = lab.child("web", Mode::Bridge);
        let attached = Attached::new(&lab, args);
        let generator = Generator::on_wire(&lab);
        let frame = Frame::new(web.mac, OUTSIDE).payload(EXPERIMENTAL, &[]).padded(60);

        let before = web.ns.received(&web.dev);
        let burst = || {
            generator.send(&frame, BURST);
            BURST.into()
        };
        let sent = send_while(burst, || upgrade(&lab, args));

        check_all_arrived(&attached, web.ns.received(&web.dev) - before, Path::Wire, &sent);
        assert!(sent.rate > LEAST_RATE, "{args:?}: {sent:?}");
        attached.detach(&[]).succeeded();
    }
}

#[test]
fn an_upgrade_under_load_loses_no_frame_of_the_host() {
    needs!(require::lab, require::binary);
    for args in [TCX, CLSACT] {
        let lab = Lab::new();
        let web = lab.child("web", Mode::Bridge);
        let attached = Attached::new(&lab, args);
        let injector = Injector::new(&lab.host.ns, &lab.host.dev);
        let frame = Frame::new(web.mac, lab.host.mac).payload(EXPERIMENTAL, &[]).padded(60);

        let before = web.ns.received(&web.dev);
        let burst = || {
            injector.send_times(&frame, 1000);
            1000
        };
        let sent = send_while(burst, || upgrade(&lab, args));

        check_all_arrived(&attached, web.ns.received(&web.dev) - before, Path::Host, &sent);
        attached.detach(&[]).succeeded();
    }
}

#[test]
fn connections_live_through_upgrades() {
    needs!(require::lab, require::binary);
    for args in [TCX, CLSACT, NATIVE, GENERIC] {
        let lab = Lab::new();
        let web = lab.child("web", Mode::Bridge);
        let attached = Attached::new(&lab, args);
        let connections =
            [&lab.host, &lab.wire].map(|station| Conversation::start(station, &web, Family::V4));
        for number in 1..=UPGRADES {
            make_older(&lab);
            lab.ctl(&[&["attach", "eth0"], args].concat()).succeeded();
            for connection in &connections {
                connection.goes_on(&format!("{args:?}, upgrade {number}"));
            }
        }
        for connection in connections {
            connection.end();
        }
        attached.detach(&[]).succeeded();
    }
}

/// Replaces the programs again and again.
#[track_caller]
fn upgrade(lab: &Lab, args: &[&str]) {
    for _ in 0..UPGRADES {
        make_older(lab);
        lab.ctl(&[&["attach", "eth0"], args].concat()).succeeded();
    }
    println!("{args:?}: {UPGRADES} upgrades");
}

/// Every frame reached the child and was counted, whichever program it met.
#[track_caller]
fn check_all_arrived(attached: &Attached<'_>, received: u64, path: Path, sent: &Sent) {
    assert_eq!(received, sent.frames, "{sent:?}: what the child's device received");
    assert_eq!(attached.stats().rx("web", path).packets, sent.frames, "{sent:?}: what was counted");
}
