//! A container that turns against the host: a process with `CAP_NET_ADMIN` and `CAP_NET_RAW` in its own network
//! namespace and nothing else. What it says of its device is a claim: it sheds no setting by it, and hides from
//! nobody.

use std::fs;

use macvlan_common::{child::Mode, mac::Mac};
use macvlan_tests::{
    attached::Attached,
    attacker::{claim, claim_line, readdress},
    control::{child, devices, make_unmarked, members, named, spec, status},
    fail::{OrFail as _, wait_for},
    following::Following,
    lab::{Lab, Station},
    leak::pins,
    needs, require,
    talk::{is_silent, ping},
};
use serde_json::Value;

/// What the kernel calls a device that `attach` was killed in the middle of making
/// (`UNFINISHED_GROUP` in macvlan-core).
const UNFINISHED: &str = "1836477539";

/// The master with a data path that knows the child: attached to, or followed by `run`.
fn carried<'lab>(
    lab: &'lab Lab,
    child: &Station,
    run: bool,
) -> (Option<Attached<'lab>>, Option<Following<'lab>>) {
    if !run {
        return (Some(Attached::new(lab, &[])), None);
    }
    let followed = Following::start(lab, &[&lab.host.dev]);
    followed.wait_for_members(&[child]);
    (None, Some(followed))
}

/// What `status` says of the child with this MAC.
fn shown(lab: &Lab, child: &Station) -> Option<Value> {
    let status = lab.ctl(&["-j", "status", &lab.host.dev]).succeeded().json();
    let children = status[0]["children"].as_array()?;
    children.iter().find(|shown| shown["address"] == child.mac.to_string()).cloned()
}

#[test]
fn a_device_whose_name_or_alias_is_no_text_is_seen_and_held() {
    needs!(require::lab, require::tcx, require::binary);
    for run in [false, true] {
        let lab = Lab::new();
        let children = ["web", "db"].map(|name| lab.child(name, Mode::Bridge));
        let [by_alias, by_name] = &children;
        claim(by_alias, &[b"link", b"set", by_alias.dev.as_bytes(), b"alias", b"\xff\xfe\xc0"]);
        let down = format!("link set {} down", by_name.dev);
        claim(by_name, &down.split(' ').map(str::as_bytes).collect::<Vec<_>>());
        claim(by_name, &[b"link", b"set", by_name.dev.as_bytes(), b"name", b"w\xffb"]);
        claim(by_name, &[b"link", b"set", b"w\xffb", b"up"]);
        let _attached = (!run).then(|| Attached::new(&lab, &[]));
        let _run = run.then(|| Following::start(&lab, &[&lab.host.dev]));
        for child in &children {
            wait_for("the host to reach it", || ping(&lab.host, child.ip.into()).then_some(()));
            let shown = shown(&lab, child).or_fail("find the child in status");
            assert_eq!(shown["host_access"], true, "{shown}");
        }
        // A setting is had by either, or the command says why not.
        let off = |child: &Station| format!("{},host-access=off", child.mac);
        lab.ctl(&["child", "set", &lab.host.dev, &off(by_alias), &off(by_name)]).succeeded();
        for child in &children {
            assert!(is_silent(&lab.host, child.ip.into()), "{}", child.dev);
            assert_eq!(shown(&lab, child).or_fail("find the child")["host_access"], false);
        }
    }
}

#[test]
fn a_child_that_says_it_is_unfinished_keeps_its_settings() {
    needs!(require::lab, require::tcx, require::binary);
    for run in [false, true] {
        let lab = Lab::new();
        let web = lab.child("web", Mode::Bridge);
        let _carried = carried(&lab, &web, run);
        let strict = format!("{},host-access=off,anti-spoof=mac,ra=off", web.mac);
        lab.ctl(&["child", "set", &lab.host.dev, &strict]).succeeded();
        let before = shown(&lab, &web).or_fail("find the child");
        assert_eq!(
            (&before["host_access"], &before["anti_spoof"]),
            (&false.into(), &"mac".into()),
            "{before}"
        );

        let set = |what: &str| {
            let line = format!("link set {} {what}", web.dev);
            claim(&web, &line.split(' ').map(str::as_bytes).collect::<Vec<_>>());
        };
        set("down");
        set(&format!("group {UNFINISHED}"));
        // A command, as `run` does at every event, takes what is unfinished for nobody's.
        lab.ctl(&["child", "set", &lab.host.dev, &format!("{},dhcp-server=off", web.mac)]).succeeded();
        set("group 0");
        set("up");
        lab.ctl(&["attach", &lab.host.dev]).succeeded();

        let after = shown(&lab, &web).or_fail("find the child after that");
        for key in ["host_access", "anti_spoof", "ra"] {
            assert_eq!(after[key], before[key], "{key}, followed: {run}");
        }
        assert!(is_silent(&lab.host, web.ip.into()), "followed: {run}");
    }
}

