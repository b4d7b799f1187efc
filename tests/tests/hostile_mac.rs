//! A container that gives its device another MAC. That is a claim: one that is held to its MAC does not get rid of
//! it, and no other child is taken for somebody else.

use macvlan_common::{child::Mode, counters::DropReason, mac::Mac};
use macvlan_tests::{
    attached::Attached,
    attacker::{claim_line, readdress, tries},
    control::{make_older, members, spec, status},
    fail::{OrFail as _, wait_for},
    following::Following,
    frames::{Marker, marked},
    lab::{Lab, Station},
    leak::pins,
    needs, require,
    sniff::{Injector, Tap},
    stats::Stats,
    talk::{is_silent, ping},
};
use serde_json::Value;

const OTHER: Mac = Mac::new([2, 0, 0, 0, 7, 7]);

/// What `status` says is less about MACs.
fn told(lab: &Lab) -> Option<Value> {
    let status = status(lab);
    let degraded = status["degraded"].as_array().or_fail("read what is less");
    degraded.iter().find(|one| one["feature"] == "mac").cloned()
}

/// What `status` says of the device of this name.
fn shown(lab: &Lab, name: &str) -> Value {
    let status = status(lab);
    let children = status["children"].as_array().or_fail("list children");
    children.iter().find(|child| child["ifname"] == name).or_fail("find the child").clone()
}

fn stats(lab: &Lab) -> Stats {
    Stats::of(&lab.ctl(&["-j", "stats", &lab.host.dev]).succeeded().json())
}

fn set(lab: &Lab, child: &Station, settings: &str) {
    lab.ctl(&["child", "set", &lab.host.dev, &format!("{},{settings}", child.dev)]).succeeded();
}

/// How many of a few frames that the child's device sends under this MAC arrive on the wire.
fn heard(lab: &Lab, child: &Station, mac: Mac) -> usize {
    let mut tap = Tap::on_device(&lab.wire.ns, &lab.port);
    let send = |from: &Station, mac: Mac| {
        let marker = Marker::new();
        Injector::new(&from.ns, &from.dev).send(&marked(lab.wire.mac, mac, marker));
        marker
    };
    let sent = [(); 3].map(|()| send(child, mac));
    // What the host sends behind them.
    let behind = send(&lab.host, lab.host.mac);
    tap.wait_for(behind, 1);
    sent.into_iter().map(|marker| tap.came_in(marker)).sum()
}

/// Which devices have a program of their own, by the names of the pins.
fn held(lab: &Lab) -> Vec<String> {
    let names = pins(lab).into_iter().filter_map(|pin| Some(pin.file_name()?.to_str()?.to_owned()));
    names.filter(|name| name.starts_with("child_")).collect()
}

