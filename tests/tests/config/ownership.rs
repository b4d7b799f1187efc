//! What is ours is deleted when the file says so, what is not is never touched.

use macvlan_common::child::Mode;
use macvlan_tests::{
    control::{child, devices, members, names_of, spec, status},
    lab::Lab,
    needs, require,
    talk::{is_silent, ping},
};

use super::{
    Everything, apply, assert_differs, assert_same, assert_up_to_date, child_table, configure, device,
    master, with_file,
};

#[test]
fn children_of_ours_that_are_not_in_the_file_are_reported_or_deleted_and_strangers_stay() {
    needs!(require::lab, require::tc, require::binary);
    let lab = Lab::new();
    let (web, old) = (lab.newcomer("web"), lab.newcomer("old"));
    lab.mounts().name_netns("old", &old.ns);
    let stranger = lab.child("stranger", Mode::Bridge);
    lab.ctl(&["attach", "eth0", "--child", &spec(&old, "")]).succeeded();
    configure(&lab, master("") + &child_table(&web, ""));

    let ran = apply(&lab);

    assert!(
        ran.stderr.contains("child \"old\" in netns \"old\" of \"eth0\" is ours and not in the file"),
        "{}",
        ran.report()
    );
    assert_eq!(ran.stderr.lines().count(), 1);
    assert_eq!(devices(&old).len(), 1);
    let checked = with_file(&lab, "check", &[]).succeeded();
    assert_eq!((checked.stdout.as_str(), checked.stderr), ("up to date\n", ran.stderr));

    configure(&lab, master("prune = true") + &child_table(&web, ""));
    assert_differs(&lab, &[&web, &old, &stranger], &["delete macvlan \"old\" in netns \"old\""]);
    apply(&lab);

    assert!(devices(&old).is_empty());
    assert_eq!((devices(&web).len(), devices(&stranger).len()), (1, 1));
    assert_eq!(members(&lab), [web.mac, stranger.mac].into());
    assert!(ping(&lab.host, web.ip.into()) && ping(&lab.host, stranger.ip.into()));
    assert_up_to_date(&lab);
}

#[test]
fn nothing_is_deleted_when_something_else_fails() {
    needs!(require::lab, require::tc, require::binary);
    let lab = Lab::new();
    let (web, old) = (lab.newcomer("web"), lab.newcomer("old"));
    lab.ctl(&["attach", "eth0", "--child", &spec(&old, "host-access=off")]).succeeded();
    let before = Everything::of(&lab, &[&old]);
    configure(&lab, master("prune = true") + &child_table(&web, "gw = [\"192.0.2.1\"]"));
    with_file(&lab, "apply", &[]).failed(1);
    assert_same(&Everything::of(&lab, &[&old]), &before, "taken back");
}

#[test]
fn a_strangers_child_is_never_changed_but_for_who_may_talk_to_it() {
    needs!(require::lab, require::tc, require::binary);
    let lab = Lab::new();
    let web = lab.child("web", Mode::Bridge);
    lab.mounts().name_netns("web", &web.ns);
    let before = (device(&web), web.ns.ip_json("addr show"));
    for lines in ["mode = \"private\"", "mtu = 1300", "bcqueuelen = 77", "up = false", "gw = [\"10.9.0.1\"]"]
    {
        configure(&lab, master("prune = true") + &child_table(&web, lines));
        let ran = with_file(&lab, "apply", &[]);
        assert!(ran.failed(1).contains("macvlan-ctl did not make it"), "{}", ran.report());
        assert_eq!(status(&lab)["datapath"], "kernel", "{lines}: something was done");
    }

    configure(&lab, master("adopt = false") + &child_table(&web, "host-access = false"));
    let ran = with_file(&lab, "apply", &[]);
    assert!(ran.failed(1).contains("adopt = false leaves its policy alone"), "{}", ran.report());

    configure(&lab, master("prune = true") + &child_table(&web, "host-access = false"));
    apply(&lab);
    assert!(is_silent(&lab.host, web.ip.into()));
    assert_up_to_date(&lab);
    configure(&lab, master("prune = true"));
    apply(&lab);
    assert_eq!(names_of(&status(&lab)), ["web".to_owned()].into());
    assert_eq!(child(&status(&lab), "web")["owned"], false);
    assert_eq!((device(&web), web.ns.ip_json("addr show")), before);
}

#[test]
fn a_device_of_another_kind_keeps_its_name() {
    needs!(require::lab, require::tc, require::binary);
    let lab = Lab::new();
    lab.host.ns.ip("link add web type veth peer name peer");
    configure(&lab, master("prune = true\n[[master.child]]\nname = \"web\""));
    let before = Everything::of(&lab, &[]);
    let ran = with_file(&lab, "apply", &[]);
    assert!(ran.failed(1).contains("another device of that name"), "{}", ran.report());
    assert_same(&Everything::of(&lab, &[]), &before, "refused");
}

#[test]
fn what_a_killed_run_left_half_made_is_told_by_check_and_removed_by_apply() {
    needs!(require::lab, require::tc, require::binary);
    // "mvlc": the group of a child in the making, which has no owner's mark yet.
    const UNFINISHED: &str = "group 1836477539";
    let lab = Lab::new();
    let web = lab.newcomer("web");
    lab.mounts().name_netns("web", &web.ns);
    configure(&lab, master("") + &child_table(&web, ""));
    lab.host.ns.ip(&format!("link add link eth0 name web {UNFINISHED} type macvlan mode bridge"));
    lab.host.ns.ip(&format!("link set web netns {}", web.ns.path().display()));
    web.ns.ip(&format!("link set web {UNFINISHED}"));
    assert_differs(
        &lab,
        &[&web],
        &["which was left half made", "create macvlan \"web\"", "attach the data path"],
    );
    apply(&lab);
    assert_eq!(device(&web)["address"], web.mac.to_string());
    assert_up_to_date(&lab);
}
