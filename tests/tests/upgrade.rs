//! Another version of the program takes over: programs are replaced packet by packet, maps and what they
//! counted stay. Maps of another layout are left to the version that made them.

use std::{
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::Instant,
};

use macvlan_common::{cases::OUTSIDE, child::Mode, counters::Path, names};
use macvlan_tests::{
    attached::Attached,
    control::{Pinned, child, devices, make_foreign, make_older, named, pinned, record, spec, status},
    conversation::Conversation,
    following::Following,
    frames::{EXPERIMENTAL, Frame},
    generator::Generator,
    lab::{Family, Lab},
    leak::Traces,
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
        let sent = upgrade_while(&lab, args, || {
            generator.send(&frame, BURST);
            BURST.into()
        });

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
        let sent = upgrade_while(&lab, args, || {
            injector.send_times(&frame, 1000);
            1000
        });

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

/// What was sent while the programs were replaced.
#[derive(Debug)]
struct Sent {
    frames: u64,
    /// Frames per second, in the fastest burst: others may want the processor too.
    rate: f64,
}

/// Sends without a pause while the programs are replaced again and again.
#[track_caller]
fn upgrade_while(lab: &Lab, args: &[&str], mut burst: impl FnMut() -> u64 + Send) -> Sent {
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        let sender = scope.spawn(|| {
            let (mut frames, mut rate) = (0, 0.0_f64);
            while !done.load(Ordering::Relaxed) {
                let (start, sent) = (Instant::now(), burst());
                rate = rate.max(sent as f64 / start.elapsed().as_secs_f64());
                frames += sent;
            }
            (frames, rate)
        });
        // The sender ends even if this panics.
        let upgraded = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            for _ in 0..UPGRADES {
                make_older(lab);
                lab.ctl(&[&["attach", "eth0"], args].concat()).succeeded();
            }
        }));
        done.store(true, Ordering::Relaxed);
        let sent = sender.join();
        upgraded.unwrap_or_else(|cause| std::panic::resume_unwind(cause));
        let (frames, rate) = sent.unwrap_or_else(|cause| std::panic::resume_unwind(cause));
        println!("{args:?}: {frames} frames, up to {rate:.0} per second, {UPGRADES} upgrades");
        Sent { frames, rate }
    })
}

/// Every frame reached the child and was counted, whichever program it met.
#[track_caller]
fn check_all_arrived(attached: &Attached<'_>, received: u64, path: Path, sent: &Sent) {
    assert_eq!(received, sent.frames, "{sent:?}: what the child's device received");
    assert_eq!(attached.stats().rx("web", path).packets, sent.frames, "{sent:?}: what was counted");
}

/// Neither migrated nor replaced unasked: what another version counts and allows is not lost by a
/// command that was meant for something else.
#[test]
fn maps_of_another_layout_are_refused_and_not_misread() {
    needs!(require::lab, require::tc, require::binary);
    for args in [TCX, CLSACT, NATIVE] {
        for layout in [1, 3] {
            let lab = Lab::new();
            let (web, late) = (lab.child("web", Mode::Bridge), lab.newcomer("late"));
            let before = Traces::of(&lab);
            lab.ctl(&[&["attach", "eth0", "--require-bpf"], args].concat()).succeeded();
            assert!(ping(&lab.host, web.ip.into()));
            make_foreign(&lab, layout);
            let pins = pinned(&lab);

            let attach = [&["attach", "eth0"], args].concat();
            let child = spec(&late, "");
            let named = named(&web, "host-access=off");
            for line in [
                &attach[..],
                &["attach", "eth0", "--dry-run"],
                &["child", "add", "eth0", &child],
                &["child", "set", "eth0", &named],
            ] {
                let ran = lab.ctl(line);
                let said = ran.failed(1);
                for part in [&format!("map layout {layout}, ours is"), "macvlan-ctl detach eth0"] {
                    assert!(said.contains(part), "{line:?}: {said}");
                }
            }
            let status = status(&lab);
            assert_eq!(status["datapath"], "kernel", "{status:#}");
            assert!(status["degraded"].to_string().contains("map layout"), "{status:#}");
            let stats = lab.ctl(&["-j", "stats", "eth0"]).succeeded().json();
            assert!(stats[0]["children"][0]["host"].is_null(), "{stats:#}");
            assert!(devices(&late).is_empty(), "a child was made");
            assert_eq!(pinned(&lab), pins, "{args:?}");
            assert!(ping(&lab.host, web.ip.into()), "{args:?}: it works on");

            lab.ctl(&["detach", "eth0"]).succeeded();
            assert_eq!(Traces::of(&lab), before, "{args:?}");
            lab.ctl(&attach).succeeded();
            assert!(ping(&lab.host, web.ip.into()), "{args:?}");
            lab.ctl(&["detach", "eth0"]).succeeded();
            assert_eq!(Traces::of(&lab), before, "{args:?}");
        }
    }
}

#[test]
fn a_follower_leaves_maps_of_another_layout_alone() {
    needs!(require::lab, require::binary);
    let lab = Lab::new();
    let web = lab.child("web", Mode::Bridge);
    let run = Following::start(&lab, &["eth0"]);
    assert!(ping(&lab.host, web.ip.into()));
    make_foreign(&lab, 3);
    let pins = pinned(&lab);

    let late = lab.child("late", Mode::Bridge);
    run.wait_for_line("map layout 3, ours is");
    // It looks again by itself, and finds the same.
    assert_eq!(pinned(&lab), pins);
    assert!(ping(&lab.host, web.ip.into()), "it works on");

    lab.ctl(&["detach", "eth0"]).succeeded();
    assert!(ping(&lab.host, late.ip.into()), "attached anew");
}
