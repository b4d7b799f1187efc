//! `doctor`: real findings, on masters and machines that have something about them.

use std::process::Command;

use macvlan_common::child::Mode;
use macvlan_tests::{
    cli::{self, Ran},
    deny,
    fail::{OrFail as _, wait_for},
    foreign::{Foreign, Order, Place},
    lab::Lab,
    leak::Traces,
    needs, require,
};
use serde_json::Value;

/// The finding of this check about the master, or about the machine.
#[track_caller]
fn finding<'a>(findings: &'a Value, check: &str) -> &'a Value {
    let all = findings.as_array().or_fail("read findings");
    let found = all.iter().find(|finding| finding["check"] == check);
    found.or_fail(format!("find {check} in {findings:#}"))
}

#[track_caller]
fn assert_status(findings: &Value, check: &str, status: &str, part: &str) {
    let finding = finding(findings, check);
    assert_eq!(finding["status"], status, "{finding:#}");
    let found = finding["found"].as_str().or_fail("read what was found");
    assert!(found.contains(part), "{part:?} is wanted in: {found}");
}

/// The findings, and whether the exit status fits them.
#[track_caller]
fn findings(ran: &Ran) -> Value {
    let findings = ran.json();
    let all = findings.as_array().or_fail("read findings");
    for finding in all {
        for key in ["check", "status", "found", "reason"] {
            assert!(finding[key].as_str().is_some_and(|text| !text.is_empty()), "{key} in {finding:#}");
        }
        assert!(finding["remedy"].is_null() || finding["remedy"].is_string(), "{finding:#}");
        if finding["status"] == "problem" && finding["check"] != "master" {
            assert!(finding["remedy"].is_string(), "a problem without a remedy: {finding:#}");
        }
    }
    let problems = all.iter().filter(|finding| finding["status"] == "problem").count();
    assert_eq!(ran.code(), i32::from(problems > 0), "{}", ran.report());
    findings
}

#[track_caller]
fn doctor(lab: &Lab) -> Value {
    findings(&lab.ctl(&["-j", "doctor", &lab.host.dev]))
}

#[test]
fn a_good_machine_and_master_have_no_problem_and_nothing_is_changed() {
    needs!(require::lab, require::tc, require::binary);
    let lab = Lab::new();
    let _web = lab.child("web", Mode::Bridge);
    let before = Traces::of(&lab);
    let found = doctor(&lab);
    assert_eq!(Traces::of(&lab), before);
    for check in ["bpf-maps", "bpf-program-macvlan_in", "bpf-program-macvlan_out", "macvlan", "nsid", "bpffs"]
    {
        assert_eq!(finding(&found, check)["status"], "ok", "{check}");
    }
    assert!(finding(&found, "bpf-maps")["ifname"].is_null());
    assert_eq!(finding(&found, "state")["ifname"], "eth0");
    assert_status(&found, "master", "ok", "veth");
    assert_status(&found, "xdp-driver", "note", "copies");
    assert_status(&found, "l2-fwd-offload", "ok", "off");
    assert_status(&found, "data-path", "note", "attach eth0");
    assert_status(&found, "mac-clash", "ok", "none");
    for check in ["foreign-xdp", "foreign-tcx", "foreign-clsact"] {
        assert_status(&found, check, "ok", "none");
    }
}

#[test]
fn without_a_name_every_master_is_looked_at() {
    needs!(require::lab, require::binary);
    let lab = Lab::new();
    let masters = || {
        let found = findings(&lab.ctl(&["-j", "doctor"]));
        found.as_array().into_iter().flatten().filter(|finding| finding["ifname"] == "eth0").count()
    };
    assert_eq!(masters(), 0);
    let _web = lab.child("web", Mode::Bridge);
    assert!(masters() > 0);
}

#[test]
fn our_own_programs_are_not_taken_for_those_of_others() {
    needs!(require::lab, require::binary);
    for tc in ["auto", "clsact"] {
        let lab = Lab::new();
        lab.ctl(&["attach", "eth0", "--tc", tc, "--xdp", "generic"]).succeeded();
        let found = doctor(&lab);
        assert_status(&found, "data-path", "ok", "demux xdp-generic");
        assert_status(&found, "foreign-xdp", "ok", "none but ours");
        assert_status(&found, "foreign-tcx", "ok", "none");
        assert_status(&found, "foreign-clsact", "ok", "none");
        if tc == "clsact" {
            assert_status(&found, "foreign-clsact", "ok", "none but ours");
        }
        lab.ctl(&["detach", "eth0"]).succeeded();
    }
}

