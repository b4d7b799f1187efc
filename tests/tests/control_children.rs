//! Children made, changed and removed by the command, held against what `ip` tells of them.

use std::{collections::BTreeSet, time::Instant};

use macvlan_common::{child::Mode, mac::Mac};
use macvlan_tests::{
    control::{ALIAS, child, devices, members, named, names_of, only, spec, status},
    fail::OrFail as _,
    lab::{FAMILIES, Lab, Station},
    leak::Traces,
    needs, require,
    talk::{is_silent, ping},
};
use serde_json::Value;

const MODES: [Mode; 5] = [Mode::Bridge, Mode::Vepa, Mode::Private, Mode::Passthru, Mode::Source];

#[test]
fn every_mode_of_both_kinds_is_made_as_asked_for() {
    needs!(require::lab, require::binary);
    let lab = Lab::new();
    lab.ctl(&["attach", "eth0"]).succeeded();
    for kind in ["macvlan", "macvtap"] {
        for mode in MODES {
            let mut web = lab.newcomer("web");
            let _resident = web.ns.resident();
            if mode == Mode::Passthru {
                web.mac = lab.host.mac;
            }
            let mode = mode.as_str();

            lab.ctl(&["child", "add", "eth0", &spec(&web, &format!("kind={kind},mode={mode}"))]).succeeded();

            let link = device(&web);
            assert_eq!(link["ifname"], "web");
            assert_eq!(link["linkinfo"]["info_kind"], kind);
            assert_eq!(link["linkinfo"]["info_data"]["mode"], mode);
            assert_eq!(link["address"], web.mac.to_string(), "{kind} {mode}");
            assert_eq!(link["mtu"], 1500, "{kind} {mode}: the master's");
            assert_eq!(link["group"], "default", "{kind} {mode}");
            assert!(is_up(&link), "{kind} {mode}");
            assert_owned(&link);
            let status = status(&lab);
            let told = child(&status, "web");
            assert_eq!((&told["kind"], &told["mode"]), (&kind.into(), &mode.into()));
            assert_eq!(told["address"], link["address"], "{kind} {mode}");
            assert_eq!(told["ifindex"], link["ifindex"], "{kind} {mode}");
            assert_eq!((&told["owned"], &told["up"]), (&true.into(), &true.into()));
            lab.ctl(&["child", "del", "eth0", &named(&web, "")]).succeeded();
            assert!(devices(&web).is_empty(), "{kind} {mode}");
        }
    }
}

#[test]
fn mtu_state_and_queue_length_are_as_asked_for() {
    needs!(require::lab, require::binary);
    let lab = Lab::new();
    for kind in ["macvlan", "macvtap"] {
        let (low, high) = (lab.newcomer("low"), lab.newcomer("high"));
        let low_spec = spec(&low, &format!("kind={kind},mtu=1280,bcqueuelen=5000,down"));
        let high_spec = spec(&high, &format!("kind={kind},up"));

        lab.ctl(&["attach", "eth0", "--child", &low_spec, "--child", &high_spec]).succeeded();

        let link = device(&low);
        assert_eq!(link["mtu"], 1280, "{kind}");
        assert_eq!(link["linkinfo"]["info_data"]["bcqueuelen"], 5000, "{kind}");
        assert!(!is_up(&link), "{kind}");
        assert_owned(&link);
        assert_eq!(child(&status(&lab), "low")["up"], false, "{kind}");
        assert_eq!(child(&status(&lab), "low")["mtu"], 1280, "{kind}");
        let link = device(&high);
        assert_eq!(link["mtu"], 1500, "{kind}");
        assert!(is_up(&link), "{kind}");
        lab.ctl(&["detach", "eth0", "--delete-children"]).succeeded();
    }
}

#[test]
fn a_mac_that_nobody_asked_for_is_a_local_one_and_stays() {
    needs!(require::lab, require::binary);
    let lab = Lab::new();
    lab.ctl(&["attach", "eth0", "--child", "web"]).succeeded();
    let drawn = only(&lab.host.ns.ip_json("link show dev web")).clone();
    let mac: Mac = drawn["address"].as_str().or_fail("read a MAC").parse().or_fail("read a MAC");
    assert_eq!(mac.octets()[0] & 0b11, 0b10, "{mac} is no locally administered unicast address");

    lab.ctl(&["attach", "eth0", "--child", "web"]).succeeded();

    let kept = only(&lab.host.ns.ip_json("link show dev web")).clone();
    assert_eq!((&kept["address"], &kept["ifindex"]), (&drawn["address"], &drawn["ifindex"]));
    assert_eq!(members(&lab), BTreeSet::from([mac]));
}

