//! What cannot be done is refused with one line that says what is wrong and what helps, and
//! nothing is changed.

use std::fs;

use macvlan_common::child::Mode;
use macvlan_tests::{
    cli::{self, Ran},
    control::{devices, spec},
    fail::OrFail as _,
    lab::Lab,
    leak::Traces,
    needs,
    netns::Netns,
    require,
};

/// Runs the command, which must fail with one line that has all of these parts, and change nothing.
#[track_caller]
fn refused(lab: &Lab, args: &[&str], parts: &[&str]) {
    let before = Traces::of(lab);
    says(&lab.ctl(args), parts);
    assert_eq!(Traces::of(lab), before, "{args:?} left something");
}

/// Whether a command failed with one line that has all of these parts.
#[track_caller]
fn says(ran: &Ran, parts: &[&str]) {
    let message = ran.failed(1);
    assert!(message.starts_with("macvlan-ctl: "), "{message}");
    for part in parts {
        assert!(message.contains(part), "{part:?} is wanted in: {message}");
    }
    assert_eq!(ran.stdout, "", "nothing but the error is wanted");
}

#[test]
fn a_missing_device_is_named_by_every_command() {
    needs!(require::lab, require::tc, require::binary);
    let lab = Lab::new();
    for args in [
        &["attach", "nowhere"][..],
        &["attach", "nowhere", "--dry-run"],
        &["detach", "nowhere"],
        &["status", "nowhere"],
        &["stats", "nowhere"],
        &["child", "list", "nowhere"],
        &["child", "add", "nowhere", "web"],
        &["child", "del", "nowhere", "web"],
        &["child", "set", "nowhere", "web,up"],
    ] {
        refused(&lab, args, &["\"nowhere\"", "no such device"]);
    }
}

#[test]
fn a_master_whose_name_no_device_can_have_is_refused_as_such() {
    needs!(require::lab, require::binary);
    let lab = Lab::new();
    for command in ["attach", "detach", "status", "run"] {
        refused(
            &lab,
            &[command, "sixteen-bytes-xx"],
            &["\"sixteen-bytes-xx\"", "too long: 16 bytes, at most 15"],
        );
    }
}

#[test]
fn a_master_that_is_down_is_refused_with_the_way_up() {
    needs!(require::lab, require::tc, require::binary);
    let lab = Lab::new();
    lab.host.ns.ip("link set eth0 down");
    for args in [&["attach", "eth0", "--child", "web"][..], &["child", "add", "eth0", "web"]] {
        refused(&lab, args, &["\"eth0\"", "it is down", "ip link set eth0 up"]);
    }
}

#[test]
fn the_loopback_device_is_refused() {
    needs!(require::lab, require::tc, require::binary);
    let lab = Lab::new();
    refused(&lab, &["attach", "lo"], &["\"lo\"", "loopback", "name a physical"]);
}

#[test]
fn a_port_of_a_bridge_is_refused_in_favour_of_the_bridge() {
    needs!(require::lab, require::tc, require::binary);
    let lab = Lab::new();
    lab.host.ns.ip("link add br0 type bridge");
    lab.host.ns.ip("link set eth0 master br0");
    refused(&lab, &["attach", "eth0"], &["\"eth0\"", "port of bridge \"br0\"", "attach to \"br0\" instead"]);
}

#[test]
fn a_child_is_refused_in_favour_of_its_master() {
    needs!(require::lab, require::tc, require::binary);
    let lab = Lab::new();
    lab.host.ns.ip("link add link eth0 name mv0 type macvlan mode bridge");
    lab.host.ns.ip("link set mv0 up");
    refused(&lab, &["attach", "mv0"], &["\"mv0\"", "macvlan", "attach to its master"]);
}

#[test]
fn a_device_without_ethernet_is_refused() {
    needs!(require::lab, require::tc, require::binary);
    let lab = Lab::new();
    lab.host.ns.ip("tuntap add dev tun0 mode tun");
    refused(&lab, &["attach", "tun0"], &["\"tun0\"", "not an Ethernet device"]);
}

#[test]
fn a_name_that_is_taken_is_refused() {
    needs!(require::lab, require::tc, require::binary);
    let lab = Lab::new();
    let taken = &["child \"lo\"", "another device of that name", "choose another name"];
    refused(&lab, &["attach", "eth0", "--child", "lo"], taken);
    refused(&lab, &["attach", "eth0", "--child", "good", "--child", "lo"], taken);
    refused(&lab, &["attach", "eth0", "--child", "web", "--child", "web"], &["child \"web\"", "given twice"]);
    let other = Netns::new();
    let lo = format!("lo,netns={}", other.path().display());
    refused(&lab, &["attach", "eth0", "--child", &lo], taken);
}

#[test]
fn a_mac_that_is_taken_is_refused() {
    needs!(require::lab, require::tc, require::binary);
    let lab = Lab::new();
    let child = lab.child("db", Mode::Bridge);
    for (spec, parts) in [
        (format!("web,mac={}", lab.host.mac), &["\"web\"", "is that of \"eth0\"", "its own"][..]),
        (format!("web,mac={}", child.mac), &["\"web\"", "belongs to child \"db\""]),
    ] {
        refused(&lab, &["attach", "eth0", "--child", &spec], parts);
        refused(&lab, &["child", "add", "eth0", &spec], parts);
    }
    let mac = "mac=02:00:00:00:07:07";
    let twice = ["attach", "eth0", "--child", &format!("a0,{mac}"), "--child", &format!("b0,{mac}")];
    refused(&lab, &twice, &["\"b0\"", "02:00:00:00:07:07", "\"a0\""]);
}