/// A host whose way out is the wire, and what it does of it.
struct Routed(Lab);

impl Routed {
    fn new() -> Self {
        let lab = Lab::new();
        lab.host.ns.ip(&format!("route add 203.0.113.0/24 via {}", lab.wire.ip));
        assert!(ping(&lab.host, lab.wire.ip.into()), "the gateway is a neighbour of the host");
        Self(lab)
    }

    /// What `status` says of the device of this name.
    fn named(&self, name: &str) -> Value {
        let status = self.0.ctl(&["-j", "status", &self.0.host.dev]).succeeded().json();
        let children = status[0]["children"].as_array().or_fail("list children");
        children.iter().find(|child| child["ifname"] == name).or_fail("find the child").clone()
    }
}

#[test]
fn a_container_with_the_mac_of_the_gateway_has_none_of_the_hosts_frames() {
    needs!(require::lab, require::tcx, require::binary);
    for run in [false, true] {
        let routed = Routed::new();
        let lab = &routed.0;
        let web = lab.child("web", Mode::Bridge);
        let _attached = (!run).then(|| Attached::new(lab, &[]));
        let followed = run.then(|| Following::start(lab, &[&lab.host.dev]));
        assert!(ping(&lab.host, web.ip.into()));
        lab.ctl(&["child", "set", &lab.host.dev, &format!("{},ra=off", web.mac)]).succeeded();
        let see = || {
            if run {
                let there = || routed.named(&web.dev)["adopted"] == true;
                wait_for("run to see it", || there().then_some(()));
            } else {
                lab.ctl(&["attach", &lab.host.dev]).succeeded();
            }
        };

        readdress(&web, lab.wire.mac);
        see();
        let told = routed.named(&web.dev);
        let reason = told["host_access_reason"].as_str().unwrap_or_default();
        assert!(reason.contains("the MAC of a gateway or neighbour of the host"), "{told}");
        assert_eq!(
            (&told["host_access"], &told["local"], &told["host_owned"]),
            (&false.into(), &false.into(), &false.into())
        );
        if let Some(run) = &followed {
            run.wait_for_line("has the MAC of a gateway or neighbour of the host");
        }
        // The kernel's own macvlan gives what the gateway sends to the host's MAC to nobody else.
        let before = web.ns.received(&web.dev);
        assert!(ping(&lab.host, lab.wire.ip.into()), "followed: {run}");
        assert!(ping(&lab.wire, lab.host.ip.into()), "followed: {run}");
        assert_eq!(web.ns.received(&web.dev), before, "it heard what the host sends to the gateway");
        // It went and came: it is no gateway for that.
        readdress(&web, Mac::new([2, 0, 0, 0, 7, 7]));
        see();
        readdress(&web, lab.wire.mac);
        see();
        assert_eq!(routed.named(&web.dev)["host_access"], false);
        // Only root on the host can say that it is the gateway.
        assert!(reason.ends_with(&format!("{},host-access=on", lab.wire.mac)), "{reason}");

        readdress(&web, web.mac);
        see();
        wait_for("the child to be reached again", || {
            lab.host.ns.ip("neigh flush dev eth0");
            ping(&lab.host, web.ip.into()).then_some(())
        });
        if run {
            assert_eq!(routed.named(&web.dev)["ra"], false, "its settings came back with it");
        }
    }
}