#[test]
fn a_mac_of_its_own_is_refused_for_a_passthru_child() {
    needs!(require::lab, require::tc, require::binary);
    let lab = Lab::new();
    let before = Traces::of(&lab);
    // The kernel gives it the master's and says nothing (`eth_hw_addr_inherit` in
    // `macvlan_common_newlink`).
    let ran = lab.ctl(&["attach", "eth0", "--child", "web,mode=passthru,mac=02:00:00:00:07:07"]);
    let message = ran.failed(1);
    for part in ["\"web\"", "passthru", "02:00:00:00:07:07"] {
        assert!(message.contains(part), "{part:?} is wanted in: {message}");
    }
    assert_eq!(Traces::of(&lab), before);
}

#[test]
fn a_namespace_is_named_by_its_name_its_path_or_a_process() {
    needs!(require::lab, require::binary);
    let lab = Lab::new();
    let (blue, green, red) = (lab.newcomer("blue0"), lab.newcomer("green0"), lab.newcomer("red0"));
    lab.mounts().name_netns("blue", &blue.ns);
    let resident = red.ns.resident();
    let places = [
        (&blue, "blue".to_owned()),
        (&green, green.ns.path().display().to_string()),
        (&red, resident.pid().to_string()),
    ];
    let specs = places.each_ref().map(|(station, place)| {
        let Station { dev, mac, ip, .. } = station;
        format!("{dev},netns={place},mac={mac},ip={ip}/24")
    });

    lab.ctl(&["attach", "eth0", "--child", &specs[0], "--child", &specs[1], "--child", &specs[2]])
        .succeeded();

    for (station, place) in &places {
        assert_eq!(device(station)["address"], station.mac.to_string(), "{place}");
        assert!(ping(&lab.host, station.ip.into()), "{place}");
    }
    assert_eq!(child(&status(&lab), "blue0")["netns"], "blue");
    for (station, place) in &places {
        lab.ctl(&["child", "del", "eth0", &format!("{},netns={place}", station.dev)]).succeeded();
        assert!(devices(station).is_empty(), "{place}");
    }
}

#[test]
fn equal_names_in_two_namespaces_are_told_apart_by_the_namespace() {
    needs!(require::lab, require::binary);
    let lab = Lab::new();
    let (one, other) = (lab.newcomer("web"), lab.newcomer("web"));
    let _residents = [one.ns.resident(), other.ns.resident()];
    lab.ctl(&["attach", "eth0", "--child", &spec(&one, ""), "--child", &spec(&other, "")]).succeeded();

    let ran = lab.ctl(&["child", "del", "eth0", "web"]);
    let told = ran.failed(1);
    for candidate in [&one, &other] {
        assert!(told.contains(&format!("web ({}, namespace ", candidate.mac)), "{told}");
    }
    lab.ctl(&["child", "set", "eth0", &named(&one, "mtu=1300")]).succeeded();
    lab.ctl(&["child", "del", "eth0", &other.mac.to_string()]).succeeded();

    assert_eq!(device(&one)["mtu"], 1300);
    assert!(devices(&other).is_empty());
}

#[test]
fn a_child_in_a_namespace_that_is_only_held_open_is_ours_to_change_and_delete() {
    needs!(require::lab, require::tc, require::binary);
    let lab = Lab::new();
    let before = Traces::of(&lab);
    for settings in ["up", "down", "mode=passthru,down"] {
        let mut web = lab.newcomer("web");
        if settings.contains("passthru") {
            web.mac = lab.host.mac;
        }
        lab.ctl(&["attach", "eth0", "--child", &spec(&web, settings)]).succeeded();
        assert_eq!(names_of(&status(&lab)), BTreeSet::from(["web".to_owned()]), "{settings}");

        lab.ctl(&["child", "set", "eth0", &named(&web, "mtu=1300")]).succeeded();
        assert_eq!(device(&web)["mtu"], 1300, "{settings}");
        lab.ctl(&["child", "set", "eth0", "web,mtu=1200"]).succeeded();
        assert_eq!(device(&web)["mtu"], 1200, "{settings}");

        lab.ctl(&["detach", "eth0", "--delete-children"]).succeeded();
        assert!(devices(&web).is_empty(), "{settings}: a child is left");
        assert_eq!(Traces::of(&lab), before, "{settings}");
    }
}

