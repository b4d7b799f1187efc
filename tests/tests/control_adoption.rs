//! Children that somebody else made: found wherever they are, kept up with, never taken for ours.

use std::collections::BTreeSet;

use macvlan_common::{child::Mode, mac::Mac};
use macvlan_tests::{
    control::{child, devices, members, named, names_of, spec, status},
    lab::{FAMILIES, Lab, Station},
    leak::Traces,
    needs, require,
    talk::{is_silent, ping},
};

#[test]
fn a_child_in_a_namespace_that_only_a_descriptor_holds_is_adopted() {
    needs!(require::lab, require::binary);
    let lab = Lab::with().ipv6().build();
    let web = made_there(&lab, "web", Mode::Bridge);
    web.ns.ip(&format!("addr add {}/64 dev web nodad", web.ip6));

    lab.ctl(&["attach", "eth0"]).succeeded();

    assert_eq!(child(&status(&lab), "web")["owned"], false);
    assert_eq!(members(&lab), BTreeSet::from([web.mac]));
    for family in FAMILIES {
        assert!(ping(&lab.host, web.address(family)), "{family:?}");
        assert!(ping(&web, lab.host.address(family)), "{family:?}");
    }
}

#[test]
fn a_child_in_a_named_namespace_is_adopted_under_that_name() {
    needs!(require::lab, require::binary);
    let lab = Lab::new();
    let web = made_there(&lab, "web", Mode::Private);
    lab.mounts().name_netns("blue", &web.ns);

    lab.ctl(&["attach", "eth0"]).succeeded();

    let told = status(&lab);
    assert_eq!(
        (&child(&told, "web")["netns"], &child(&told, "web")["mode"]),
        (&"blue".into(), &"private".into())
    );
    assert!(ping(&lab.host, web.ip.into()));
    assert!(ping(&web, lab.host.ip.into()));
}

#[test]
fn a_child_in_a_namespace_with_nothing_but_a_process_is_adopted() {
    needs!(require::lab, require::binary);
    let lab = Lab::new();
    let Station { ns, ip, .. } = made_there(&lab, "web", Mode::Bridge);
    let resident = ns.resident();
    // Now only the process holds it.
    drop(ns);

    lab.ctl(&["attach", "eth0"]).succeeded();

    let told = status(&lab);
    assert_eq!(child(&told, "web")["netns"], format!("/proc/{}/ns/net", resident.pid()));
    assert!(ping(&lab.host, ip.into()));
}

#[test]
fn children_that_are_down_are_adopted_where_a_path_leads_to_them() {
    needs!(require::lab, require::binary);
    let lab = Lab::new();
    let (named, peopled) = (lab.newcomer("named"), lab.newcomer("peopled"));
    lab.mounts().name_netns("blue", &named.ns);
    let _resident = peopled.ns.resident();
    for station in [&named, &peopled] {
        make(&lab, station, Mode::Bridge);
    }

    lab.ctl(&["attach", "eth0"]).succeeded();

    assert_eq!(members(&lab), BTreeSet::from([named.mac, peopled.mac]));
    for station in [&named, &peopled] {
        bring_up(station);
        assert!(ping(&lab.host, station.ip.into()), "{}", station.dev);
    }
}

#[test]
fn children_of_both_kinds_and_of_the_masters_own_namespace_are_adopted() {
    needs!(require::lab, require::binary);
    let lab = Lab::new();
    let (tap, moved) = (lab.macvtap("tap", Mode::Private), lab.child("moved", Mode::Vepa));
    lab.host.ns.ip("link add link eth0 name own address 02:00:00:00:07:07 type macvlan mode bridge");

    lab.ctl(&["attach", "eth0"]).succeeded();

    assert_eq!(members(&lab), BTreeSet::from([tap.mac, moved.mac, Mac::new([0x02, 0, 0, 0, 7, 7])]));
    let told = status(&lab);
    assert_eq!(names_of(&told), BTreeSet::from(["tap", "moved", "own"].map(str::to_owned)));
    assert_eq!(child(&told, "tap")["kind"], "macvtap");
    assert_eq!(child(&told, "moved")["mode"], "vepa");
    assert!(child(&told, "own")["netnsid"].is_null());
    assert!(child(&told, "tap")["netnsid"].is_number());
}

#[test]
fn children_of_another_master_are_left_alone() {
    needs!(require::lab, require::binary);
    let lab = Lab::new();
    lab.host.ns.ip("link add eth1 type veth peer name wire1");
    lab.host.ns.ip("link set eth1 up");
    let elsewhere = lab.newcomer("elsewhere");
    lab.host.ns.ip_batch([
        "link add link eth1 name near type macvlan mode bridge".to_owned(),
        "link add link eth1 name elsewhere type macvlan mode bridge".to_owned(),
        format!("link set elsewhere netns {}", elsewhere.ns.path().display()),
    ]);
    let ours = lab.child("ours", Mode::Bridge);

    lab.ctl(&["attach", "eth0"]).succeeded();

    assert_eq!(members(&lab), BTreeSet::from([ours.mac]));
    assert_eq!(names_of(&status(&lab)), BTreeSet::from(["ours".to_owned()]));
}

