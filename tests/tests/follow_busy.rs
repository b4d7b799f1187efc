//! `run` beside a command that keeps a master to itself.

use std::{
    fs::{self, File},
    os::unix::fs::MetadataExt as _,
    path::Path,
};

use macvlan_common::child::Mode;
use macvlan_tests::{
    control::status, fail::OrFail as _, fail::wait_for, following::Following, lab::Lab, leak::pins, needs,
    require, talk::ping,
};

/// Where the lock files are.
const LOCKS: &str = "/run/macvlan-ctl";

/// The lock of the lab's master, held as by another command.
#[track_caller]
fn hold(lab: &Lab, key: &str) -> File {
    lab.mounts().enter(|| {
        let path = Path::new(LOCKS).join(format!("{key}.lock"));
        loop {
            fs::create_dir_all(LOCKS).or_fail("make the directory of locks");
            let Ok(file) = File::create(&path) else { continue };
            file.lock().or_fail("take the lock");
            // Its holder removes the file when it lets go.
            let own = file.metadata().or_fail("look at the lock file").ino();
            if fs::metadata(&path).is_ok_and(|there| there.ino() == own) {
                return file;
            }
        }
    })
}

/// What names the pin directory and the lock of the lab's master.
#[track_caller]
fn key(lab: &Lab) -> String {
    lab.ctl(&["attach", "eth0"]).succeeded();
    let pins = pins(lab);
    let names = pins.iter().filter_map(|pin| pin.file_name()?.to_str());
    let key = names.filter(|name| name.contains("-if")).map(str::to_owned).next();
    lab.ctl(&["detach", "eth0"]).succeeded();
    key.or_fail("find the pin directory")
}

#[test]
fn a_master_in_another_commands_hands_holds_nothing_else_up() {
    needs!(require::lab, require::tc, require::binary);
    let lab = Lab::new();
    let web = lab.child("web", Mode::Bridge);
    let held = hold(&lab, &key(&lab));

    let following = Following::start(&lab, &["eth0"]);

    following.wait_for_line("another macvlan-ctl is at work on \"eth0\"");
    // It goes on telling that it lives, and says once what it waits for.
    (0..3).for_each(|_| following.wait_for_word("WATCHDOG=1"));
    let told = following.lines().iter().filter(|line| line.contains("at work")).count();
    assert_eq!(told, 1, "{:#?}", following.lines());
    assert_eq!(status(&lab)["datapath"], "kernel");

    drop(held);
    wait_for("the data path", || (status(&lab)["datapath"] == "bpf").then_some(()));
    following.wait_for_members(&[&web]);
    assert!(ping(&lab.host, web.ip.into()));
}

#[test]
fn programs_that_vanish_meanwhile_are_put_back_when_the_other_command_has_ended() {
    needs!(require::lab, require::tc, require::tcx, require::binary);
    let lab = Lab::new();
    let web = lab.child("web", Mode::Bridge);
    let key = key(&lab);
    let following = Following::start(&lab, &["eth0"]);
    following.wait_for_members(&[&web]);
    let held = hold(&lab, &key);
    lab.mounts().enter(|| {
        let link = Path::new("/sys/fs/bpf/macvlan-ctl").join(&key).join("link_ingress");
        fs::remove_file(link).or_fail("remove a pin");
    });
    // An event: it looks, and finds the master busy.
    let db = lab.child("db", Mode::Bridge);
    (0..3).for_each(|_| following.wait_for_word("WATCHDOG=1"));
    assert_eq!(status(&lab)["datapath"], "kernel");

    drop(held);
    following.wait_for_line("attaching again");
    wait_for("the data path", || (status(&lab)["datapath"] == "bpf").then_some(()));
    following.wait_for_members(&[&web, &db]);
    assert!(ping(&lab.host, db.ip.into()));
}
