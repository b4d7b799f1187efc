//! `isolation=strict`: what bears the host's MAC is the host's for certain. Programs on the macvlan driver tell, which
//! not every kernel takes.

use std::{collections::BTreeSet, fs, os::unix::process::ExitStatusExt as _};

use macvlan_common::{
    child::Mode,
    counters::{Count, DropReason},
    mac::Mac,
};
use macvlan_tests::{
    attached::{Attached, tc_means},
    cli,
    control::status,
    crowd::{Crowd, LEN, TIMES},
    fail::{OrFail as _, wait_for},
    following::Following,
    frames::{Marker, marked},
    lab::Lab,
    leak::{ON_DRIVER, Traces, pins},
    needs,
    netns::Netns,
    require,
    sniff::{Injector, Tap, XdpSender},
    talk::ping,
};

const ON: [&str; 4] = ["attach", "eth0", "--isolation", "strict"];
const OFF: [&str; 4] = ["attach", "eth0", "--isolation", "off"];

/// How many of the programs on the driver are pinned.
fn links(lab: &Lab) -> usize {
    pins(lab).iter().filter(|pin| pin.to_string_lossy().contains("/sending_")).count()
}

/// Ids of the programs on the driver, whoever put them there.
fn programs() -> BTreeSet<u32> {
    let loaded = aya::programs::loaded_programs().filter_map(Result::ok);
    let ours = loaded.filter(|program| program.name_as_str().is_some_and(|name| ON_DRIVER.contains(&name)));
    ours.map(|program| program.id()).collect()
}

#[test]
fn a_socket_that_goes_past_tc_does_not_send_as_the_host() {
    needs!(require::lab, require::binary);
    for tc in tc_means() {
        let lab = Lab::new();
        let mut crowd = Crowd::new(&lab);
        let attached = Attached::new(&lab, &["--tc", tc]);
        assert!(crowd.forge("p1", "p2", TIMES).contains(&"p2"), "it shows nothing");
        assert_eq!(links(&lab), 0);

        lab.ctl(&[&ON[..], &["--storm-limit", "100"]].concat()).succeeded();
        assert_eq!((&attached.status()["isolation"], links(&lab)), (&"strict".into(), 2));
        // To the wire, a private sibling, the host itself, a VEPA child, all; and a storm, of which a limit of the
        // host's says nothing. What the driver gives to bridge siblings itself is not ours to keep from them.
        for (from, to, times) in [
            ("p1", "wire", TIMES),
            ("p1", "p2", TIMES),
            ("p1", "host", TIMES),
            ("p1", "v2", TIMES),
            ("p1", "broadcast", 2000),
            ("v1", "broadcast", TIMES),
            ("b1", "p2", TIMES),
        ] {
            let before = attached.stats();
            let came = crowd.forge(from, to, times);
            assert!(came.is_empty(), "{tc}: {from} to {to}: {came:?}");
            let dropped = (&attached.stats() - &before).master_dropped(DropReason::Spoofed);
            let all = Count { packets: times as u64, bytes: (times * LEN) as u64 };
            assert_eq!(dropped, all, "{tc}: {from} to {to}");
        }
        lab.ctl(&["attach", "eth0", "--storm-limit", "off"]).succeeded();
        assert_eq!(crowd.forge("b1", "broadcast", TIMES), ["b2"]);
        // By AF_XDP, which passes neither qdisc nor TC of the child.
        let (child, marker) = (crowd.child("p1"), Marker::new());
        let sender = XdpSender::new(&child.ns, &child.dev);
        sender.send(&marked(crowd.mac("p2"), crowd.mac("host"), marker));
        assert!(crowd.arrivals_of(marker, 1, &[]).is_empty());

        // Who is honest is not hindered.
        crowd.expect("host", "p2", &["p2"]);
        crowd.expect("host", "broadcast", &["b1", "b2", "p1", "p2", "v1", "v2", "wire"]);
        crowd.expect("p1", "broadcast", &["host", "wire"]);
        lab.ctl(&OFF).succeeded();
        assert_eq!((&attached.status()["isolation"], links(&lab)), (&"off".into(), 0));
        assert!(crowd.forge("p1", "p2", TIMES).contains(&"p2"));
    }
}

