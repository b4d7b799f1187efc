//! Masters that vanished, parts that somebody took off, and commands that meet: the next command
//! puts right whatever is there.

use std::{ffi::OsStr, fs, path::PathBuf, process::Command, thread};

use macvlan_common::{child::Mode, mac::Mac, names};
use macvlan_tests::{
    cli,
    control::{devices, members, spec, status},
    fail::OrFail as _,
    lab::Lab,
    leak::Traces,
    needs, require,
    talk::ping,
};

const TCX: &[&str] = &["--tc", "tcx"];
const CLSACT: &[&str] = &["--tc", "clsact"];
const NATIVE: &[&str] = &["--xdp", "native"];

#[test]
fn a_child_half_made_by_a_killed_run_is_removed_by_the_next_command() {
    needs!(require::lab, require::tc, require::binary);
    // "mvlc": the group of a child in the making, which has no owner's mark yet.
    const UNFINISHED: &str = "group 1836477539";
    let lab = Lab::new();
    let elsewhere = lab.newcomer("web");
    let path = elsewhere.ns.path();
    for command in [&["attach", "eth0"][..], &["child", "add", "eth0", "db"], &["detach", "eth0"]] {
        lab.host.ns.ip(&format!("link add link eth0 name web {UNFINISHED} type macvlan mode bridge"));
        lab.host.ns.ip(&format!("link set web netns {}", path.display()));
        elsewhere.ns.ip(&format!("link set web {UNFINISHED}"));
        assert_eq!(devices(&elsewhere).len(), 1);

        lab.ctl(command).succeeded();

        assert!(devices(&elsewhere).is_empty(), "{command:?} left the half-made child");
    }
}

#[test]
fn a_strangers_child_in_a_group_of_that_number_is_left_alone_once_it_is_up() {
    needs!(require::lab, require::tc, require::binary);
    let lab = Lab::new();
    let child = lab.child("web", Mode::Bridge);
    child.ns.ip("link set web group 1836477539");
    lab.ctl(&["attach", "eth0"]).succeeded();
    assert_eq!(devices(&child).len(), 1);
}

#[test]
fn a_master_made_anew_under_its_old_name_is_attached_anew() {
    needs!(require::lab, require::tc, require::binary);
    for args in [TCX, CLSACT, NATIVE] {
        let lab = Lab::new();
        let pins_before = Traces::of(&lab).pins;
        let mut attach = vec!["attach", "eth0", "--require-bpf"];
        attach.extend(args);
        lab.ctl(&attach).succeeded();
        lab.host.ns.ip("link del eth0");
        let path = lab.wire.ns.path();
        let mac = lab.host.mac;
        lab.host
            .ns
            .ip(&format!("link add eth0 address {mac} type veth peer name wire0 netns {}", path.display()));
        for (station, mac) in [(&lab.host, lab.host.mac), (&lab.wire, lab.wire.mac)] {
            let dev = &station.dev;
            station.ns.ip(&format!("link set {dev} address {mac} up"));
            station.ns.ip(&format!("addr add {}/24 dev {dev}", station.ip));
        }
        assert_eq!(status(&lab)["datapath"], "kernel", "the new master is not the old one");

        let web = lab.newcomer("web");
        attach.push("--child");
        let child = spec(&web, "");
        attach.push(&child);
        lab.ctl(&attach).succeeded();

        assert!(ping(&lab.host, web.ip.into()), "{args:?}");
        lab.ctl(&["detach", "eth0", "--delete-children"]).succeeded();
        assert_eq!(Traces::of(&lab).pins, pins_before, "{args:?}: pins of the old master were left");
    }
}

#[test]
fn filters_that_somebody_removed_are_put_back_by_the_next_attach() {
    needs!(require::lab, require::tc, require::binary);
    let remove = |lab: &Lab| {
        cli::run(lab.host.ns.command("tc").args(["qdisc", "del", "dev", "eth0", "clsact"]));
    };
    check_put_back(CLSACT, remove);
}

#[test]
fn links_that_somebody_removed_are_put_back_by_the_next_attach() {
    needs!(require::lab, require::tc, require::binary);
    for args in [TCX, NATIVE] {
        check_put_back(args, |lab| remove_pins(lab, |name| name.starts_with("link_")));
    }
}

#[test]
fn a_map_that_somebody_removed_is_put_back_by_the_next_attach() {
    needs!(require::lab, require::tc, require::binary);
    for args in [TCX, CLSACT, NATIVE] {
        check_put_back(args, |lab| remove_pins(lab, |name| name == names::CHILDREN));
    }
}

/// Removes the pins of these names, as somebody does who tidies up too well.
fn remove_pins(lab: &Lab, chosen: impl Fn(&str) -> bool) {
    let pins = Traces::of(lab).pins;
    let is_chosen = |pin: &&PathBuf| pin.file_name().and_then(OsStr::to_str).is_some_and(&chosen);
    let doomed: Vec<_> = pins.iter().filter(is_chosen).collect();
    assert!(!doomed.is_empty(), "no such pin in {pins:?}");
    lab.mounts().enter(|| doomed.into_iter().for_each(|pin| fs::remove_file(pin).or_fail("remove a pin")));
}

#[track_caller]
fn check_put_back(args: &[&str], remove: impl Fn(&Lab)) {
    let lab = Lab::new();
    let web = lab.newcomer("web");
    let child = spec(&web, "");
    let before = Traces::of(&lab);
    let attach = [&["attach", "eth0", "--require-bpf"], args].concat();
    lab.ctl(&[&attach[..], &["--child", &child]].concat()).succeeded();
    assert!(ping(&lab.host, web.ip.into()), "{args:?}");

    remove(&lab);
    assert_eq!(status(&lab)["datapath"], "kernel", "{args:?}: a part is missing");
    lab.ctl(&attach).succeeded();

    assert!(ping(&lab.host, web.ip.into()), "{args:?}: the hairpin is not back");
    lab.ctl(&["detach", "eth0", "--delete-children"]).succeeded();
    assert_eq!(Traces::of(&lab), before, "{args:?}");
}

#[test]
fn commands_at_the_same_time_take_turns() {
    needs!(require::lab, require::tc, require::binary);
    const WORKERS: u8 = 8;
    const TURNS: usize = 4;
    for args in [TCX, CLSACT] {
        let lab = Lab::new();
        let before = Traces::of(&lab);
        let mut attach = vec!["attach", "eth0", "--require-bpf"];
        attach.extend(args);
        lab.ctl(&attach).succeeded();
        thread::scope(|scope| {
            for number in 0..WORKERS {
                // Commands are all of the lab that crosses threads.
                let line = |args: &[&str]| lab.ctl_command(args);
                let mac = mac(number);
                let commands: Vec<Command> = (0..TURNS)
                    .flat_map(|_| {
                        let name = format!("w{number}");
                        let add = line(&["child", "add", "eth0", &format!("{name},mac={mac}")]);
                        [add, line(&["child", "del", "eth0", &name]), line(&attach)]
                    })
                    .chain([line(&["child", "add", "eth0", &format!("k{number},mac={mac}")])])
                    .collect();
                scope.spawn(move || {
                    for mut command in commands {
                        cli::output(&mut command).succeeded();
                    }
                });
            }
        });
        assert_eq!(members(&lab), (0..WORKERS).map(mac).collect(), "{args:?}");
        lab.ctl(&["detach", "eth0", "--delete-children"]).succeeded();
        assert_eq!(Traces::of(&lab), before, "{args:?}");
    }
}

fn mac(number: u8) -> Mac {
    Mac::new([0x02, 0, 0, 0, 7, number])
}
