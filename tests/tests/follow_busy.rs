//! `run` beside a command that keeps a master to itself.

use std::{
    fs::{self, File},
    os::unix::fs::MetadataExt as _,
    path::Path,
    thread,
    time::{Duration, Instant},
};

use macvlan_common::child::Mode;
use macvlan_tests::{
    control::status, fail::OrFail as _, fail::wait_for, following::Following, lab::Lab, leak::pins, needs,
    require, talk::ping,
};
use nix::sys::signal::Signal;

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
    key_of(lab, "eth0")
}

#[track_caller]
fn key_of(lab: &Lab, master: &str) -> String {
    lab.ctl(&["attach", master]).succeeded();
    let pins = pins(lab);
    let names = pins.iter().filter_map(|pin| pin.file_name()?.to_str());
    let key = names.filter(|name| name.contains("-if")).map(str::to_owned).next();
    lab.ctl(&["detach", master]).succeeded();
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

#[test]
fn at_its_end_it_waits_for_another_command_and_detaches() {
    needs!(require::lab, require::tc, require::binary);
    let lab = Lab::new();
    let key = key(&lab);
    let mut following = Following::start(&lab, &["eth0", "--detach-on-exit"]);
    let held = hold(&lab, &key);
    let letting_go = thread::spawn(move || {
        thread::sleep(Duration::from_secs(1));
        drop(held);
    });

    let status_of_exit = following.stop(Signal::SIGTERM);

    assert!(status_of_exit.success(), "{:#?}", following.lines());
    assert_eq!(status(&lab)["datapath"], "kernel");
    letting_go.join().unwrap_or_else(|cause| std::panic::resume_unwind(cause));
}

#[test]
fn at_its_end_it_waits_for_all_other_commands_together_and_not_long() {
    needs!(require::lab, require::tc, require::binary);
    /// Docker, the least patient of those who stop services.
    const PATIENCE: Duration = Duration::from_secs(10);
    let lab = Lab::new();
    lab.host
        .ns
        .ip_batch(["link add lan0 type veth peer name port1".to_owned(), "link set lan0 up".to_owned()]);
    let keys = ["eth0", "lan0"].map(|name| key_of(&lab, name));
    let mut following = Following::start(&lab, &["eth0", "lan0", "--detach-on-exit"]);
    let _held = keys.each_ref().map(|key| hold(&lab, key));

    let start = Instant::now();
    let status_of_exit = following.stop(Signal::SIGTERM);

    let took = start.elapsed();
    assert!(took < PATIENCE, "it took {took:?}");
    assert_eq!(status_of_exit.code(), Some(1));
    for name in ["eth0", "lan0"] {
        following.wait_for_line(&format!("cannot detach from {name:?}: another macvlan-ctl is at work"));
    }
}