#[test]
fn addresses_and_gateways_of_both_families_are_set() {
    needs!(require::lab, require::binary);
    let lab = Lab::with().ipv6().build();
    let web = lab.newcomer("web");
    let more = "ip=10.77.0.7/16,ip=fd09::77/64,ip=fd0a::7/48,gw=10.9.0.1,gw=fd09::1";

    lab.ctl(&["attach", "eth0", "--child", &spec(&web, more)]).succeeded();

    let own = format!("{}/24", web.ip);
    let wanted = [own.as_str(), "10.77.0.7/16", "fd09::77/64", "fd0a::7/48"];
    assert_eq!(addresses(&web), wanted.map(str::to_owned).into());
    for (family, gateway) in [("-4", "10.9.0.1"), ("-6", "fd09::1")] {
        let routes = web.ns.ip_json(&format!("{family} route show default"));
        let route = only(&routes);
        assert_eq!((&route["gateway"], &route["dev"]), (&gateway.into(), &"web".into()));
    }
    assert!(ping(&lab.host, "fd09::77".parse().or_fail("read an address")));
    for family in FAMILIES {
        assert!(ping(&web, lab.host.address(family)), "{family:?}");
        assert!(ping(&web, lab.wire.address(family)), "{family:?}");
    }
}

#[test]
fn the_same_specification_twice_keeps_the_child_as_it_is() {
    needs!(require::lab, require::tc, require::binary);
    let lab = Lab::new();
    let web = lab.newcomer("web");
    let spec = spec(&web, "mode=private,mtu=1400,gw=10.9.0.1");
    for line in [&["attach", "eth0", "--child", &spec][..], &["child", "add", "eth0", &spec]] {
        lab.ctl(&["attach", "eth0", "--child", &spec]).succeeded();
        let (before, link) = (Traces::of(&lab), device(&web));

        lab.ctl(line).succeeded();

        assert_eq!(Traces::of(&lab), before, "{line:?}");
        assert_eq!(device(&web), link, "{line:?}");
        assert!(ping(&lab.host, web.ip.into()), "{line:?}");
    }
}

#[test]
fn a_child_that_is_there_but_not_as_asked_for_is_not_passed_over() {
    needs!(require::lab, require::binary);
    let lab = Lab::new();
    let web = lab.newcomer("web");
    lab.ctl(&["attach", "eth0", "--child", &spec(&web, "mode=private")]).succeeded();
    let before = device(&web);
    let mut passed_over = Vec::new();
    for other in
        ["mode=bridge", "kind=macvtap", "mac=02:00:00:00:07:07", "mtu=1300", "bcqueuelen=5000", "down"]
    {
        let ran = lab.ctl(&["attach", "eth0", "--child", &named(&web, other)]);
        if ran.status.success() {
            passed_over.push(other);
            continue;
        }
        let message = ran.failed(1);
        assert!(message.contains("\"web\"") && message.contains("it exists"), "{message}");
        assert_eq!(device(&web), before, "{other}");
    }
    assert!(passed_over.is_empty(), "nothing was said about {passed_over:?}");
}

#[test]
fn attach_twice_and_detach_twice_are_as_good_as_once() {
    needs!(require::lab, require::tc, require::binary);
    for args in [&[][..], &["--tc", "clsact"], &["--xdp", "native"]] {
        let lab = Lab::new();
        let web = lab.child("web", Mode::Bridge);
        lab.mounts().name_netns("host", &lab.host.ns);
        let before = Traces::of(&lab);
        let attach = [&["attach", "eth0", "--require-bpf"], args].concat();
        lab.ctl(&attach).succeeded();
        let (attached, told) = (Traces::of(&lab), status(&lab));
        assert!(ping(&lab.host, web.ip.into()), "{args:?}");

        lab.ctl(&attach).succeeded();

        assert_eq!(Traces::of(&lab), attached, "{args:?}");
        assert_eq!(status(&lab), told, "{args:?}");
        let stats = lab.ctl(&["-j", "stats", "eth0"]).succeeded().json();
        let counted = &child(only(&stats), "web")["host"]["rx"]["packets"];
        assert!(
            counted.as_u64().is_some_and(|packets| packets > 0),
            "{args:?}: counters began anew: {stats}"
        );
        for _ in 0..2 {
            lab.ctl(&["detach", "eth0"]).succeeded();
            assert_eq!(Traces::of(&lab), before, "{args:?}");
        }
    }
}