#[test]
fn an_mtu_that_does_not_fit_is_refused() {
    needs!(require::lab, require::tc, require::binary);
    let lab = Lab::new();
    refused(&lab, &["attach", "eth0", "--child", "web,mtu=1501"], &["\"web\"", "1501", "1500 of \"eth0\""]);
    refused(&lab, &["child", "add", "eth0", "web,mtu=67"], &["\"web\"", "67", "68"]);
}

#[test]
fn a_namespace_that_is_none_is_refused() {
    needs!(require::lab, require::tc, require::binary);
    let lab = Lab::new();
    for (netns, parts) in [
        ("nowhere", &["no network namespace \"nowhere\"", "ip netns list"][..]),
        ("/nowhere", &["\"/nowhere\""]),
        ("/etc/passwd", &["cannot use \"/etc/passwd\": it is not a network namespace"]),
        ("/proc/self/ns/mnt", &["cannot use \"/proc/self/ns/mnt\": it is not a network namespace"]),
        ("4194999", &["no process 4194999"]),
    ] {
        refused(&lab, &["attach", "eth0", "--child", &format!("web,netns={netns}")], parts);
        refused(&lab, &["child", "add", "eth0", "good", &format!("web,netns={netns}")], parts);

        let mut inside = lab.command(&lab.host.ns, cli::binary());
        says(&cli::output(inside.args(["-n", netns, "status"])), parts);
    }
}

#[test]
fn a_passthru_child_and_siblings_exclude_each_other() {
    needs!(require::lab, require::tc, require::binary);
    let lab = Lab::new();
    let passthru = ["attach", "eth0", "--child", "a0,mode=passthru", "--child", "b0"];
    refused(&lab, &passthru, &["\"b0\"", "passthru", "\"eth0\""]);
    let child = lab.child("db", Mode::Bridge);
    refused(&lab, &["child", "add", "eth0", "web,mode=passthru"], &["\"web\"", "passthru", "\"eth0\" has 1"]);
    child.ns.ip("link del db");
    let _whole = lab.child("whole", Mode::Passthru);
    refused(&lab, &["attach", "eth0", "--child", "web"], &["\"web\"", "passthru child", "delete that first"]);
}

#[test]
fn more_children_than_the_maximum_are_refused() {
    needs!(require::lab, require::tc, require::binary);
    let lab = Lab::new();
    let (_one, _two) = (lab.child("one", Mode::Bridge), lab.child("two", Mode::Bridge));
    let room = &["3 children", "maximum of 2", "--max-children 4"];
    refused(&lab, &["attach", "eth0", "--max-children", "2", "--child", "three"], room);

    lab.ctl(&["attach", "eth0", "--max-children", "2"]).succeeded();
    refused(&lab, &["child", "add", "eth0", "three"], room);
    refused(&lab, &["attach", "eth0", "--child", "three"], room);
    refused(&lab, &["attach", "eth0", "--max-children", "3"], &["maximum of 2", "detach first"]);
}

#[test]
fn when_one_of_several_children_cannot_be_none_is_left() {
    needs!(require::lab, require::tc, require::binary);
    let lab = Lab::new();
    let elsewhere = lab.newcomer("good");
    // Nothing reaches that gateway: the kernel finds out last, with both devices made.
    let good = spec(&elsewhere, "");
    let bad = "web,ip=10.9.0.90/24,gw=10.66.0.1";
    refused(&lab, &["attach", "eth0", "--child", &good, "--child", bad], &["\"web\"", "10.66.0.1"]);
    assert!(devices(&elsewhere).is_empty(), "a child was left in another namespace");

    lab.ctl(&["attach", "eth0"]).succeeded();
    refused(&lab, &["child", "add", "eth0", &good, bad], &["\"web\"", "10.66.0.1"]);
    assert!(devices(&elsewhere).is_empty(), "a child was left in another namespace");
}

#[test]
fn a_child_that_is_not_there_is_named() {
    needs!(require::lab, require::tc, require::binary);
    let lab = Lab::new();
    lab.ctl(&["attach", "eth0"]).succeeded();
    for (verb, child) in
        [("del", "web"), ("set", "web,ra=off"), ("set", "docker:web,ra=off"), ("del", "10.9.0.9")]
    {
        let name = child.split(',').next().unwrap_or_default();
        refused(
            &lab,
            &["child", verb, "eth0", child],
            &[&format!("child {name:?}"), "\"eth0\"", "child list eth0"],
        );
    }
}

#[test]
fn another_user_than_root_is_told_so() {
    needs!(require::lab, require::tc, require::setpriv, require::binary);
    const NOBODY: &str = "65534";
    const COPY: &str = "/run/macvlan-ctl-copy";
    let lab = Lab::new();
    // The program may lie where only root can go.
    lab.mounts().enter(|| fs::copy(cli::binary(), COPY)).or_fail("copy the program");
    let before = Traces::of(&lab);
    for args in [&["attach", "eth0"][..], &["status"], &["demo"]] {
        let mut command = lab.command(&lab.host.ns, "setpriv");
        command.args(["--reuid", NOBODY, "--regid", NOBODY, "--clear-groups", COPY]).args(args);
        says(&cli::output(&mut command), &["root is needed", "sudo"]);
    }
    assert_eq!(Traces::of(&lab), before);
}