#[test]
fn a_container_that_is_a_gateway_stays_one() {
    needs!(require::lab, require::tcx, require::binary);
    for run in [false, true] {
        let lab = Lab::new();
        let vpn = lab.child("vpn", Mode::Bridge);
        lab.host.ns.ip(&format!("route add 198.51.100.0/24 via {}", vpn.ip));
        let _followed = run.then(|| Following::start(&lab, &[&lab.host.dev]));
        // The wire is asked first, alone: it is silent.
        let is_silent =
            || lab.host.ns.ip_json(&format!("neigh show {} nud failed", vpn.ip)) != serde_json::json!([]);
        let _ = lab.host.ns.command("ping").args(["-c1", "-W1", &vpn.ip.to_string()]).output();
        wait_for("the kernel to give up", || (run || is_silent()).then_some(()));
        let _attached = (!run).then(|| Attached::new(&lab, &[]));
        assert!(ping(&lab.host, vpn.ip.into()), "followed: {run}");
        // It restarts: another device with its MAC.
        vpn.ns.ip(&format!("link del {}", vpn.dev));
        if !run {
            lab.ctl(&["attach", &lab.host.dev]).succeeded();
        }
        lab.host.ns.ip(&format!(
            "link add {} link {} address {} netns {} type macvlan mode bridge",
            vpn.dev,
            lab.host.dev,
            vpn.mac,
            vpn.ns.path().display()
        ));
        vpn.ns.ip(&format!("addr add {}/24 dev {}", vpn.ip, vpn.dev));
        vpn.ns.ip(&format!("link set {} up", vpn.dev));
        if !run {
            lab.ctl(&["attach", &lab.host.dev]).succeeded();
        }
        assert!(ping(&lab.host, vpn.ip.into()), "followed: {run}");
    }
}

#[test]
fn a_second_device_of_a_container_may_no_more_than_its_first() {
    needs!(require::lab, require::tcx, require::binary);
    for run in [false, true] {
        let lab = Lab::new();
        let web = lab.child("web", Mode::Bridge);
        let _carried = carried(&lab, &web, run);
        let strict = format!("{},host-access=off,ra=off,rate-tx=10mbit", web.mac);
        lab.ctl(&["child", "set", &lab.host.dev, &strict]).succeeded();

        let mac = Mac::new([2, 0, 0, 0, 7, 8]);
        let add = format!("link add x0 link {} address {mac} type macvlan mode bridge", web.dev);
        for line in [&add[..], "addr add 10.9.0.77/24 dev x0", "link set x0 up"] {
            claim(&web, &line.split(' ').map(str::as_bytes).collect::<Vec<_>>());
        }
        let named = || {
            let status = lab.ctl(&["-j", "status", &lab.host.dev]).succeeded().json();
            let children = status[0]["children"].as_array().or_fail("list children").clone();
            children.into_iter().find(|child| child["ifname"] == "x0")
        };
        if !run {
            lab.ctl(&["attach", &lab.host.dev]).succeeded();
        }
        let told = wait_for("it to be known", || named().filter(|child| child["adopted"] == true));
        for (key, value) in [
            ("host_access", false.into()),
            ("ra", false.into()),
            ("rate_tx", shown(&lab, &web).or_fail("find the first")["rate_tx"].clone()),
        ] {
            assert_eq!(told[key], value, "{key}, followed: {run}");
        }
        assert!(is_silent(&lab.host, "10.9.0.77".parse().or_fail("parse")), "followed: {run}");
        // Who says so by its name may let it.
        lab.ctl(&["child", "set", &lab.host.dev, &format!("{mac},host-access=on")]).succeeded();
        assert_eq!(named().or_fail("find it")["host_access"], true);
    }
}

/// Also where both were there before the first attach, and a policy names the first alone.
#[test]
fn a_device_beside_one_that_a_policy_names_may_no_more_at_the_first_attach() {
    needs!(require::lab, require::binary);
    const FILE: &str = "/run/macvlan-ctl.toml";
    let lab = Lab::new();
    let (web, free) = (lab.child("web", Mode::Bridge), lab.child("free", Mode::Bridge));
    multiply(&web, 2);
    let x1 = web.ns.ip_json("link show dev x1")[0]["address"].as_str().or_fail("read a MAC").to_owned();
    let policy =
        |mac: &str, setting: &str| format!("[[master.policy]]\nmatch = {{ mac = {mac:?} }}\n{setting}\n");
    let text = format!(
        "[[master]]\nname = {:?}\n{}{}",
        lab.host.dev,
        policy(&web.mac.to_string(), "host-access = false\nrate-tx = \"10mbit\""),
        policy(&x1, "host-access = true"),
    );
    lab.mounts().enter(|| fs::write(FILE, text).or_fail("write a configuration"));
    lab.ctl(&["apply", "--config", FILE]).succeeded();
    let told = status(&lab);
    let of =
        |name: &str| (child(&told, name)["host_access"].clone(), child(&told, name)["rate_tx"].is_null());
    assert_eq!((of("web"), of("x0")), ((false.into(), false), (false.into(), false)));
    // Another policy says what that one may; and nobody else is meant.
    assert_eq!((of("x1"), of(&free.dev)), ((true.into(), true), (true.into(), true)));
    lab.ctl(&["detach", &lab.host.dev]).succeeded();
}