#[test]
fn children_are_added_listed_and_deleted_while_attached() {
    needs!(require::lab, require::binary);
    let lab = Lab::new();
    let (web, db) = (lab.newcomer("web"), lab.newcomer("db"));
    lab.ctl(&["attach", "eth0"]).succeeded();

    lab.ctl(&["child", "add", "eth0", &spec(&web, ""), &spec(&db, "mode=private")]).succeeded();

    for station in [&web, &db] {
        assert!(ping(&lab.host, station.ip.into()), "{}", station.dev);
        assert!(ping(station, lab.host.ip.into()), "{}", station.dev);
    }
    assert_eq!(members(&lab), BTreeSet::from([web.mac, db.mac]));
    let list = lab.ctl(&["-j", "child", "list", "eth0"]).succeeded().json();
    assert_eq!(list, status(&lab)["children"]);

    lab.ctl(&["child", "del", "eth0", &named(&web, "")]).succeeded();

    assert!(devices(&web).is_empty());
    assert_eq!(members(&lab), BTreeSet::from([db.mac]));
    assert_eq!(names_of(&status(&lab)), BTreeSet::from(["db".to_owned()]));
    assert!(ping(&lab.host, db.ip.into()));
}

#[test]
fn children_added_together_are_added_all_or_none() {
    needs!(require::lab, require::tc, require::binary);
    let lab = Lab::new();
    let (web, db) = (lab.newcomer("web"), lab.newcomer("db"));
    lab.ctl(&["attach", "eth0", "--max-children", "2"]).succeeded();
    let before = Traces::of(&lab);
    // No address is reached by this gateway: only the kernel can tell.
    let db_spec = spec(&db, "gw=192.0.2.1");
    for line in [
        &["child", "add", "eth0", &spec(&web, ""), &db_spec][..],
        &["child", "add", "eth0", &spec(&web, ""), "one", "two"],
        &["attach", "eth0", "--child", &spec(&web, ""), "--child", &db_spec],
    ] {
        lab.ctl(line).failed(1);
        assert!(devices(&web).is_empty() && devices(&db).is_empty(), "{line:?} left a child");
        assert_eq!(Traces::of(&lab), before, "{line:?}");
        assert_eq!(members(&lab), BTreeSet::new(), "{line:?}");
    }
}

#[test]
fn a_change_of_mode_is_followed_by_the_traffic() {
    needs!(require::lab, require::binary);
    let (lab, web) = attached_with("mode=bridge");
    for (mode, reaches_host) in [("private", true), ("vepa", false), ("source", false), ("bridge", true)] {
        lab.ctl(&["child", "set", "eth0", &named(&web, &format!("mode={mode}"))]).succeeded();

        assert_eq!(device(&web)["linkinfo"]["info_data"]["mode"], mode);
        assert_eq!(child(&status(&lab), "web")["mode"], mode);
        if reaches_host {
            assert!(ping(&lab.host, web.ip.into()), "{mode}");
            assert!(ping(&web, lab.host.ip.into()), "{mode}");
        } else {
            assert!(is_silent(&lab.host, web.ip.into()), "{mode}");
            assert!(is_silent(&web, lab.host.ip.into()), "{mode}");
        }
    }
    assert!(ping(&lab.wire, web.ip.into()));
}

#[test]
fn a_change_to_passthru_is_refused_with_the_reason() {
    needs!(require::lab, require::binary);
    let (lab, web) = attached_with("");
    let ran = lab.ctl(&["child", "set", "eth0", &named(&web, "mode=passthru")]);
    let message = ran.failed(1);
    assert!(message.contains("\"web\"") && message.contains("passthru"), "{message}");
    assert_eq!(device(&web)["linkinfo"]["info_data"]["mode"], "bridge");
    assert!(ping(&lab.host, web.ip.into()));
}