/// The host's MAC comes by other ways than the host's stack and than children: by VLAN devices, wherever these are,
/// and by macvlans on them, which send through the master one layer above.
#[test]
fn nobody_honest_is_taken_for_a_forger() {
    needs!(require::lab, require::binary, require::ping_command, require::vlan);
    let lab = Lab::new();
    let children = [lab.child("b1", Mode::Bridge), lab.child("b2", Mode::Bridge)];
    let attached = Attached::new(&lab, &ON[2..]);
    assert_eq!(
        (&attached.status()["isolation"], &attached.status()["host_flood"]),
        (&"strict".into(), &"device".into())
    );
    let before = attached.stats();
    // ARP by the kernel, its copies through the flood device, and what the host forwards.
    for child in &children {
        assert!(ping(&lab.host, child.ip.into()) && ping(child, lab.host.ip.into()));
        assert!(ping(&lab.wire, child.ip.into()));
    }
    lab.host.ns.sysctl("ipv4/ip_forward", 1);
    lab.host.ns.ip("addr add 10.8.0.1/24 dev eth0");
    children[0].ns.ip(&format!("route add 10.8.0.0/24 via {}", lab.host.ip));
    lab.wire.ns.ip("addr add 10.8.0.2/24 dev wire0");
    lab.wire.ns.ip(&format!("route add {}/32 via 10.8.0.1", children[0].ip));
    assert!(ping(&children[0], std::net::Ipv4Addr::new(10, 8, 0, 2).into()), "forwarded");

    let mut tap = Tap::on_device(&lab.wire.ns, &lab.port);
    let mut expect = |what: &str, ns: &Netns, device: &str, mac: Mac| {
        let marker = Marker::new();
        Injector::new(ns, device).past_tc().send_times(&marked(lab.wire.mac, mac, marker), TIMES);
        tap.wait_for(marker, TIMES);
        assert_eq!(tap.came_in(marker), TIMES, "{what}");
    };
    let far = Netns::new();
    let mac = lab.host.mac;
    lab.host.ns.ip("link add link eth0 name vlan7 type vlan id 7");
    lab.host.ns.ip(&format!("link set vlan7 netns {}", far.path().display()));
    far.ip("link set vlan7 up");
    expect("a VLAN device in a container", &far, "vlan7", mac);
    // With the MAC of its device, which is that of the master.
    far.ip("link add link vlan7 name through type macvlan mode passthru");
    far.ip("link set through up");
    expect("a macvlan on it", &far, "through", mac);
    let dropped = (&attached.stats() - &before).master_dropped(DropReason::Spoofed);
    assert_eq!(dropped, Count::default());
}

#[test]
fn what_is_on_the_driver_goes_with_the_data_path_and_is_put_back_where_somebody_took_it() {
    needs!(require::lab, require::binary);
    let lab = Lab::new();
    let mut crowd = Crowd::of(&lab, &[("p1", Mode::Private), ("p2", Mode::Private)]);
    let (traces, others) = (Traces::of(&lab), programs());
    lab.ctl(&ON).succeeded();
    let take = || {
        let pinned = pins(&lab);
        let one = pinned.iter().find(|pin| pin.to_string_lossy().contains("/sending_begin_"));
        lab.mounts().enter(|| fs::remove_file(one.or_fail("find a pin")).or_fail("remove it"));
    };
    take();
    let shown = status(&lab);
    let told = shown["degraded"].to_string();
    assert!(
        told.contains("no longer on the macvlan driver: macvlan-ctl attach eth0 puts them back"),
        "{told}"
    );
    let plan = lab.ctl(&["attach", "eth0", "--dry-run"]).succeeded();
    assert!(plan.stdout.contains("make isolation on \"eth0\" strict again"), "{}", plan.report());
    lab.ctl(&["attach", "eth0"]).succeeded();
    assert_eq!(links(&lab), 2);
    assert!(!status(&lab)["degraded"].to_string().contains("macvlan driver"));
    assert!(crowd.forge("p1", "p2", TIMES).is_empty());
    // No event tells of it: `run` puts them back with the next change of children.
    let run = Following::start(&lab, &["eth0"]);
    take();
    let late = lab.child("late", Mode::Bridge);
    wait_for("the programs to be put back", || (links(&lab) == 2).then_some(()));
    drop(run);
    assert!(crowd.forge("p1", "p2", TIMES).is_empty());
    late.ns.ip("link del late");
    lab.ctl(&["detach", "eth0"]).succeeded();
    assert_eq!(Traces::of(&lab), traces);
    wait_for("the kernel to let go of the programs", || programs().is_subset(&others).then_some(()));
}