#[test]
fn a_child_that_is_held_to_its_mac_does_not_get_another() {
    needs!(require::lab, require::tcx, require::binary);
    for run in [false, true] {
        let lab = Lab::new();
        let dev = lab.host.dev.as_str();
        let web = lab.child("web", Mode::Bridge);
        let _attached = (!run).then(|| Attached::new(&lab, &[]));
        let followed = run.then(|| Following::start(&lab, &[dev]));
        set(&lab, &web, "anti-spoof=mac,host-access=on,rate-tx=10mbit");
        assert!(ping(&lab.host, web.ip.into()) && ping(&web, lab.wire.ip.into()), "followed: {run}");
        let before = (held(&lab), stats(&lab).dropped("web", DropReason::Spoofed));

        readdress(&web, OTHER);
        let is_held = |when: &str| {
            let told = told(&lab).or_fail(format!("be told {when}"));
            assert_eq!(
                (&told["wanted"], &told["got"]),
                (&web.mac.to_string().into(), &OTHER.to_string().into()),
                "{when}"
            );
            let reason = told["reason"].as_str().or_fail("read the reason");
            assert!(reason.contains(&format!("ip link set dev web address {}", web.mac)), "{reason}");
            assert!(reason.ends_with(&format!("child set {dev} {},mac-change=on", web.mac)), "{reason}");
            let shown = shown(&lab, "web");
            assert_eq!(
                (&shown["anti_spoof"], &shown["rate_tx"], &shown["local"], &shown["adopted"]),
                (&"mac".into(), &shown["rate_tx"], &false.into(), &true.into()),
                "{when}: {shown}"
            );
            assert!(!shown["rate_tx"].is_null(), "{when}: {shown}");
            assert_eq!(members(&lab), [web.mac].into(), "{when}");
            assert_eq!(held(&lab), before.0, "{when}");
            // It is heard by nobody, and nobody is turned to it.
            assert_eq!(heard(&lab, &web, OTHER), 0, "{when}");
            assert!(is_silent(&web, lab.host.ip.into()) && is_silent(&web, lab.wire.ip.into()), "{when}");
            let (mut port, marker) = (Tap::on_device(&lab.wire.ns, &lab.port), Marker::new());
            Injector::new(&lab.host.ns, dev).send(&marked(OTHER, lab.host.mac, marker));
            port.wait_for(marker, 1);
            assert!(stats(&lab).dropped("web", DropReason::Spoofed).packets > before.1.packets, "{when}");
        };
        match &followed {
            Some(run) => {
                run.wait_for_line(&format!("mac is {OTHER} instead of {}", web.mac));
                is_held("while run follows");
            }
            None => is_held("at once"),
        }
        // No command honours it.
        for when in ["after attach", "after another one"] {
            lab.ctl(&["attach", dev]).succeeded();
            is_held(when);
        }
        set(&lab, &web, "ra=off");
        is_held("after a setting");
        make_older(&lab);
        if !run {
            lab.ctl(&["attach", dev]).succeeded();
            is_held("after an upgrade");
            let _run = Following::start(&lab, &[dev]);
            is_held("once run follows");
        }

        readdress(&web, web.mac);
        if !run {
            lab.ctl(&["attach", dev]).succeeded();
        }
        wait_for("it to be as before", || {
            (told(&lab).is_none() && shown(&lab, "web")["local"] == true).then_some(())
        });
        assert_eq!(shown(&lab, "web")["ra"], false);
        lab.host.ns.ip("neigh flush all");
        assert!(ping(&lab.host, web.ip.into()) && ping(&web, lab.wire.ip.into()), "followed: {run}");
        lab.ctl(&["detach", dev]).succeeded();
        assert!(held(&lab).is_empty(), "followed: {run}");
    }
}

#[test]
fn a_child_whose_mac_may_change_is_followed_and_held_to_the_new_one() {
    needs!(require::lab, require::tcx, require::binary);
    for run in [false, true] {
        let lab = Lab::new();
        let dev = lab.host.dev.as_str();
        let vm = lab.child("vm", Mode::Bridge);
        let _attached = Attached::new(&lab, &[]);
        set(&lab, &vm, "anti-spoof=mac,ra=off");
        // It keeps the right to put programs on devices, as there is one already.
        let followed = run.then(|| Following::start(&lab, &[dev]));
        readdress(&vm, OTHER);
        match &followed {
            Some(run) => drop(run.wait_for_line("mac is")),
            None => drop(lab.ctl(&["attach", dev]).succeeded()),
        }
        let counts = |mac: Mac| {
            let program = format!("child_free_{}_", mac.to_string().replace(':', ""));
            let is_known = || {
                members(&lab) == [mac].into()
                    && held(&lab).first().is_some_and(|pin| pin.starts_with(&program))
            };
            wait_for("it to be known by its new MAC", || is_known().then_some(()));
            assert_eq!(told(&lab), None, "followed: {run}");
            let shown = shown(&lab, "vm");
            assert_eq!(
                (&shown["address"], &shown["anti_spoof"], &shown["ra"], &shown["mac_change"]),
                (&mac.to_string().into(), &"mac".into(), &false.into(), &true.into()),
                "followed: {run}: {shown}"
            );
            lab.host.ns.ip("neigh flush all");
            wait_for("it to be reached", || ping(&lab.host, vm.ip.into()).then_some(()));
            let before = stats(&lab).dropped("vm", DropReason::Spoofed).packets;
            assert_eq!((heard(&lab, &vm, mac), heard(&lab, &vm, vm.mac)), (3, 0), "followed: {run}");
            assert_eq!(stats(&lab).dropped("vm", DropReason::Spoofed).packets, before + 3);
        };
        // It counts once somebody says so, and what comes after it.
        set(&lab, &vm, "mac-change=on");
        counts(OTHER);
        let third = Mac::new([2, 0, 0, 0, 7, 8]);
        readdress(&vm, third);
        if !run {
            lab.ctl(&["attach", dev]).succeeded();
        }
        counts(third);
        // And no longer, likewise.
        set(&lab, &vm, "mac-change=off");
        readdress(&vm, OTHER);
        lab.ctl(&["attach", dev]).succeeded();
        assert_eq!(told(&lab).or_fail("be told")["wanted"], third.to_string());
        assert_eq!((heard(&lab, &vm, OTHER), members(&lab)), (0, [third].into()));
    }
}

