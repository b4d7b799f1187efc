//! The BPF file system is unmounted while `run` follows: the data path, its counters and its settings live on.

use std::{
    fs,
    time::{Duration, Instant},
};

use macvlan_common::child::Mode;
use macvlan_tests::{
    attached::tc_means,
    control::{child, names_of, status},
    fail::{OrFail as _, wait_for},
    following::Following,
    lab::Lab,
    leak::{Traces, pins},
    needs, require,
    talk::{ping_within, reach_each_other},
};
use nix::sys::signal::Signal;

const SHORT: Duration = Duration::from_secs(1);

/// Longer than `run` takes to look without an event.
const LOOK: Duration = Duration::from_secs(7);

fn host_frames(lab: &Lab) -> u64 {
    let stats = lab.ctl(&["-j", "stats", "eth0"]).succeeded().json();
    child(&stats[0], "web")["host"]["rx"]["packets"].as_u64().or_fail("read a counter")
}

#[test]
fn the_data_path_lives_on_and_is_pinned_again_once_there_is_a_place() {
    needs!(require::lab, require::tc, require::binary);
    for tc in tc_means() {
        let lab = Lab::new();
        let web = lab.child("web", Mode::Bridge);
        let mac = lab.newcomer("own").mac;
        lab.host.ns.ip(&format!("link add link eth0 name own address {mac} up type macvlan mode bridge"));
        let following = Following::start(&lab, &["eth0", "--require-bpf", "--tc", tc, "--xdp", "generic"]);
        lab.ctl(&["child", "set", "eth0", "web,rate-tx=100mbit"]).succeeded();
        assert!(reach_each_other(&lab.host, &web));
        let (counted, mut before) = (host_frames(&lab), names(&lab));
        // It has given up the right to enter the namespace, where that is noted anew.
        before.retain(|name| !name.contains("/child_note_"));

        lab.mounts().without_bpffs();

        // From the first moment to well after the next look.
        let start = Instant::now();
        while start.elapsed() < LOOK {
            assert!(reach_each_other(&lab.host, &web), "{tc}: {:?} after the unmount", start.elapsed());
        }
        // It has given up the right to mount: it says what is needed.
        let said = following.wait_for_line("the BPF file system was unmounted");
        for part in ["cannot mount", "as long as this process", "mount -t bpf bpf /sys/fs/bpf"] {
            assert!(said.contains(part), "{part:?} is wanted in: {said}");
        }
        let said = following.lines();
        assert!(!said.iter().any(|line| line.contains("another command")), "{said:?}");

        lab.mounts().mount_bpffs();
        following.wait_for_line("pinned again, nothing was lost");

        let told = status(&lab);
        assert_eq!((&told["datapath"], &told["hairpin"]), (&"bpf".into(), &(*tc).into()));
        assert_eq!(child(&told, "web")["rate_tx"]["bits"], 100_000_000, "{tc}: settings are kept");
        assert!(host_frames(&lab) > counted, "{tc}: counters are kept");
        assert_eq!(names(&lab), before);
        let late = lab.child("late", Mode::Bridge);
        wait_for("the new child", || names_of(&status(&lab)).contains("late").then_some(()));
        assert!(reach_each_other(&lab.host, &late), "{tc}: it follows again");
        lab.ctl(&["detach", "eth0"]).succeeded();
        following.wait_for_line("another command has detached it");
        assert!(names(&lab).is_empty(), "{tc}");
        let own = Traces::of(&lab);
        assert!(own.own["own"].is_free() && !own.qdiscs.to_string().contains("clsact"), "{tc}: {own:#?}");
        assert!(!ping_within(&lab.host, web.ip.into(), SHORT), "{tc}: plain macvlan");
    }
}

#[test]
fn who_may_mount_mounts_it() {
    needs!(require::lab, require::tc, require::binary);
    let lab = Lab::new();
    let web = lab.child("web", Mode::Bridge);
    // Such a rule may ask for programs on devices elsewhere, for which the right to enter, and so to mount, is
    // kept.
    let path = std::env::temp_dir().join(format!("macvlan-tests-{}-bpffs.toml", std::process::id()));
    let rule = "[[master.policy]]\nmatch = { name = \"guest*\" }\nanti-spoof = \"ip\"\n";
    fs::write(&path, format!("[[master]]\nname = \"eth0\"\n{rule}")).or_fail("write a configuration");
    let following = Following::start(&lab, &["--config", path.to_str().or_fail("name it")]);
    fs::remove_file(&path).or_fail("remove the configuration");
    assert!(reach_each_other(&lab.host, &web));
    let before = names(&lab);
    lab.mounts().without_bpffs();
    following.wait_for_line("pinned again, nothing was lost");
    assert_eq!(names(&lab), before);
    assert!(reach_each_other(&lab.host, &web));
    assert_eq!(following.end(Signal::SIGTERM).code(), Some(0));
    assert!(reach_each_other(&lab.host, &web), "it is pinned: it needs nobody");
}

#[test]
fn what_others_take_off_meanwhile_is_not_put_back() {
    needs!(require::lab, require::tc, require::tcx, require::binary);
    let lab = Lab::new();
    let web = lab.child("web", Mode::Bridge);
    let following = Following::start(&lab, &["eth0", "--require-bpf", "--tc", "tcx"]);
    lab.mounts().without_bpffs();
    lab.ctl(&["detach", "eth0"]).succeeded();
    assert!(!reach_each_other(&lab.host, &web));
    following.wait_for_line("another command has detached it");
    lab.mounts().mount_bpffs();
    let start = Instant::now();
    while start.elapsed() < LOOK {
        assert!(!ping_within(&lab.host, web.ip.into(), SHORT), "it is back");
    }
    assert!(names(&lab).is_empty());
}

/// What is pinned of ours, by name.
fn names(lab: &Lab) -> Vec<String> {
    let ours = pins(lab).into_iter().filter(|pin| pin.starts_with("/sys/fs/bpf/macvlan-ctl"));
    ours.map(|pin| pin.to_string_lossy().into_owned()).collect()
}