/// Devices that a container makes beside its own, from inside.
#[track_caller]
fn multiply(container: &Station, count: u8) {
    for number in 0..count {
        let add = format!("link add x{number} link {} type macvlan mode bridge", container.dev);
        for line in [add, format!("link set x{number} up")] {
            claim(container, &line.split(' ').map(str::as_bytes).collect::<Vec<_>>());
        }
    }
}

#[test]
fn a_container_with_more_devices_than_there_is_room_for_keeps_no_other_out() {
    needs!(require::lab, require::tc, require::binary);
    let lab = Lab::new();
    let greedy = lab.child("greedy", Mode::Bridge);
    multiply(&greedy, 6);
    let web = lab.child("web", Mode::Bridge);
    let args = [&lab.host.dev, "--max-children", "4"];
    for _ in ["at first", "started again"] {
        let run = Following::start(&lab, &args);
        run.wait_for_line("children are beyond the maximum of 4");
        assert!(ping(&lab.host, web.ip.into()) && ping(&lab.host, greedy.ip.into()));
    }
    let run = Following::start(&lab, &args);
    let late = lab.child("late", Mode::Bridge);
    assert!(ping(&lab.host, late.ip.into()) && ping(&late, lab.host.ip.into()));
    assert!(ping(&lab.host, web.ip.into()) && ping(&lab.host, greedy.ip.into()));
    assert_eq!(shown(&lab, &late).or_fail("find it")["adopted"], true);
    drop(run);
}

#[test]
fn a_container_with_many_addresses_takes_no_other_ones_place() {
    needs!(require::lab, require::tcx, require::binary);
    /// There is room for 1,024 addresses of up to so many children, and for 64 of one.
    const MOST: &str = "256";
    const DEVICES: u8 = 18;
    const FILE: &str = "/run/macvlan-ctl.toml";
    let lab = Lab::new();
    let text =
        "[[master]]\nname = \"eth0\"\n[[master.policy]]\nmatch = { name = \"*\" }\nanti-spoof = \"ip\"\n";
    lab.mounts().enter(|| fs::write(FILE, text).or_fail("write a configuration"));
    let greedy = lab.child("greedy", Mode::Bridge);
    multiply(&greedy, DEVICES);
    greedy.ns.ip_batch((0..DEVICES).flat_map(|device| {
        (0..64).map(move |last| format!("addr add 10.{}.{last}.1/32 dev x{device}", 100 + device))
    }));
    for _ in ["at first", "started again"] {
        let _run = Following::start(&lab, &["--config", FILE, "--max-children", MOST]);
        let late = lab.child("late", Mode::Bridge);
        assert!(ping(&lab.host, late.ip.into()) && ping(&late, lab.wire.ip.into()));
        let status = lab.ctl(&["-j", "status", &lab.host.dev]).succeeded().json();
        let told = status[0]["degraded"].to_string();
        assert!(told.contains("which is its share, or more: frames from others are dropped"), "{told}");
        late.ns.ip("link del late");
    }
}

#[test]
fn a_device_that_says_it_is_ours_is_not_believed() {
    needs!(require::lab, require::tc, require::binary);
    const FILE: &str = "/run/macvlan-ctl.toml";
    for run in [false, true] {
        let lab = Lab::new();
        let dev = lab.host.dev.as_str();
        let (web, pod, own) =
            (lab.child("web", Mode::Bridge), lab.child("pod", Mode::Bridge), lab.newcomer("own"));
        claim_line(&web, "link set web alias macvlan-ctl");
        claim(&pod, &[b"link", b"set", b"pod", b"alias", b"macvlan-ctl cni lan c1 eth0"]);
        let followed = run.then(|| Following::start(&lab, &[dev, "--no-adopt"]));
        lab.ctl(&["child", "add", dev, &spec(&own, "")]).succeeded();
        if !run {
            lab.ctl(&["attach", dev, "--no-adopt"]).succeeded();
        }
        // Once more, where somebody follows.
        claim_line(&web, "link set web alias x");
        claim_line(&web, "link set web alias macvlan-ctl");
        wait_for("ours to be reached", || ping(&lab.host, own.ip.into()).then_some(()));
        lab.ctl(&["child", "set", dev, &named(&own, "ra=off")]).succeeded();
        assert_eq!(members(&lab), [own.mac].into(), "followed: {run}");
        for claimer in [&web, &pod] {
            assert!(is_silent(&lab.host, claimer.ip.into()), "followed: {run}");
            let told = shown(&lab, claimer).or_fail("find it");
            assert_eq!((&told["owned"], &told["adopted"]), (&false.into(), &false.into()), "{told}");
        }
        // Nor is it deleted for that.
        let refused = lab.ctl(&["child", "del", dev, &named(&web, "")]);
        assert!(refused.failed(1).contains("macvlan-ctl did not make it"), "{}", refused.report());
        let text = format!("[[master]]\nname = \"{dev}\"\nprune = true\n");
        lab.mounts().enter(|| fs::write(FILE, text).or_fail("write a configuration"));
        lab.ctl(&["apply", "--config", FILE]).succeeded();
        assert_eq!([&own, &web, &pod].map(|child| devices(child).len()), [0, 1, 1]);
        drop(followed);
    }
}