#[test]
fn two_containers_that_change_macs_together_get_rid_of_nothing() {
    needs!(require::lab, require::tcx, require::binary);
    for run in [false, true] {
        let lab = Lab::new();
        let dev = lab.host.dev.as_str();
        let [web, db] = ["web", "db"].map(|name| lab.child(name, Mode::Bridge));
        let _attached = (!run).then(|| Attached::new(&lab, &[]));
        let followed = run.then(|| Following::start(&lab, &[dev]));
        if run {
            wait_for("both to be known", || (members(&lab).len() == 2).then_some(()));
        }
        set(&lab, &web, "anti-spoof=mac,ra=off");
        readdress(&web, OTHER);
        // Free by now, for the driver.
        readdress(&db, web.mac);
        lab.ctl(&["attach", dev]).succeeded();
        wait_for("one MAC to be left", || (members(&lab) == [web.mac].into()).then_some(()));
        assert_eq!((heard(&lab, &web, OTHER), heard(&lab, &db, web.mac)), (0, 0), "followed: {run}");
        let now = shown(&lab, "db");
        assert_eq!((&now["adopted"], &now["host_access"]), (&false.into(), &false.into()), "{now}");
        let degraded = status(&lab)["degraded"].to_string();
        assert!(degraded.contains("which another child is held to"), "{degraded}");
        if let Some(run) = &followed {
            run.wait_for_line("which another child is held to");
        }
        // The driver would give it what is turned around for that MAC.
        let (mut heard_by, marker) = (Tap::on_device(&db.ns, &db.dev), Marker::new());
        Injector::new(&lab.host.ns, dev).send(&marked(web.mac, lab.host.mac, marker));
        assert_eq!((heard(&lab, &lab.host, lab.host.mac), heard_by.came_in(marker)), (3, 0));
        assert_eq!(held(&lab).len(), 1, "followed: {run}");

        readdress(&db, db.mac);
        readdress(&web, web.mac);
        lab.ctl(&["attach", dev]).succeeded();
        wait_for("both to be known", || (members(&lab) == [web.mac, db.mac].into()).then_some(()));
        assert_eq!(told(&lab), None, "followed: {run}");
        lab.host.ns.ip("neigh flush all");
        assert!(ping(&lab.host, web.ip.into()), "followed: {run}");
        assert_eq!(shown(&lab, "web")["anti_spoof"], "mac", "followed: {run}");
    }
}