#[test]
fn without_adoption_only_our_own_children_reach_the_host() {
    needs!(require::lab, require::binary);
    let lab = Lab::new();
    let stranger = lab.child("stranger", Mode::Bridge);
    let web = lab.newcomer("web");
    let attach = ["attach", "eth0", "--no-adopt"];

    lab.ctl(&[&attach[..], &["--child", &spec(&web, "")]].concat()).succeeded();

    let only_ours = || {
        assert_eq!(members(&lab), BTreeSet::from([web.mac]));
        assert_eq!(names_of(&status(&lab)), BTreeSet::from(["web".to_owned()]));
        assert!(ping(&lab.host, web.ip.into()));
        assert!(is_silent(&lab.host, stranger.ip.into()));
        assert!(ping(&lab.wire, stranger.ip.into()));
        assert!(ping(&web, stranger.ip.into()));
    };
    only_ours();
    // What was asked for at attach is kept by the other commands.
    let later = lab.newcomer("later");
    lab.ctl(&["child", "add", "eth0", &spec(&later, "")]).succeeded();
    lab.ctl(&["child", "del", "eth0", &named(&later, "")]).succeeded();
    only_ours();
    lab.ctl(&["attach", "eth0"]).succeeded();
    only_ours();
    lab.ctl(&["attach", "eth0", "--adopt"]).succeeded();
    assert!(ping(&lab.host, stranger.ip.into()));
    lab.ctl(&attach).succeeded();
    only_ours();
}

#[test]
fn a_child_that_somebody_added_is_taken_up_by_the_next_attach() {
    needs!(require::lab, require::binary);
    let lab = Lab::new();
    lab.ctl(&["attach", "eth0"]).succeeded();
    let web = made_there(&lab, "web", Mode::Bridge);
    assert!(is_silent(&lab.host, web.ip.into()));

    lab.ctl(&["attach", "eth0"]).succeeded();

    assert_eq!(members(&lab), BTreeSet::from([web.mac]));
    assert!(ping(&lab.host, web.ip.into()));
    assert!(ping(&web, lab.host.ip.into()));
}

#[test]
fn a_child_that_somebody_deleted_is_forgotten_by_the_next_attach() {
    needs!(require::lab, require::binary);
    let lab = Lab::new();
    let (web, db) = (lab.child("web", Mode::Bridge), lab.child("db", Mode::Bridge));
    lab.ctl(&["attach", "eth0"]).succeeded();
    web.ns.ip("link del web");
    assert_eq!(names_of(&status(&lab)), BTreeSet::from(["db".to_owned()]));

    lab.ctl(&["attach", "eth0"]).succeeded();

    assert_eq!(members(&lab), BTreeSet::from([db.mac]));
    assert!(ping(&lab.host, db.ip.into()));
}

#[test]
fn a_child_that_somebody_readdressed_is_known_by_its_new_mac_after_the_next_attach() {
    needs!(require::lab, require::binary);
    let lab = Lab::new();
    let mut web = lab.child("web", Mode::Bridge);
    lab.ctl(&["attach", "eth0"]).succeeded();
    assert!(ping(&lab.host, web.ip.into()));
    web.mac = Mac::new([0x02, 0, 0, 0, 7, 7]);
    web.ns.ip(&format!("link set web address {}", web.mac));
    lab.host.knows(&web);
    assert!(is_silent(&lab.host, web.ip.into()));

    lab.ctl(&["attach", "eth0"]).succeeded();

    assert_eq!(members(&lab), BTreeSet::from([web.mac]));
    assert!(ping(&lab.host, web.ip.into()));
    assert!(ping(&web, lab.host.ip.into()));
}

#[test]
fn a_mode_that_somebody_changed_inside_counts_once_it_is_asked_for() {
    needs!(require::lab, require::binary);
    let lab = Lab::new();
    let web = lab.child("web", Mode::Bridge);
    lab.ctl(&["attach", "eth0"]).succeeded();
    for (mode, reaches_host) in [("vepa", false), ("private", true), ("vepa", false), ("bridge", true)] {
        web.ns.ip(&format!("link set web type macvlan mode {mode}"));

        lab.ctl(&["attach", "eth0"]).succeeded();

        assert_eq!(child(&status(&lab), "web")["mode"], mode);
        assert!(status(&lab)["degraded"].to_string().contains("\"mode\""), "{mode}");
        lab.ctl(&["child", "set", "eth0", &format!("web,mode={mode}")]).succeeded();
        assert!(!status(&lab)["degraded"].to_string().contains("\"mode\""), "{mode}");
        let answers =
            if reaches_host { ping(&lab.host, web.ip.into()) } else { !is_silent(&lab.host, web.ip.into()) };
        assert_eq!(answers, reaches_host, "{mode}");
    }
}