#[test]
fn programs_of_others_are_listed_with_their_hook() {
    needs!(require::lab, require::tc, require::tcx, require::binary);
    let lab = Lab::new();
    let ns = &lab.host.ns;
    let _xdp = Foreign::counter(ns, "eth0", Place::XdpGeneric, Order::First);
    let _tcx = Foreign::counter(ns, "eth0", Place::Egress, Order::Last);
    cli::run(ns.command("tc").args(["qdisc", "add", "dev", "eth0", "clsact"]));
    // One instruction of classic BPF, "take it": it has no id as a program.
    let filter = ["filter", "add", "dev", "eth0", "ingress", "bpf", "bytecode", "1,6 0 0 4294967295"];
    cli::run(ns.command("tc").args(filter));
    let found = doctor(&lab);
    assert_status(&found, "foreign-xdp", "warning", "program ");
    assert_status(&found, "foreign-tcx", "note", "at egress");
    assert_status(&found, "foreign-clsact", "note", "a filter without eBPF at ingress");
    // Also beside ours.
    lab.ctl(&["-q", "attach", "eth0"]).succeeded();
    let found = doctor(&lab);
    assert_status(&found, "foreign-xdp", "warning", "program ");
    let tcx = finding(&found, "foreign-tcx")["found"].as_str().or_fail("read").to_owned();
    assert_eq!(tcx.matches("program").count(), 1, "{tcx}");
    lab.ctl(&["detach", "eth0"]).succeeded();
}

#[test]
fn a_master_that_is_down_or_without_a_carrier_is_told() {
    needs!(require::lab, require::binary);
    let lab = Lab::new();
    lab.wire.ns.ip(&format!("link set {} down", lab.port));
    wait_for("the carrier to go", || {
        (lab.host.ns.ip_json("link show dev eth0")[0]["operstate"] != "UP").then_some(())
    });
    assert_status(&doctor(&lab), "state", "warning", "without a carrier");
    lab.host.ns.ip("link set eth0 down");
    let found = doctor(&lab);
    assert_status(&found, "state", "problem", "down");
    assert_eq!(finding(&found, "state")["remedy"], "ip link set eth0 up");
}

#[test]
fn a_device_that_cannot_be_a_master_is_a_problem() {
    needs!(require::lab, require::binary);
    let lab = Lab::new();
    let check = |name: &str, part: &str| {
        let found = findings(&lab.ctl(&["-j", "doctor", name]));
        assert_status(&found, "master", "problem", part);
        assert_eq!(finding(&found, "master")["ifname"], name);
    };
    check("nope", "no such device");
    check("not/a name", "not allowed");
    check("lo", "loopback");
    lab.host.ns.ip("link add br0 type bridge");
    lab.host.ns.ip("link set eth0 master br0");
    check("eth0", "a port of bridge \"br0\"");
    lab.host.ns.ip("link set eth0 nomaster");
    let _web = lab.child("web", Mode::Bridge);
    lab.host.ns.ip("link add near link eth0 type macvlan mode bridge");
    check("near", "it is itself a macvlan");
}

#[test]
fn a_bridge_whose_frames_pass_the_firewall_is_told_of_it() {
    needs!(require::lab, require::binary);
    let lab = Lab::new();
    lab.host.ns.ip("link add br0 type bridge");
    let look = || findings(&lab.ctl(&["-j", "doctor", "br0"]));
    let settings = ["bridge-nf-call-iptables", "bridge-nf-call-ip6tables", "bridge-nf-call-arptables"];
    // The kernel has them while br_netfilter is loaded.
    if lab.host.ns.enter(|| std::fs::exists("/proc/sys/net/bridge").or_fail("look for br_netfilter")) {
        settings.iter().for_each(|name| lab.host.ns.sysctl(&format!("bridge/{name}"), 0));
        lab.host.ns.sysctl("bridge/bridge-nf-call-iptables", 1);
        let found = look();
        assert_status(&found, "bridge-netfilter", "warning", "on: bridge-nf-call-iptables");
        let remedy = &finding(&found, "bridge-netfilter")["remedy"];
        assert_eq!(remedy, "sysctl net.bridge.bridge-nf-call-iptables=0");
        lab.host.ns.sysctl("bridge/bridge-nf-call-iptables", 0);
    }
    assert_status(&look(), "bridge-netfilter", "ok", "off");
}

#[test]
fn children_with_one_mac_and_children_that_came_later_are_named() {
    needs!(require::lab, require::binary);
    let lab = Lab::new();
    lab.ctl(&["attach", "eth0"]).succeeded();
    for name in ["one", "two"] {
        lab.host
            .ns
            .ip(&format!("link add {name} link eth0 address 02:00:00:00:05:05 type macvlan mode bridge"));
    }
    let found = doctor(&lab);
    assert_status(&found, "mac-clash", "warning", "02:00:00:00:05:05: one, two");
    assert_status(&found, "children", "warning", "one, two");
    assert_eq!(finding(&found, "children")["remedy"], "macvlan-ctl attach eth0");
    lab.ctl(&["detach", "eth0"]).succeeded();
}