#[test]
fn root_on_the_host_gives_a_held_child_another_mac() {
    needs!(require::lab, require::tcx, require::binary);
    for run in [false, true] {
        let lab = Lab::new();
        let dev = lab.host.dev.as_str();
        let web = lab.newcomer("web");
        let _attached = (!run).then(|| Attached::new(&lab, &[]));
        let _followed = run.then(|| Following::start(&lab, &[dev]));
        lab.ctl(&["child", "add", dev, &spec(&web, "anti-spoof=mac")]).succeeded();
        assert!(ping(&lab.host, web.ip.into()));
        set(&lab, &web, &format!("mac={OTHER}"));
        let counts = |mac: Mac| {
            wait_for("it to be known by that", || (members(&lab) == [mac].into()).then_some(()));
            assert_eq!(told(&lab), None, "followed: {run}");
            assert_eq!(shown(&lab, "web")["anti_spoof"], "mac", "followed: {run}");
            assert_eq!(held(&lab).len(), 1, "followed: {run}");
            assert_eq!(heard(&lab, &web, mac), 3, "followed: {run}");
        };
        counts(OTHER);
        assert_eq!(heard(&lab, &web, web.mac), 0, "followed: {run}");
        // One that is away is brought back, or let have what it took.
        readdress(&web, Mac::new([2, 0, 0, 0, 7, 9]));
        set(&lab, &web, &format!("mac={OTHER}"));
        counts(OTHER);
        let third = Mac::new([2, 0, 0, 0, 7, 8]);
        readdress(&web, third);
        set(&lab, &web, &format!("mac={third}"));
        counts(third);
    }
}

/// What `status` says of a child that hears others.
fn overheard(lab: &Lab) -> Option<String> {
    let status = status(lab);
    let degraded = status["degraded"].as_array().or_fail("read what is less");
    let reasons =
        degraded.iter().filter(|one| one["feature"] == "source").filter_map(|one| one["reason"].as_str());
    reasons.into_iter().find(|reason| reason.contains("in mode source")).map(str::to_owned)
}

#[test]
fn a_container_that_lists_the_macs_of_others_hears_nothing() {
    needs!(require::lab, require::tcx, require::binary);
    for run in [false, true] {
        let lab = Lab::new();
        let dev = lab.host.dev.as_str();
        let [ear, web, db] = ["ear", "web", "db"].map(|name| lab.child(name, Mode::Bridge));
        let _attached = Attached::new(&lab, &[]);
        // With a guard there, run keeps the right to put programs on devices.
        set(&lab, &db, "ra=off");
        let _followed = run.then(|| Following::start(&lab, &[dev]));
        let heard = || {
            let mut tap = Tap::on_device(&ear.ns, &ear.dev);
            for (from, to) in [(&lab.host, &web), (&web, &db), (&web, &lab.host)] {
                let (mut arrives, marker) = (Tap::on_device(&to.ns, &to.dev), Marker::new());
                Injector::new(&from.ns, &from.dev).send(&marked(to.mac, from.mac, marker));
                arrives.wait_for(marker, 1);
                if tap.came_in(marker) > 0 {
                    return true;
                }
            }
            false
        };
        let macs = format!("{} {}", lab.host.mac, web.mac);
        claim_line(&ear, &format!("link set ear type macvlan mode source macaddr set {macs}"));
        if !run {
            assert!(heard(), "it hears what is not for it");
            assert!(overheard(&lab).or_fail("be told").contains(&format!("macvlan-ctl attach {dev}")));
            lab.ctl(&["attach", dev]).succeeded();
        }
        let deaf = || held(&lab).iter().any(|pin| pin.starts_with("child_deaf_"));
        wait_for("a program on its device", || deaf().then_some(()));
        assert_eq!(overheard(&lab), None, "followed: {run}");
        assert!(!heard(), "followed: {run}");
        // It cannot take that off.
        let off = tries(&ear, &[b"link", b"set", b"ear", b"xdp", b"off"]);
        assert!(!off.status.success(), "{off:?}");
        assert!(!heard(), "followed: {run}");
        // What is for it comes to it, and who others are stays as it was.
        let (mut tap, marker) = (Tap::on_device(&ear.ns, &ear.dev), Marker::new());
        Injector::new(&lab.host.ns, dev).send(&marked(Mac::BROADCAST, lab.host.mac, marker));
        tap.wait_for(marker, 1);
        assert!(ping(&lab.host, web.ip.into()) && ping(&web, db.ip.into()), "followed: {run}");

        claim_line(&ear, "link set ear type macvlan macaddr flush");
        if !run {
            lab.ctl(&["attach", dev]).succeeded();
        }
        wait_for("it to be gone", || (!deaf()).then_some(()));
        lab.ctl(&["detach", dev]).succeeded();
        assert!(held(&lab).is_empty(), "followed: {run}");
    }
}