#[test]
fn what_we_made_stays_ours_whatever_its_device_says() {
    needs!(require::lab, require::tc, require::binary);
    for run in [false, true] {
        let lab = Lab::new();
        let dev = lab.host.dev.as_str();
        let mut web = lab.newcomer("web");
        let followed = run.then(|| Following::start(&lab, &[dev, "--no-adopt"]));
        // Made before there is a data path, where nobody follows.
        lab.ctl(&["child", "add", dev, &spec(&web, "")]).succeeded();
        claim(&web, &[b"link", b"set", b"web", b"alias", b""]);
        let attach = || {
            if !run {
                lab.ctl(&["attach", dev, "--no-adopt"]).succeeded();
            }
        };
        attach();
        wait_for("it to be reached", || ping(&lab.host, web.ip.into()).then_some(()));
        claim(&web, &[b"link", b"set", b"web", b"alias", b"macvlan-ctl cni lan c1 eth0"]);
        claim_line(&web, "link set web down");
        web.mac = Mac::new([2, 0, 0, 0, 7, 9]);
        claim_line(&web, &format!("link set web address {}", web.mac));
        claim_line(&web, "link set web up");
        attach();
        wait_for("it to be known by its new MAC", || members(&lab).contains(&web.mac).then_some(()));
        assert_eq!(shown(&lab, &web).or_fail("find it")["owned"], true);
        lab.ctl(&["child", "set", dev, &named(&web, "ra=off")]).succeeded();
        assert_eq!(members(&lab), [web.mac].into(), "followed: {run}");
        if !run {
            lab.ctl(&["detach", dev]).succeeded();
            attach();
            assert_eq!(members(&lab), [web.mac].into());
        }
        lab.ctl(&["child", "del", dev, &named(&web, "")]).succeeded();
        assert!(devices(&web).is_empty() && members(&lab).is_empty());
        drop(followed);
        lab.ctl(&["detach", dev]).succeeded();
        assert!(!pins(&lab).iter().any(|pin| pin.starts_with("/sys/fs/bpf/macvlan-ctl")), "followed: {run}");
    }
}

#[test]
fn a_device_with_the_numbers_and_the_mac_of_one_of_ours_is_not_ours() {
    needs!(require::lab, require::tc, require::binary);
    for run in [false, true] {
        let lab = Lab::new();
        let dev = lab.host.dev.as_str();
        let own = lab.newcomer("web");
        let _followed = run.then(|| Following::start(&lab, &[dev, "--no-adopt"]));
        lab.ctl(&["child", "add", dev, &spec(&own, "")]).succeeded();
        if !run {
            lab.ctl(&["attach", dev, "--no-adopt"]).succeeded();
        }
        let was = shown(&lab, &own).or_fail("find it");
        let (mac, ip) = (own.mac, own.ip);
        // Its namespace goes, and another one gets its number.
        drop(own);
        let numbers = || lab.host.ns.ip_json("netns list-id").to_string();
        let number = format!("\"nsid\":{}", was["netnsid"]);
        wait_for("its number to be free", || (!numbers().contains(&number)).then_some(()));
        let other = lab.newcomer("web");
        lab.mounts().name_netns("other", &other.ns);
        let mut number = lab.command(&lab.host.ns, "ip");
        let ran =
            number.args(["netns", "set", "other", &was["netnsid"].to_string()]).output().or_fail("run ip");
        assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
        lab.host.ns.ip(&format!(
            "link add link {dev} name web index {} address {mac} netns {} type macvlan mode bridge",
            was["ifindex"],
            other.ns.path().display()
        ));
        claim_line(&other, "link set web alias macvlan-ctl");
        claim_line(&other, &format!("addr add {ip}/24 dev web"));
        claim_line(&other, "link set web up");
        if !run {
            lab.ctl(&["attach", dev, "--no-adopt"]).succeeded();
        }
        let late = lab.newcomer("late");
        lab.ctl(&["child", "add", dev, &spec(&late, "")]).succeeded();
        wait_for("ours to be reached", || ping(&lab.host, late.ip.into()).then_some(()));
        let now = shown(&lab, &Station { mac, ..other }).or_fail("find the other");
        assert_eq!(
            (&now["netnsid"], &now["ifindex"]),
            (&was["netnsid"], &was["ifindex"]),
            "the same numbers"
        );
        assert_eq!(
            (&now["owned"], &now["adopted"]),
            (&false.into(), &false.into()),
            "followed: {run}: {now}"
        );
        assert_eq!(members(&lab), [late.mac].into(), "followed: {run}");
    }
}

