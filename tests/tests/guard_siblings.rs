//! Who may talk to whom among siblings, who may claim which MAC, and what is for nobody: with real
//! devices, under every demultiplexer.

use macvlan_common::{
    child::Mode,
    counters::{Count, DropReason, Path},
};
use macvlan_tests::{
    attached::Attached,
    control::named,
    crowd::{Arrivals, Crowd, LEN, TIMES},
    lab::{FAMILIES, Lab},
    needs, require,
    talk::{is_silent, ping},
};

const SENT: Count = Count { packets: TIMES as u64, bytes: (TIMES * LEN) as u64 };
const DEMULTIPLEXERS: [&[&str]; 3] = [&[], &["--xdp", "native"], &["--xdp", "generic"]];

/// `--xdp ...` and further arguments of `attach`.
fn with<'a>(demultiplexer: &[&'a str], further: &[&'a str]) -> Vec<&'a str> {
    [demultiplexer, further].concat()
}

fn set(lab: &Lab, change: &str) {
    lab.ctl(&["child", "set", "eth0", change]).succeeded();
}

#[test]
fn groups_keep_bridge_siblings_apart_on_the_kernels_direct_path_and_can_change() {
    needs!(require::lab, require::binary);
    for args in DEMULTIPLEXERS {
        let lab = Lab::new();
        let modes = ["a1", "a2", "c1", "b1"].map(|name| (name, Mode::Bridge));
        let mut crowd = Crowd::of(&lab, &modes);
        let attached = Attached::new(&lab, args);
        crowd.expect("a1", "c1", &["c1"]);
        for change in ["a1,new-group=blue", "a2,group=blue", "c1,new-group=red"] {
            set(&lab, change);
        }

        crowd.expect("a1", "a2", &["a2"]);
        for (from, to) in [("a1", "c1"), ("c1", "a1"), ("a1", "b1"), ("b1", "c1")] {
            let before = attached.stats();
            crowd.expect(from, to, &[]);
            let dropped = (to.to_owned(), "drops", DropReason::Isolated.as_str(), SENT);
            assert_eq!((&attached.stats() - &before).all(), [dropped], "{args:?}: {from} to {to}");
        }
        for child in ["a1", "c1"] {
            crowd.expect(child, "host", &["host"]);
            crowd.expect("host", child, &[child]);
            crowd.expect(child, "wire", &["wire"]);
            crowd.expect("wire", child, &[child]);
        }

        set(&lab, "c1,group=blue");
        crowd.expect("a1", "c1", &["c1"]);
        set(&lab, "c1,group=none,sibling-access=off");
        crowd.expect("b1", "c1", &[]);
        set(&lab, "c1,sibling-access=on");
        crowd.expect("b1", "c1", &["c1"]);
    }
}

#[test]
fn a_group_that_nobody_is_in_is_an_error_unless_it_is_to_be_new() {
    needs!(require::lab, require::binary);
    let lab = Lab::new();
    let (_a1, _b1) = (lab.child("a1", Mode::Bridge), lab.child("b1", Mode::Bridge));
    let attached = Attached::new(&lab, &[]);
    let refused = |args: &[&str], told: &str| {
        let ran = lab.ctl(args);
        assert!(ran.failed(1).trim_end().ends_with(told), "{}", ran.report());
    };
    let none = "child \"a1\": \"eth0\" has no group \"blue\" (it has none); make it with new-group=blue";
    refused(&["child", "set", "eth0", "a1,group=blue"], none);
    set(&lab, "a1,new-group=blue");
    set(&lab, "b1,group=blue");
    let other = "has no group \"bleu\" (it has \"blue\"); make it with new-group=bleu";
    refused(&["child", "set", "eth0", "b1,group=bleu"], other);
    refused(&["child", "add", "eth0", "c1,group=bleu"], other);
    refused(&["attach", "eth0", "--child", "c1,group=bleu"], other);
    let children = attached.status()["children"].as_array().unwrap().len();
    assert_eq!(children, 2, "nothing was made");

    // With its last child, a group is gone.
    set(&lab, "a1,group=none");
    set(&lab, "b1,group=none");
    refused(&["child", "set", "eth0", "a1,group=blue"], none);
    lab.ctl(&["attach", "eth0", "--child", "c1,group=red", "--child", "d1,new-group=red"]).succeeded();
}

#[test]
fn a_policy_is_shown_and_survives_changes_of_others() {
    needs!(require::lab, require::binary);
    let lab = Lab::new();
    let (_a1, _b1) = (lab.child("a1", Mode::Vepa), lab.child("b1", Mode::Bridge));
    let attached = Attached::new(&lab, &["--drop-unknown", "--vepa-switch"]);
    set(&lab, "a1,new-group=blue,anti-spoof=mac,vepa-reflect=local,sibling-access=off");
    set(&lab, "a1,host-access=off");
    set(&lab, "b1,new-group=red");

    let status = attached.status();
    assert_eq!((&status["drop_unknown"], &status["vepa_switch"]), (&"on".into(), &true.into()));
    let child = |name: &str| {
        let children = status["children"].as_array().unwrap();
        children.iter().find(|child| child["ifname"] == name).unwrap().clone()
    };
    let a1 = child("a1");
    for (key, value) in
        [("group", "blue"), ("anti_spoof", "mac"), ("vepa_reflect", "local"), ("mode", "vepa")]
    {
        assert_eq!(a1[key], value, "{status:#}");
    }
    assert_eq!((&a1["host_access"], &a1["sibling_access"]), (&false.into(), &false.into()));
    assert_eq!(child("b1")["group"], "red");
    let table = lab.ctl(&["status", "eth0"]).succeeded().stdout;
    let line = "/a1: sibling access off, group blue, anti-spoof mac, vepa-reflect local";
    assert!(table.lines().any(|shown| shown.ends_with(line)), "{table}");
}

#[test]
fn unknown_unicast_is_dropped_and_counted_when_asked_for() {
    needs!(require::lab, require::binary);
    for args in DEMULTIPLEXERS {
        let lab = Lab::new();
        let mut crowd = Crowd::of(&lab, &[("b1", Mode::Bridge)]);
        // The crowd listens in promiscuous mode.
        let attached = Attached::new(&lab, &with(args, &["--drop-unknown=force"]));
        let before = attached.stats();

        crowd.expect("wire", "nobody", &[]);
        crowd.expect("wire", "b1", &["b1"]);
        crowd.expect("wire", "host", &["host"]);

        let gained = &attached.stats() - &before;
        assert_eq!(gained.master_dropped(DropReason::Unknown), SENT, "{args:?}");
        assert_eq!(gained.unknown_unicast(), Count::default(), "{args:?}");
        lab.ctl(&["attach", "eth0", "--drop-unknown=off"]).succeeded();
        crowd.send("wire", "nobody", &[]);
        assert_eq!(attached.stats().unknown_unicast(), SENT, "{args:?}");
    }
}

#[test]
fn unknown_unicast_is_kept_while_somebody_needs_it() {
    needs!(require::lab, require::binary);
    let lab = Lab::new();
    let refused = |lab: &Lab, why: &str| {
        let ran = lab.ctl(&["attach", "eth0", "--drop-unknown"]);
        let told = ran.failed(1);
        let start = "cannot attach to \"eth0\": unknown unicast is not dropped: ";
        assert!(told.contains(start) && told.contains(why), "{told}");
        assert!(told.contains("--drop-unknown=force"), "{told}");
        lab.ctl(&["attach", "eth0", "--drop-unknown=force"]).succeeded();
        lab.ctl(&["detach", "eth0"]).succeeded();
    };
    lab.host.ns.ip("link set eth0 promisc on");
    refused(&lab, "promiscuous mode");
    lab.host.ns.ip("link set eth0 promisc off");
    lab.ctl(&["attach", "eth0", "--drop-unknown"]).succeeded();
    lab.ctl(&["detach", "eth0"]).succeeded();
    let _source = lab.child("s1", Mode::Source);
    refused(&lab, "in mode source receives it");
}

#[test]
fn the_wire_may_not_claim_the_hosts_mac_or_a_guarded_childs() {
    needs!(require::lab, require::binary);
    for args in DEMULTIPLEXERS {
        let lab = Lab::new();
        let mut crowd = Crowd::of(&lab, &[("g1", Mode::Bridge), ("b1", Mode::Bridge), ("v1", Mode::Vepa)]);
        let attached = Attached::new(&lab, args);
        assert_eq!(crowd.send_as("wire", "g1", "host", &["host"])["host"], TIMES, "{args:?}");
        set(&lab, "g1,anti-spoof=mac");
        for (claimed, to) in [("g1", "host"), ("g1", "v1"), ("host", "g1"), ("host", "v1")] {
            let before = attached.stats();
            let arrivals = crowd.send_as("wire", claimed, to, &[]);
            assert_eq!(arrivals, Arrivals::new(), "{args:?}: {claimed} to {to}");
            let dropped = (&attached.stats() - &before).master_dropped(DropReason::Spoofed);
            assert_eq!(dropped, SENT, "{args:?}: {claimed} to {to}");
        }
        // Not held to its MAC: as ever.
        assert_eq!(crowd.send_as("wire", "v1", "b1", &["b1"])["b1"], TIMES, "{args:?}");
        // Siblings go on as ever, directly.
        crowd.expect("g1", "b1", &["b1"]);
        lab.ctl(&["attach", "eth0", "--vepa-switch"]).succeeded();
        assert_eq!(crowd.send_as("wire", "g1", "v1", &["v1"])["v1"], TIMES, "{args:?}");
    }
}

#[test]
fn vepa_children_reach_siblings_and_host_without_a_switch_when_reflected_here() {
    needs!(require::lab, require::binary);
    for args in DEMULTIPLEXERS {
        let lab = Lab::new();
        let modes = [("r1", Mode::Vepa), ("r2", Mode::Vepa), ("v1", Mode::Vepa), ("b1", Mode::Bridge)];
        let mut crowd = Crowd::of(&lab, &modes);
        let attached = Attached::new(&lab, args);
        crowd.expect("r1", "r2", &["wire"]);
        set(&lab, "r1,vepa-reflect=local");
        set(&lab, "r2,vepa-reflect=local");

        for (from, to) in [("r1", "r2"), ("r1", "b1"), ("b1", "r2"), ("v1", "r1"), ("r1", "v1")] {
            let before = attached.stats();
            crowd.expect(from, to, &[to]);
            let gained = &attached.stats() - &before;
            assert_eq!((gained.tx(from, Path::Sibling), gained.rx(to, Path::Sibling)), (SENT, SENT));
        }
        crowd.expect("r1", "host", &["host"]);
        crowd.expect("host", "r1", &["r1"]);
        crowd.expect("v1", "b1", &["wire"]);
        crowd.expect("r1", "broadcast", &["r2", "v1", "b1", "host", "wire"]);
        crowd.expect("b1", "multicast", &["r1", "r2", "v1", "host", "wire"]);
        crowd.expect("v1", "broadcast", &["wire"]);
        crowd.expect("host", "broadcast", &["r1", "r2", "v1", "b1", "wire"]);
        set(&lab, "r1,sibling-access=off");
        crowd.expect("r1", "broadcast", &["host", "wire"]);
        crowd.expect("r1", "r2", &[]);
    }
}

#[test]
fn vepa_children_that_are_reflected_here_resolve_and_ping_each_other_and_the_host() {
    needs!(require::lab, require::binary);
    let lab = Lab::with().ipv6().build();
    let (one, other) = (lab.child("r1", Mode::Vepa), lab.child("r2", Mode::Vepa));
    let bridge = lab.child("b1", Mode::Bridge);
    let _attached = Attached::new(&lab, &[]);
    assert!(is_silent(&one, lab.host.ip.into()));
    for change in ["r1,vepa-reflect=local", "r2,vepa-reflect=local"] {
        set(&lab, change);
    }
    let pairs = [(&one, &other), (&one, &lab.host), (&lab.host, &other), (&one, &bridge), (&bridge, &one)];
    for family in FAMILIES {
        for (from, to) in pairs {
            assert!(ping(from, to.address(family)), "{} to {}, {family:?}", from.dev, to.dev);
        }
    }
}

#[test]
fn nobody_hears_twice_what_is_reflected_here_and_by_the_switch() {
    needs!(require::lab, require::binary);
    for args in DEMULTIPLEXERS {
        let lab = Lab::with().reflective_switch().build();
        let modes = [("r1", Mode::Vepa), ("r2", Mode::Vepa), ("b1", Mode::Bridge)];
        let mut crowd = Crowd::of(&lab, &modes);
        let attached = Attached::new(&lab, args);
        set(&lab, "r1,vepa-reflect=local");
        set(&lab, "r2,vepa-reflect=local");
        let before = attached.stats();
        crowd.expect("r1", "broadcast", &["r2", "b1", "host", "wire"]);
        crowd.expect("b1", "broadcast", &["r1", "r2", "host", "wire"]);
        let dropped = (&attached.stats() - &before).master_dropped(DropReason::Reflected);
        assert_eq!(dropped.packets, 2 * SENT.packets, "{args:?}");
    }
}

#[test]
fn strangers_are_not_held_to_macs_that_nobody_knows() {
    needs!(require::lab, require::binary);
    let lab = Lab::new();
    let _stranger = lab.child("b1", Mode::Bridge);
    let line = ["attach", "eth0", "--no-adopt", "--child", "web,anti-spoof=mac"];
    let ran = lab.ctl(&line);
    let told = ran.failed(1);
    assert!(told.contains("anti-spoof of child \"web\" needs every child to be known"), "{told}");
    assert_eq!(lab.ctl(&["-j", "status", "eth0"]).succeeded().json()[0]["datapath"], "kernel");
}

#[test]
fn host_and_a_child_that_may_not_talk_are_apart_behind_a_reflecting_switch_too() {
    needs!(require::lab, require::binary);
    for args in DEMULTIPLEXERS {
        let lab = Lab::with().reflective_switch().build();
        let (web, other) = (lab.child("web", Mode::Bridge), lab.child("other", Mode::Bridge));
        lab.introduce(&[&lab.host, &web, &other]);
        assert!(ping(&lab.host, web.ip.into()) && ping(&web, lab.host.ip.into()), "without us, {args:?}");
        let attached = Attached::new(&lab, args);
        set(&lab, &named(&web, "host-access=off"));
        let before = attached.stats();
        assert!(is_silent(&lab.host, web.ip.into()), "host to child, {args:?}");
        assert!(is_silent(&web, lab.host.ip.into()), "child to host, {args:?}");
        let dropped = (&attached.stats() - &before).dropped("web", DropReason::Isolated);
        assert!(dropped.packets >= 2, "{args:?}: {dropped:?}");
        assert!(ping(&lab.wire, web.ip.into()) && ping(&web, other.ip.into()), "{args:?}");
        assert!(ping(&lab.host, other.ip.into()) && ping(&other, lab.host.ip.into()), "{args:?}");
    }
}