#[test]
fn a_change_of_mac_is_followed_by_the_traffic() {
    needs!(require::lab, require::binary);
    let (lab, mut web) = attached_with("host-access=on");
    let old = web.mac;
    web.mac = Mac::new([0x02, 0, 0, 0, 7, 7]);

    lab.ctl(&["child", "set", "eth0", &named(&web, &format!("mac={}", web.mac))]).succeeded();

    assert_eq!(device(&web)["address"], web.mac.to_string());
    assert_eq!(child(&status(&lab), "web")["address"], web.mac.to_string());
    assert_eq!(members(&lab), BTreeSet::from([web.mac]), "{old} is nobody's now");
    lab.host.knows(&web);
    assert!(ping(&lab.host, web.ip.into()));
    assert!(ping(&web, lab.host.ip.into()));
}

#[test]
fn a_change_of_mac_keeps_the_host_shut_out() {
    needs!(require::lab, require::binary);
    let (lab, mut web) = attached_with("host-access=off");
    web.mac = Mac::new([0x02, 0, 0, 0, 7, 7]);
    lab.ctl(&["child", "set", "eth0", &named(&web, &format!("mac={}", web.mac))]).succeeded();
    lab.host.knows(&web);
    assert_eq!(child(&status(&lab), "web")["host_access"], false);
    assert!(is_silent(&lab.host, web.ip.into()));
}

#[test]
fn mtu_and_queue_length_and_addresses_can_be_changed() {
    needs!(require::lab, require::binary);
    let (lab, web) = attached_with("");
    let change = "mtu=1300,bcqueuelen=4000,ip=10.9.0.77/24,gw=10.9.0.1";

    lab.ctl(&["child", "set", "eth0", &named(&web, change)]).succeeded();

    let link = device(&web);
    assert_eq!(link["mtu"], 1300);
    assert_eq!(link["linkinfo"]["info_data"]["bcqueuelen"], 4000);
    assert_eq!(child(&status(&lab), "web")["mtu"], 1300);
    assert_eq!(addresses(&web), [format!("{}/24", web.ip), "10.9.0.77/24".to_owned()].into());
    assert!(ping(&lab.host, "10.9.0.77".parse().or_fail("read an address")));
    assert!(ping(&lab.host, web.ip.into()));
}

/// Of two children the second cannot be changed as asked for: its gateway is beyond its addresses. Then
/// of one child, whose device can and whose policy cannot.
#[test]
fn a_change_that_fails_half_way_is_taken_back() {
    needs!(require::lab, require::binary);
    let (lab, web) = attached_with("");
    let db = lab.newcomer("db");
    lab.ctl(&["child", "add", "eth0", &named(&db, "")]).succeeded();
    // Without an address, then; and it has the qdisc of a device that was up.
    lab.ctl(&["child", "set", "eth0", &named(&db, "down")]).succeeded();
    let before = || (device(&web), device(&db), addresses(&web), status(&lab));
    let was = before();

    let of_web = named(&web, "mtu=1300,ip=10.9.0.77/24,host-access=off");
    let ran = lab.ctl(&["child", "set", "eth0", &of_web, &named(&db, "up,gw=203.0.113.1")]);
    assert_eq!(ran.code(), 1, "{}", ran.report());
    assert!(ran.stderr.contains("cannot change child \"db\""), "{}", ran.report());
    assert_eq!(before(), was);

    let ran = lab.ctl(&["child", "set", "eth0", &of_web, &named(&db, "mtu=1300,anti-spoof=ip")]);
    assert_eq!(ran.code(), 1, "{}", ran.report());
    assert!(ran.stderr.contains("no address of it is known"), "{}", ran.report());
    assert_eq!(before(), was);
    assert!(ping(&lab.host, web.ip.into()));
}

#[test]
fn a_child_goes_down_and_comes_up_again() {
    needs!(require::lab, require::binary);
    let (lab, web) = attached_with("");
    for (state, up) in [("down", false), ("up", true)] {
        lab.ctl(&["child", "set", "eth0", &named(&web, state)]).succeeded();
        assert_eq!(is_up(&device(&web)), up);
        assert_eq!(child(&status(&lab), "web")["up"], up);
        if !up {
            assert!(is_silent(&lab.host, web.ip.into()));
        }
    }
    assert!(ping(&lab.host, web.ip.into()));
    assert!(ping(&web, lab.host.ip.into()));
}