/// A command that is killed, or that fails, at each of its steps.
#[test]
fn after_every_step_what_is_on_the_driver_is_whole_or_gone() {
    needs!(require::lab, require::binary, require::crash_points);
    let lab = Lab::new();
    let _child = lab.child("b1", Mode::Bridge);
    let (traces, others) = (Traces::of(&lab), programs());
    for (before, after) in [(OFF, ON), (ON, OFF)] {
        // The one is the other's way back.
        let variables = [("MACVLAN_CTL_CRASH_AT", true), ("MACVLAN_CTL_FAIL_AT", false)];
        for (variable, is_killed) in variables {
            for number in 1.. {
                lab.ctl(&before).succeeded();
                let was = links(&lab);
                let ran = cli::output(lab.ctl_command(&after).env(variable, number.to_string()));
                let when = format!("{variable} {number}: {}", ran.report());
                if ran.status.success() && !ran.stderr.contains("fail point ") {
                    assert!(number > 2, "it has no steps: {when}");
                    break;
                }
                let shown = status(&lab);
                match is_killed {
                    true => assert_eq!(ran.status.signal(), Some(libc::SIGKILL), "{when}"),
                    // What comes after all that can be taken back may fail, too.
                    false if ran.status.success() => {}
                    false => assert_eq!(links(&lab), was, "{when}"),
                }
                let is_told = shown["degraded"].to_string().contains("macvlan driver");
                assert!(shown["isolation"] == "off" || is_told || links(&lab) == 2, "{when}: {shown:#}");
                lab.ctl(&after).succeeded();
                assert_eq!(links(&lab), if after == ON { 2 } else { 0 }, "{when}");
            }
        }
    }
    lab.ctl(&["detach", "eth0"]).succeeded();
    assert_eq!(Traces::of(&lab), traces);
    wait_for("the kernel to let go of the programs", || programs().is_subset(&others).then_some(()));
}

/// Where the kernel takes no programs on its functions, and does not tell whose the socket of a frame is, that is said: nothing
/// pretends.
#[test]
fn a_master_that_cannot_be_strict_says_so() {
    needs!(require::lab, require::binary, require::silent_sockets);
    let lab = Lab::new();
    lab.mounts().hide("/sys/kernel/btf");
    let web = lab.child("web", Mode::Bridge);
    let ran = lab.ctl(&["attach", "eth0", "--isolation", "strict"]).succeeded();
    let told = [
        "isolation is off instead of strict",
        "can still send under the host's MAC",
        "tells nothing of its types",
    ];
    for words in told {
        assert!(ran.stderr.contains(words), "{words}: {}", ran.report());
    }
    let shown = status(&lab);
    assert_eq!(shown["isolation"], "off", "{shown:#}");
    let degraded = shown["degraded"].to_string();
    assert!(told[1..].iter().all(|words| degraded.contains(words)), "{degraded}");
    assert!(pins(&lab).iter().all(|pin| !pin.to_string_lossy().contains("sending_")));
    // The rest works, and nothing is said once nobody asks.
    lab.introduce(&[&web, &lab.host]);
    assert!(ping(&lab.host, web.ip.into()));
    let off = lab.ctl(&["attach", "eth0", "--isolation", "off"]).succeeded();
    assert!(!off.stderr.contains("isolation"), "{}", off.report());
    lab.ctl(&["detach", "eth0"]).succeeded();
}