#[test]
fn a_data_path_that_somebody_broke_is_a_problem() {
    needs!(require::lab, require::tc, require::binary);
    let lab = Lab::new();
    lab.ctl(&["attach", "eth0", "--tc", "clsact"]).succeeded();
    cli::run(lab.host.ns.command("tc").args(["qdisc", "del", "dev", "eth0", "clsact"]));
    let found = doctor(&lab);
    assert_status(&found, "data-path", "problem", "somebody removed our program at TC ingress");
    lab.ctl(&["attach", "eth0"]).succeeded();
    assert_status(&doctor(&lab), "data-path", "ok", "bpf");
    lab.ctl(&["detach", "eth0"]).succeeded();
}

#[test]
fn a_machine_that_refuses_bpf_is_told_what_it_refuses() {
    needs!(require::lab, require::binary);
    let lab = Lab::new();
    let mut command = lab.ctl_command(&["-j", "doctor", "eth0"]);
    deny::bpf(&mut command, libc::EPERM);
    let found = findings(&cli::output(&mut command));
    assert_status(&found, "bpf-maps", "problem", "operation not permitted");
    let remedy = finding(&found, "bpf-maps")["remedy"].as_str().or_fail("read a remedy").to_owned();
    assert!(remedy.contains("seccomp"), "{remedy}");
    // What needs no BPF was tried all the same.
    assert_status(&found, "macvlan", "ok", "can be made");
    assert_status(&found, "data-path", "note", "BPF is unavailable");
}

#[test]
fn a_bpf_file_system_that_is_missing_is_told_and_not_mounted() {
    needs!(require::lab, require::binary);
    let lab = Lab::new();
    lab.mounts().without_bpffs();
    assert_status(&doctor(&lab), "bpffs", "note", "not mounted");
    assert_status(&doctor(&lab), "bpffs", "note", "not mounted");
    lab.mounts().without_place_for_bpffs();
    assert_status(&doctor(&lab), "bpffs", "problem", "cannot mount");
}

#[test]
fn each_capability_that_is_missing_is_named() {
    needs!(require::lab, require::setpriv, require::binary);
    let lab = Lab::new();
    for (without, check, status) in [
        (&["net_admin"][..], "cap-net-admin", "problem"),
        (&["bpf", "sys_admin"], "cap-bpf", "problem"),
        (&["sys_ptrace"], "cap-sys-ptrace", "warning"),
        (&["net_broadcast"], "cap-net-broadcast", "warning"),
    ] {
        let ran = cli::output(&mut deny::capabilities(&lab, without, &["-j", "doctor", "eth0"]));
        assert_status(&findings(&ran), check, status, "not held");
    }
    let no_broadcast = deny::capabilities(&lab, &["net_broadcast"], &["-j", "doctor", "eth0"]);
    let found = findings(&cli::output(&mut { no_broadcast }));
    assert_status(&found, "listen-all-nsid", "warning", "operation not permitted");
}

#[test]
fn an_ordinary_user_learns_what_can_be_seen_and_what_not() {
    needs!(require::lab, require::setpriv, require::binary);
    let lab = Lab::new();
    let directory = std::env::temp_dir().join(format!("macvlan-doctor-{}", std::process::id()));
    let copy = Copy::of_binary(directory);
    let as_nobody = |arguments: &[&str]| {
        let mut command = lab.command(&lab.host.ns, "setpriv");
        command.args(["--reuid", "65534", "--regid", "65534", "--clear-groups"]);
        command.arg(&copy.program).args(arguments);
        command
    };
    let found = findings(&cli::output(&mut as_nobody(&["-j", "doctor", "eth0"])));
    assert_status(&found, "user", "warning", "ordinary user");
    assert_status(&found, "kernel-features", "note", "not tried");
    assert_status(&found, "state", "ok", "up");
    assert_status(&found, "data-path", "note", "only root");
    // Text for people: 80 columns, the counts last.
    let text = cli::output(&mut as_nobody(&["doctor", "eth0"])).succeeded().stdout;
    assert!(text.lines().all(|line| line.chars().count() <= 80), "{text}");
    assert!(text.lines().next_back().is_some_and(|last| last.ends_with("0 problems")), "{text}");
}

/// The program under test where every user can reach it, until this is dropped.
struct Copy {
    directory: std::path::PathBuf,
    program: std::path::PathBuf,
}

impl Copy {
    fn of_binary(directory: std::path::PathBuf) -> Self {
        let program = directory.join("macvlan-ctl");
        let copy = Self { directory, program };
        std::fs::create_dir_all(&copy.directory).or_fail("make a directory for the program");
        std::fs::copy(cli::binary(), &copy.program).or_fail("copy the program");
        cli::run(Command::new("chmod").args(["-R", "a+rX"]).arg(&copy.directory));
        copy
    }
}

impl Drop for Copy {
    fn drop(&mut self) {
        // It is in a directory for what may be lost.
        let _ = std::fs::remove_dir_all(&self.directory);
    }
}