#[test]
fn host_access_can_be_switched_off_and_on() {
    needs!(require::lab, require::binary);
    let (lab, web) = attached_with("");
    for (word, on) in [("off", false), ("on", true)] {
        let change = named(&web, &format!("host-access={word}"));
        lab.ctl(&["child", "set", "eth0", &change]).succeeded();
        check_host_access(&lab, &web, on);
        // What was set for one stays when everything is brought up to date.
        lab.ctl(&["attach", "eth0"]).succeeded();
        check_host_access(&lab, &web, on);
    }
}

#[test]
fn host_access_of_somebody_elses_child_can_be_switched() {
    needs!(require::lab, require::binary);
    let lab = Lab::new();
    let web = lab.child("web", Mode::Bridge);
    lab.ctl(&["attach", "eth0"]).succeeded();
    check_host_access(&lab, &web, true);
    lab.ctl(&["child", "set", "eth0", &named(&web, "host-access=off")]).succeeded();
    check_host_access(&lab, &web, false);
}

#[track_caller]
fn check_host_access(lab: &Lab, web: &Station, on: bool) {
    assert_eq!(child(&status(lab), "web")["host_access"], on);
    if on {
        assert!(ping(&lab.host, web.ip.into()));
        assert!(ping(web, lab.host.ip.into()));
    } else {
        assert!(is_silent(&lab.host, web.ip.into()));
        assert!(is_silent(web, lab.host.ip.into()));
    }
    assert!(ping(&lab.wire, web.ip.into()));
}

#[test]
fn a_thousand_children_of_ours_are_deleted_at_once_and_strangers_stay() {
    needs!(require::lab, require::binary);
    const MANY: usize = 1000;
    // One by one, the kernel takes some 20 ms for each: twenty times what making all of them takes.
    const MOST: u32 = 2;
    let lab = Lab::new();
    let home = lab.newcomer("home");
    lab.mounts().name_netns("home", &home.ns);
    let before = Traces::of(&lab);
    let mut attach = vec!["attach".to_owned(), "eth0".to_owned()];
    for number in 0..MANY {
        attach.extend(["--child".to_owned(), format!("c{number},netns=home")]);
    }
    lab.host.ns.ip("link add link eth0 name stranger type macvlan mode bridge");
    lab.host.ns.ip(&format!("link set stranger netns {}", home.ns.path().display()));
    let start = Instant::now();
    lab.ctl(&attach.iter().map(String::as_str).collect::<Vec<_>>()).succeeded();
    let making = start.elapsed();
    assert_eq!(devices(&home).len(), MANY + 1);

    let start = Instant::now();
    lab.ctl(&["detach", "eth0", "--delete-children"]).succeeded();
    let deleting = start.elapsed();

    let left = devices(&home);
    assert_eq!(left.len(), 1);
    assert_eq!((&left[0]["ifname"], &left[0]["group"]), (&"stranger".into(), &"default".into()));
    assert_eq!(Traces::of(&lab), before);
    assert!(deleting < MOST * making, "{MANY} children took {deleting:?}, {making:?} to make");
}

/// A lab with a child `web` of ours, settings as given, that was attached to the host.
#[track_caller]
fn attached_with(settings: &str) -> (Lab, Station) {
    let lab = Lab::new();
    let web = lab.newcomer("web");
    lab.mounts().name_netns("home", &web.ns);
    lab.ctl(&["attach", "eth0", "--require-bpf", "--child", &spec(&web, settings)]).succeeded();
    (lab, web)
}

/// The only child at a station, as `ip` tells of it.
#[track_caller]
fn device(station: &Station) -> Value {
    only(&devices(station).into()).clone()
}

fn is_up(link: &Value) -> bool {
    link["flags"].as_array().is_some_and(|flags| flags.contains(&"UP".into()))
}

#[track_caller]
fn assert_owned(link: &Value) {
    assert_eq!(link["ifalias"], ALIAS);
}

/// Every address of a station's device but those that the kernel gives itself, as `ADDRESS/PREFIX`.
#[track_caller]
fn addresses(station: &Station) -> BTreeSet<String> {
    let links = station.ns.ip_json(&format!("addr show dev {}", station.dev));
    let all = only(&links)["addr_info"].as_array().or_fail("read addresses").clone();
    let text = |address: &Value| {
        let (local, prefix) = (address["local"].as_str().or_fail("read an address"), &address["prefixlen"]);
        format!("{local}/{prefix}")
    };
    all.iter().filter(|address| address["scope"] == "global").map(text).collect()
}