#[test]
fn what_an_earlier_version_made_is_ours_where_its_data_path_knows_it() {
    needs!(require::lab, require::tc, require::binary);
    let lab = Lab::new();
    let dev = lab.host.dev.as_str();
    let (web, late) = (lab.child("web", Mode::Bridge), lab.child("late", Mode::Bridge));
    claim_line(&web, "link set web alias macvlan-ctl");
    lab.ctl(&["attach", dev]).succeeded();
    // Only some of what this version knows of was there before.
    late.ns.ip("link set late down");
    late.ns.ip("link set late address 02:00:00:00:07:0a");
    make_unmarked(&lab);
    claim_line(&late, "link set late alias macvlan-ctl");
    let owned = |name: &str| child(&status(&lab), name)["owned"].clone();

    lab.ctl(&["attach", dev, "--no-adopt"]).succeeded();
    assert_eq!((owned("web"), owned("late")), (true.into(), false.into()));
    assert!(ping(&lab.host, web.ip.into()));

    // That is believed once.
    let third = lab.child("third", Mode::Bridge);
    lab.ctl(&["attach", dev, "--adopt"]).succeeded();
    claim_line(&third, "link set third alias macvlan-ctl");
    lab.ctl(&["attach", dev, "--no-adopt"]).succeeded();
    assert_eq!((owned("web"), owned("third")), (true.into(), false.into()));
    // Who names it takes it up.
    lab.ctl(&["child", "add", dev, &named(&third, "")]).succeeded();
    assert_eq!(owned("third"), true);
    assert!(ping(&lab.host, third.ip.into()));
}

#[test]
fn a_private_child_that_makes_itself_a_bridge_child_stays_apart() {
    needs!(require::lab, require::tc, require::binary);
    for run in [false, true] {
        let lab = Lab::new();
        let dev = lab.host.dev.as_str();
        let (web, db) = (lab.child("web", Mode::Private), lab.child("db", Mode::Bridge));
        lab.introduce(&[&web, &db, &lab.host]);
        let _attached = (!run).then(|| Attached::new(&lab, &[]));
        let followed = run.then(|| Following::start(&lab, &[dev]));
        let pair_is_apart = || is_silent(&web, db.ip.into()) && is_silent(&db, web.ip.into());
        assert!(ping(&lab.host, web.ip.into()) && pair_is_apart());

        claim_line(&web, "link set web type macvlan mode bridge");
        let reason = || {
            let degraded = status(&lab)["degraded"].clone();
            let mode = degraded.as_array()?.iter().find(|one| one["feature"] == "mode")?.clone();
            assert_eq!((&mode["wanted"], &mode["got"]), (&"private".into(), &"bridge".into()));
            mode["reason"].as_str().map(str::to_owned)
        };
        // The driver itself gives the one to the other by now.
        let told = wait_for("status to say so", reason);
        match &followed {
            Some(followed) => {
                followed.wait_for_line("has a new mode, it was private");
                followed.wait_for_line("mode is bridge instead of private");
            }
            None => drop(lab.ctl(&["attach", dev]).succeeded()),
        }
        assert!(pair_is_apart(), "followed: {run}");
        assert!(ping(&lab.host, web.ip.into()) && ping(&lab.host, db.ip.into()), "followed: {run}");
        // With the words that status has, it counts.
        assert!(told.ends_with(&format!("child set {dev} {},mode=bridge", web.mac)), "{told}");
        lab.ctl(&["child", "set", dev, &format!("{},mode=bridge", web.mac)]).succeeded();
        assert!(ping(&web, db.ip.into()) && ping(&db, web.ip.into()), "followed: {run}");
        assert_eq!(reason(), None);
    }
}
