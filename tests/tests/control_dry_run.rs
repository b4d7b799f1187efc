//! `--dry-run`: the steps that the command then takes, and nothing done.

use std::collections::BTreeSet;

use macvlan_common::child::Mode;
use macvlan_tests::{
    control::{devices, members, named, spec},
    footprint::Footprint,
    lab::{Lab, Station},
    leak::Traces,
    needs, require,
};

#[test]
fn of_attach_says_what_would_be_done_and_changes_nothing() {
    needs!(require::lab, require::tc, require::binary);
    let lab = Lab::new();
    let stranger = lab.newcomer("stranger");
    lab.mounts().name_netns("blue", &stranger.ns);
    // Made there directly, the kernel has no number for that namespace yet.
    let (mac, path) = (stranger.mac, stranger.ns.path());
    lab.host.ns.ip(&format!(
        "link add link eth0 name stranger address {mac} netns {} type macvlan mode bridge",
        path.display()
    ));
    let web = lab.newcomer("web");
    let before = Footprint::of(&lab);

    let web_spec = spec(&web, "mode=private,gw=10.9.0.1");
    let line = ["attach", "eth0", "--dry-run", "--child", &web_spec];
    let ran = lab.ctl(&line).succeeded();

    assert!(devices(&web).is_empty());
    let steps: Vec<&str> = ran.stdout.lines().collect();
    let [create, adopt, attach] = steps.as_slice() else { panic!("three steps are wanted: {steps:#?}") };
    for part in ["create macvlan \"web\"", "private", &web.mac.to_string(), "10.9.0.", "gateway 10.9.0.1"] {
        assert!(create.contains(part), "{part:?} is wanted in: {create}");
    }
    assert_eq!(*adopt, format!("adopt macvlan \"stranger\" in netns \"blue\" ({mac})"));
    assert!(attach.contains("attach the data path to \"eth0\""), "{attach}");
    let json = lab.ctl(&[&["-j"], &line[..]].concat()).succeeded().json();
    assert_eq!(json, serde_json::json!({"steps": steps, "warnings": [], "forgotten": []}));
    before.assert_same(&Footprint::of(&lab));
}

#[test]
fn of_attach_on_an_attached_device_says_what_would_change() {
    needs!(require::lab, require::tc, require::binary);
    let lab = Lab::new();
    let (web, db) = (lab.child("web", Mode::Bridge), lab.child("db", Mode::Bridge));
    lab.ctl(&["attach", "eth0"]).succeeded();
    web.ns.ip("link del web");
    let before = Traces::of(&lab);

    let ran = lab.ctl(&["attach", "eth0", "--dry-run"]).succeeded();

    let forget = format!("forget {}, which is no child any more", web.mac);
    assert_eq!(ran.stdout.lines().collect::<Vec<_>>(), [forget.as_str(), "keep the data path on \"eth0\""]);
    assert_eq!(Traces::of(&lab), before);
    assert_eq!(members(&lab), BTreeSet::from([web.mac, db.mac]));
}

#[test]
fn of_child_add_says_what_would_be_made() {
    needs!(require::lab, require::binary);
    let (lab, web) = attached();
    let db = lab.newcomer("db");
    let steps = dry_then_done(
        &lab,
        &["child", "add", "eth0", &spec(&db, "mode=private,host-access=off"), &named(&web, "")],
    );
    let [create, keep] = steps.as_slice() else { panic!("two steps are wanted: {steps:#?}") };
    for part in ["create macvlan \"db\" in mode private", &db.mac.to_string(), "host access off"] {
        assert!(create.contains(part), "{part:?} is wanted in: {create}");
    }
    assert!(keep.starts_with("keep macvlan \"web\""), "{keep}");
    assert_eq!(members(&lab), BTreeSet::from([web.mac, db.mac]));
}