#[test]
fn a_container_that_lists_the_macs_of_others_is_told_of() {
    needs!(require::lab, require::tc, require::binary);
    for run in [false, true] {
        let lab = Lab::new();
        let dev = lab.host.dev.as_str();
        let [ear, web] = ["ear", "web"].map(|name| lab.child(name, Mode::Bridge));
        let _attached = (!run).then(|| Attached::new(&lab, &[]));
        let followed = run.then(|| Following::start(&lab, &[dev]));
        let told = || overheard(&lab);
        claim_line(&ear, &format!("link set ear type macvlan mode source macaddr add {}", lab.wire.mac));
        assert_eq!(told(), None, "what it hears of the wire is its own matter");
        claim_line(&ear, &format!("link set ear type macvlan macaddr add {}", lab.host.mac));
        let reason = told().or_fail("be told of what it hears of the host");
        assert!(reason.contains("hears a copy of all that the host sends"), "{reason}");
        claim_line(&ear, &format!("link set ear type macvlan macaddr add {}", web.mac));
        let reason = told().or_fail("be told of what it hears of a child");
        assert!(reason.contains("the host") && reason.contains("child \"web\""), "{reason}");
        claim_line(&ear, "link set ear type macvlan mode source flag nodst");
        let reason = told().or_fail("be told that it takes frames");
        assert!(reason.contains("takes from the others here"), "{reason}");
        if let Some(run) = followed {
            run.wait_for_line("takes from the others here");
        }
        // With the words that status has, it is over.
        let (_, remedy) = reason.split_once("in its namespace: ip ").or_fail("be told what to do");
        claim_line(&ear, remedy);
        assert_eq!(told(), None, "followed: {run}");
    }
}

#[test]
fn a_container_with_the_mac_of_a_neighbour_of_the_host_has_none_of_its_frames() {
    needs!(require::lab, require::tc, require::binary);
    for run in [false, true] {
        let lab = Lab::new();
        let dev = lab.host.dev.as_str();
        let web = lab.child("web", Mode::Bridge);
        let _attached = (!run).then(|| Attached::new(&lab, &[]));
        let followed = run.then(|| Following::start(&lab, &[dev]));
        assert!(ping(&lab.host, web.ip.into()) && ping(&lab.host, lab.wire.ip.into()));
        let look = || {
            if !run {
                lab.ctl(&["attach", dev]).succeeded();
            }
        };

        readdress(&web, lab.wire.mac);
        // It may say that it has that one's address, too.
        claim_line(&web, &format!("addr add {}/32 dev web", lab.wire.ip));
        look();
        let reason = || {
            let told = shown(&lab, "web");
            told["host_access_reason"]
                .as_str()
                .filter(|reason| reason.contains("neighbour of the host"))
                .map(str::to_owned)
        };
        let told = wait_for("it to be refused", reason);
        if let Some(run) = &followed {
            run.wait_for_line("has the MAC of a gateway or neighbour of the host");
        }
        let mut tap = Tap::on_device(&web.ns, &web.dev);
        assert!(ping(&lab.host, lab.wire.ip.into()) && ping(&lab.wire, lab.host.ip.into()));
        let is_unicast = |frame: &[u8]| frame.starts_with(&lab.wire.mac.octets());
        assert!(!tap.seen().iter().any(|seen| is_unicast(&seen.data)), "it heard what the host sends there");
        // As long as the other one answers on the wire, it stays so.
        look();
        assert_eq!(reason().as_deref(), Some(told.as_str()), "followed: {run}");
        claim_line(&web, &format!("addr del {}/32 dev web", lab.wire.ip));

        // The machine with that MAC is here by now: nobody answers there any more.
        readdress(&lab.wire, OTHER);
        lab.host.ns.ip(&format!("neigh flush to {} dev {dev}", web.ip));
        wait_for("it to be reached", || {
            look();
            (shown(&lab, "web")["host_access"] == true && ping(&lab.host, web.ip.into())).then_some(())
        });
    }
}