#[test]
fn a_child_that_moved_to_another_namespace_is_found_there() {
    needs!(require::lab, require::binary);
    let lab = Lab::new();
    let web = lab.child("web", Mode::Bridge);
    lab.ctl(&["attach", "eth0"]).succeeded();
    let there = lab.newcomer("web");
    lab.mounts().name_netns("there", &there.ns);
    web.ns.ip(&format!("link set web netns {}", there.ns.path().display()));
    bring_up(&there);

    lab.ctl(&["attach", "eth0"]).succeeded();

    assert_eq!(child(&status(&lab), "web")["netns"], "there");
    assert_eq!(members(&lab), BTreeSet::from([web.mac]));
    assert!(ping(&lab.host, there.ip.into()));
}

#[test]
fn detach_deletes_only_what_we_made() {
    needs!(require::lab, require::tc, require::binary);
    let lab = Lab::new();
    let stranger = lab.child("stranger", Mode::Bridge);
    lab.host.ns.ip("link add link eth0 name near type macvlan mode bridge");
    let web = lab.newcomer("web");
    let before = Traces::of(&lab);
    let left = [devices(&stranger), devices(&lab.host)];
    for children in
        [&["attach", "eth0", "--child", &spec(&web, ""), "--child", "db"][..], &["attach", "eth0"]]
    {
        lab.ctl(children).succeeded();
        lab.ctl(&["detach", "eth0", "--delete-children"]).succeeded();

        assert!(devices(&web).is_empty());
        assert_eq!([devices(&stranger), devices(&lab.host)], left);
        assert_eq!(Traces::of(&lab), before);
    }
}

#[test]
fn detach_keeps_every_child_unless_told_otherwise() {
    needs!(require::lab, require::tc, require::binary);
    let lab = Lab::new();
    let stranger = lab.child("stranger", Mode::Bridge);
    let web = lab.newcomer("web");
    lab.ctl(&["attach", "eth0", "--child", &spec(&web, "")]).succeeded();
    let there = [devices(&web), devices(&stranger)];

    lab.ctl(&["detach", "eth0"]).succeeded();

    assert_eq!([devices(&web), devices(&stranger)], there);
    assert!(ping(&web, stranger.ip.into()));
    // It is still known to be ours.
    lab.ctl(&["detach", "eth0", "--delete-children"]).succeeded();
    assert!(devices(&web).is_empty());
    assert_eq!(devices(&stranger).len(), 1);
}

#[test]
fn a_child_of_somebody_else_is_neither_deleted_nor_changed() {
    needs!(require::lab, require::tc, require::binary);
    let lab = Lab::new();
    let stranger = lab.child("stranger", Mode::Bridge);
    let web = lab.newcomer("web");
    lab.ctl(&["attach", "eth0", "--child", &spec(&web, "")]).succeeded();
    let before = (Traces::of(&lab), devices(&stranger), devices(&web), members(&lab));
    for (line, remedy) in [
        (&["child", "del", "eth0", "stranger"][..], "ip link del"),
        (&["child", "del", "eth0", &named(&web, ""), "stranger"], "ip link del"),
        (&["child", "set", "eth0", "stranger,mode=private"], "ip link set"),
        (&["child", "set", "eth0", "stranger,mac=02:00:00:00:07:07"], "ip link set"),
        (&["child", "set", "eth0", &named(&web, "mtu=1300"), "stranger,down"], "ip link set"),
    ] {
        let ran = lab.ctl(line);
        let message = ran.failed(1);
        for part in ["\"stranger\"", "macvlan-ctl did not make it", remedy] {
            assert!(message.contains(part), "{part:?} is wanted in: {message}");
        }
        let after = (Traces::of(&lab), devices(&stranger), devices(&web), members(&lab));
        assert_eq!(after, before, "{line:?}");
    }
}

/// A child of somebody else's, made directly in its namespace: the kernel gives that no number
/// then, by which it could be found from the master's.
#[track_caller]
fn made_there(lab: &Lab, name: &str, mode: Mode) -> Station {
    let station = lab.newcomer(name);
    make(lab, &station, mode);
    bring_up(&station);
    station
}

#[track_caller]
fn make(lab: &Lab, station: &Station, mode: Mode) {
    let Station { ns, dev, mac, .. } = station;
    lab.host.ns.ip(&format!(
        "link add link eth0 name {dev} address {mac} netns {} type macvlan mode {}",
        ns.path().display(),
        mode.as_str()
    ));
}

#[track_caller]
fn bring_up(station: &Station) {
    let Station { ns, dev, ip, .. } = station;
    ns.ip_batch([format!("addr add {ip}/24 dev {dev}"), format!("link set {dev} up")]);
}