#[test]
fn of_child_set_says_what_would_change() {
    needs!(require::lab, require::binary);
    let (lab, web) = attached();
    let change = named(&web, "mtu=1300,host-access=off,anti-spoof=mac,ip=10.9.0.77/24");
    let steps = dry_then_done(&lab, &["child", "set", "eth0", &change]);
    let title = "macvlan \"web\" in netns \"home\"";
    assert_eq!(
        steps,
        [
            format!("change {title}: MTU 1500 to 1300, address 10.9.0.77/24"),
            format!("turn host access of {title} off"),
            format!("set anti-spoof mac for {title}"),
        ]
    );
    // It is so already.
    assert_eq!(dry_then_done(&lab, &["child", "set", "eth0", &change]), [format!("keep {title}")]);
}

#[test]
fn of_child_del_and_detach_says_what_would_go() {
    needs!(require::lab, require::binary);
    let (lab, web) = attached();
    let title = "macvlan \"web\" in netns \"home\"";
    let take_off = "take the data path off \"eth0\"".to_owned();
    let deletes = ["detach", "eth0", "--delete-children", "--dry-run"];
    let ran = lab.ctl(&deletes).succeeded();
    assert_eq!(lines(&ran.stdout), [take_off.clone(), format!("delete {title}")]);
    assert_eq!(devices(&web).len(), 1);

    assert_eq!(dry_then_done(&lab, &["child", "del", "eth0", &named(&web, "")]), [format!("delete {title}")]);
    assert!(devices(&web).is_empty());
    assert_eq!(dry_then_done(&lab, &["detach", "eth0"]), [take_off]);
    let nothing = "leave \"eth0\": nothing is attached to it";
    assert_eq!(dry_then_done(&lab, &["detach", "eth0"]), [nothing]);
}

#[test]
fn of_what_cannot_be_done_is_refused_as_well() {
    needs!(require::lab, require::binary);
    let (lab, web) = attached();
    let before = Footprint::of(&lab);
    for line in [
        &["child", "add", "eth0", "web,mtu=9000"][..],
        &["child", "set", "eth0", "nobody,mtu=1300"],
        &["child", "set", "eth0", &named(&web, "mtu=1300"), &named(&web, "down")],
        &["child", "set", "eth0", &named(&web, "group=nobody")],
        &["child", "del", "eth0", "nobody"],
        &["child", "del", "eth0", &named(&web, ""), &named(&web, "")],
        &["detach", "nowhere"],
    ] {
        let dry = lab.ctl(&[line, &["--dry-run"]].concat());
        let done = lab.ctl(line);
        assert_eq!((dry.code(), dry.stdout.as_str()), (1, ""), "{}", dry.report());
        assert_eq!((&dry.stderr, dry.code()), (&done.stderr, done.code()));
    }
    before.assert_same(&Footprint::of(&lab));
}

/// A lab that is attached, with a child `web` of ours in the namespace `home`.
#[track_caller]
fn attached() -> (Lab, Station) {
    let lab = Lab::new();
    let web = lab.newcomer("web");
    lab.mounts().name_netns("home", &web.ns);
    lab.ctl(&["attach", "eth0", "--require-bpf", "--child", &spec(&web, "")]).succeeded();
    (lab, web)
}

/// The steps that a dry run tells, which changes nothing; in JSON the same, and `-v` tells them when they
/// are done.
#[track_caller]
fn dry_then_done(lab: &Lab, line: &[&str]) -> Vec<String> {
    let before = Footprint::of(lab);
    let dry = [line, &["--dry-run"]].concat();
    let told = lines(&lab.ctl(&dry).succeeded().stdout);
    let json = lab.ctl(&[&["-j"], &dry[..]].concat()).succeeded().json();
    assert_eq!(json, serde_json::json!({"steps": told, "warnings": [], "forgotten": []}));
    before.assert_same(&Footprint::of(lab));
    let done = lab.ctl(&[&["-v"], line].concat()).succeeded();
    assert_eq!(lines(&done.stdout), told);
    told
}

fn lines(text: &str) -> Vec<String> {
    text.lines().map(str::to_owned).collect()
}