#[test]
fn the_kernel_lets_no_container_take_a_mac_that_is_in_use_here() {
    needs!(require::lab, require::tc, require::binary);
    let lab = Lab::new();
    let [web, db] = ["web", "db"].map(|name| lab.child(name, Mode::Bridge));
    let _attached = Attached::new(&lab, &[]);
    let take = |mac: Mac| {
        let mac = mac.to_string();
        tries(&web, &[b"link", b"set", b"web", b"address", mac.as_bytes()])
    };
    for mac in [lab.host.mac, db.mac] {
        assert!(!take(mac).status.success(), "{mac}");
        claim_line(&web, "link set web down");
        // What a device that is down has is nobody's: it cannot come up with it.
        if take(mac).status.success() {
            assert!(!tries(&web, &[b"link", b"set", b"web", b"up"]).status.success(), "{mac}");
            lab.ctl(&["attach", &lab.host.dev]).succeeded();
            lab.host.ns.ip("neigh flush all");
            assert!(ping(&lab.host, db.ip.into()), "{mac}");
            assert_eq!(shown(&lab, "db")["local"], true, "{mac}");
            assert!(take(web.mac).status.success());
        }
        claim_line(&web, "link set web up");
    }
    assert!(ping(&lab.host, web.ip.into()) && ping(&lab.host, db.ip.into()));
}

#[test]
fn a_held_child_that_moves_to_another_namespace_is_held_there() {
    needs!(require::lab, require::tcx, require::binary);
    for run in [false, true] {
        let lab = Lab::new();
        let dev = lab.host.dev.as_str();
        let web = lab.child("web", Mode::Bridge);
        let _attached = Attached::new(&lab, &[]);
        set(&lab, &web, "anti-spoof=mac");
        let _followed = run.then(|| Following::start(&lab, &[dev]));
        let before = held(&lab);
        let other = Station { ip: web.ip, mac: web.mac, ..lab.newcomer("web") };
        web.ns.ip(&format!("link set web netns {}", other.ns.path().display()));
        other.ns.ip(&format!("addr add {}/24 dev web", other.ip));
        other.ns.ip("link set web up");
        if !run {
            lab.ctl(&["attach", dev]).succeeded();
        }
        lab.host.ns.ip("neigh flush all");
        wait_for("it to be reached", || ping(&lab.host, other.ip.into()).then_some(()));
        // The name of the pin has the namespace.
        let is_held = |now: &Vec<String>| now.len() == 1 && *now != before;
        wait_for("its program", || is_held(&held(&lab)).then_some(()));
        assert_eq!(heard(&lab, &other, OTHER), 0, "followed: {run}");
        assert_eq!((told(&lab), &shown(&lab, "web")["anti_spoof"]), (None, &"mac".into()), "followed: {run}");
        readdress(&other, OTHER);
        lab.ctl(&["attach", dev]).succeeded();
        assert_eq!(told(&lab).or_fail("be told")["wanted"], web.mac.to_string(), "followed: {run}");
    }
}

#[test]
fn guards_on_its_own_device_go_with_a_child_that_changes_its_mac() {
    needs!(require::lab, require::tcx, require::binary);
    for run in [false, true] {
        let lab = Lab::new();
        let dev = lab.host.dev.as_str();
        let web = lab.child("web", Mode::Bridge);
        let _attached = Attached::new(&lab, &[]);
        set(&lab, &web, "ra=off,rate-tx=10mbit");
        let _followed = run.then(|| Following::start(&lab, &[dev]));
        let before = shown(&lab, "web");
        readdress(&web, OTHER);
        if !run {
            lab.ctl(&["attach", dev]).succeeded();
        }
        wait_for("it to be known by its new MAC", || (members(&lab) == [OTHER].into()).then_some(()));
        let now = shown(&lab, "web");
        for key in ["ra", "rate_tx", "anti_spoof"] {
            assert_eq!(now[key], before[key], "{key}, followed: {run}");
        }
        assert_eq!(now["ra"], false);
        assert_eq!(told(&lab), None, "it is not held to any");
    }
}
