//! `run`: masters that go down, change, go and come back; and what is left when it ends.

use std::{process::Stdio, thread, time::Duration};

use macvlan_common::{child::Mode, mac::Mac};
use macvlan_tests::{
    attached::Attached,
    control::status,
    fail::{OrFail as _, wait_for},
    following::Following,
    lab::Lab,
    leak::{Traces, pins},
    needs, require,
    talk::ping,
};
use nix::sys::signal::{Signal, kill};

#[test]
fn a_second_run_of_a_master_is_refused_and_the_first_goes_on() {
    needs!(require::lab, require::binary);
    let lab = Lab::new();
    let first = Following::start(&lab, &["eth0"]);
    let second = lab.ctl(&["run", "eth0"]);
    let said = second.failed(1);
    assert!(said.contains("another macvlan-ctl run follows \"eth0\" already"), "{said}");
    let web = lab.child("web", Mode::Bridge);
    first.wait_for_members(&[&web]);
    drop(first);
    // Killed or not, it is out of the way.
    let third = Following::start(&lab, &["eth0"]);
    third.wait_for_members(&[&web]);
}

#[test]
fn a_master_that_goes_down_and_up_works_as_before() {
    needs!(require::lab, require::tc, require::binary);
    let lab = Lab::new();
    let web = lab.child("web", Mode::Bridge);
    let run = Following::start(&lab, &["eth0"]);
    for _ in 0..5 {
        lab.host.ns.ip("link set eth0 down");
        lab.host.ns.ip("link set eth0 up");
    }
    assert!(ping(&lab.host, web.ip.into()));
    // What was over before anybody looked is not told of.
    lab.host.ns.ip("link set eth0 down");
    run.wait_for_line("eth0: device down");
    lab.host.ns.ip("link set eth0 up");
    assert!(ping(&lab.host, web.ip.into()));
    run.wait_for_members(&[&web]);
}

#[test]
fn a_master_is_followed_under_a_new_name_and_mac() {
    needs!(require::lab, require::tc, require::binary);
    let lab = Lab::new();
    let web = lab.child("web", Mode::Bridge);
    let run = Following::start(&lab, &["eth0"]);
    lab.host.ns.ip_batch([
        "link set eth0 down".to_owned(),
        "link set eth0 name lan0".to_owned(),
        "link set lan0 address 02:00:00:00:00:77".to_owned(),
        "link set lan0 up".to_owned(),
    ]);
    run.wait_for_line("lan0: device renamed from \"eth0\"");
    run.wait_for_line("has MAC 02:00:00:00:00:77");
    let late = lab.newcomer("late");
    lab.host.ns.ip(&format!(
        "link add late link lan0 address {} netns {} type macvlan mode bridge",
        late.mac,
        late.ns.path().display()
    ));
    late.ns.ip_batch([format!("addr add {}/24 dev late", late.ip), "link set late up".to_owned()]);
    assert!(ping(&web, lab.host.ip.into()), "the host is known by its new MAC");
    assert!(ping(&lab.host, late.ip.into()));
}

#[test]
fn a_master_that_is_deleted_and_made_again_is_attached_to_again() {
    needs!(require::lab, require::tc, require::binary);
    let lab = Lab::new();
    let web = lab.child("web", Mode::Bridge);
    let run = Following::start(&lab, &["eth0"]);
    run.wait_for_members(&[&web]);
    for _ in 0..3 {
        lab.host.ns.ip("link del eth0");
        wait_for("its pins to go", || {
            let ours = pins(&lab).into_iter().find(|pin| pin.ends_with("macvlan-ctl"));
            ours.is_none().then_some(())
        });
        lab.host.ns.ip_batch([
            format!(
                "link add eth0 address {} type veth peer name wire0 netns {}",
                lab.host.mac,
                lab.wire.ns.path().display()
            ),
            format!("addr add {}/24 dev eth0", lab.host.ip),
            "link set eth0 up".to_owned(),
        ]);
        wait_for("the data path", || (status(&lab)["datapath"] == "bpf").then_some(()));
        lab.wire.ns.ip("link set wire0 up");
        let again = lab.child("again", Mode::Bridge);
        run.wait_for_members(&[&again]);
        assert!(ping(&lab.host, again.ip.into()));
    }
    run.wait_for_line("eth0: waiting: no such device");
}

#[test]
fn a_master_that_is_not_there_is_waited_for() {
    needs!(require::lab, require::tc, require::binary);
    let lab = Lab::new();
    let run = Following::start(&lab, &["eth0", "eth7"]);
    run.wait_for_line("eth7: waiting: no such device");
    lab.host.ns.ip("link add eth7 type veth peer name port7");
    run.wait_for_line("eth7: waiting: it is down");
    lab.host.ns.ip("link set eth7 up");
    run.wait_for_line("eth7: attached");
    let masters = lab.ctl(&["-j", "status", "eth7"]).succeeded().json();
    assert_eq!(masters[0]["datapath"], "bpf");
}

#[test]
fn what_cannot_be_a_master_ends_it_at_once() {
    needs!(require::lab, require::tc, require::binary);
    let lab = Lab::new();
    let ran = lab.ctl(&["run", "lo"]);
    assert!(ran.failed(1).contains("cannot attach to \"lo\": the loopback device carries no macvlan"));
    assert!(lab.ctl(&["run"]).failed(1).contains("nothing to follow"));
}

#[test]
fn the_data_path_stays_when_it_ends_or_goes_if_asked() {
    needs!(require::lab, require::tc, require::binary);
    let lab = Lab::new();
    let before = Traces::of(&lab);
    let web = lab.child("web", Mode::Bridge);
    let run = Following::start(&lab, &["eth0"]);
    assert!(run.end(Signal::SIGTERM).success());
    assert_eq!(status(&lab)["datapath"], "bpf");
    assert!(ping(&lab.host, web.ip.into()));
    lab.ctl(&["child", "set", "eth0", "web,host-access=off"]).succeeded();
    let mut run = Following::start(&lab, &["eth0", "--detach-on-exit", "--storm-limit", "1000"]);
    assert!(run.stop(Signal::SIGINT).success());
    assert_eq!(status(&lab)["datapath"], "kernel");
    // In the words of `detach`.
    run.wait_for_line("macvlan-ctl: note: forgotten: eth0: storm-limit 1000");
    run.wait_for_line("macvlan-ctl: note: forgotten: macvlan \"web\"");
    drop((run, web));
    wait_for("everything to be as before", || (Traces::of(&lab) == before).then_some(()));
}

#[test]
fn it_may_be_killed_and_started_again_without_a_lost_packet() {
    needs!(require::lab, require::tc, require::binary, require::ping_command);
    for args in [&[][..], &["--tc", "clsact"], &["--xdp", "native"], &["--xdp", "generic"]] {
        kill_under_ping(args);
    }
}

#[track_caller]
fn kill_under_ping(args: &[&str]) {
    let lab = Lab::new();
    let web = lab.child("web", Mode::Bridge);
    lab.introduce(&[&lab.host, &web]);
    let attached = Attached::new(&lab, args);
    let run_args = [&["eth0"], args].concat();
    let mut run = Following::start(&lab, &run_args);
    let mut ping = lab.host.ns.command("ping");
    ping.args(["-f", "-q", &web.ip.to_string()]).stdout(Stdio::piped());
    let ping = ping.spawn().or_fail("run `ping -f`");
    for _ in 0..4 {
        thread::sleep(Duration::from_millis(100));
        run.end(Signal::SIGKILL);
        thread::sleep(Duration::from_millis(50));
        run = Following::start(&lab, &run_args);
    }
    let id = nix::unistd::Pid::from_raw(ping.id().cast_signed());
    kill(id, Signal::SIGINT).or_fail("stop `ping`");
    let output = ping.wait_with_output().or_fail("wait for `ping`");
    let (sent, received) = sent_and_received(&String::from_utf8_lossy(&output.stdout));
    eprintln!("{args:?}: {sent} sent, {received} answered");
    // One may be under way when it is stopped.
    assert!(sent > 1000 && sent - received <= 1, "{args:?}: {sent} sent, {received} answered");
    let counted = attached.stats().rx("web", macvlan_common::counters::Path::Host).packets;
    assert!((received..=sent).contains(&counted), "{args:?}: {counted} counted of {sent}");
    drop(run);
}

/// The numbers in `1 packets transmitted, 1 received, ...`.
#[track_caller]
fn sent_and_received(text: &str) -> (u64, u64) {
    let line = text.lines().find(|line| line.contains("transmitted"));
    let line = line.or_fail(format!("read what `ping` says: {text}"));
    let numbers: Vec<u64> = line.split_whitespace().filter_map(|word| word.parse().ok()).collect();
    (numbers[0], numbers[1])
}

#[test]
fn another_commands_detach_is_respected_and_its_attach_taken_over() {
    needs!(require::lab, require::tc, require::binary);
    let lab = Lab::new();
    let run = Following::start(&lab, &["eth0"]);
    lab.ctl(&["detach", "eth0"]).succeeded();
    let web = lab.child("web", Mode::Bridge);
    run.wait_for_line("another command has detached it");
    assert_eq!(status(&lab)["datapath"], "kernel");
    lab.ctl(&["attach", "eth0"]).succeeded();
    let late = lab.child("late", Mode::Bridge);
    run.wait_for_members(&[&web, &late]);
}

#[test]
fn programs_that_somebody_took_off_are_put_back() {
    needs!(require::lab, require::tc, require::binary);
    let lab = Lab::new();
    let web = lab.child("web", Mode::Bridge);
    let run = Following::start(&lab, &["eth0", "--tc", "clsact"]);
    let tc = lab.host.ns.command("tc").args(["qdisc", "del", "dev", "eth0", "clsact"]).status();
    assert!(tc.or_fail("run `tc`").success());
    run.wait_for_line("attaching again");
    wait_for("the data path", || (status(&lab)["datapath"] == "bpf").then_some(()));
    assert!(ping(&lab.host, web.ip.into()));
}

#[test]
fn programs_that_a_killed_trace_left_are_replaced() {
    needs!(require::lab, require::tc, require::binary);
    let lab = Lab::new();
    let run = Following::start(&lab, &["eth0"]);
    let mut trace = lab.ctl_command(&["trace", "eth0"]).stdout(Stdio::null()).spawn().or_fail("run a trace");
    let is_traced = || {
        let status = status(&lab);
        let degraded = status["degraded"].as_array().or_fail("read what is degraded");
        degraded.iter().any(|part| part["feature"] == "trace")
    };
    wait_for("the trace", || is_traced().then_some(()));
    trace.kill().or_fail("kill the trace");
    trace.wait().or_fail("wait for the trace");
    run.wait_for_line("a trace was killed");
    wait_for("the plain programs", || (!is_traced()).then_some(()));
}

#[test]
fn two_masters_are_followed_at_once() {
    needs!(require::lab, require::tc, require::binary);
    let lab = Lab::new();
    lab.host
        .ns
        .ip_batch(["link add lan0 type veth peer name port1".to_owned(), "link set lan0 up".to_owned()]);
    let run = Following::start(&lab, &["eth0", "lan0"]);
    let web = lab.child("web", Mode::Bridge);
    assert!(ping(&lab.host, web.ip.into()));
    lab.host.ns.ip("link add db link lan0 address 02:00:00:00:08:01 type macvtap mode bridge");
    let of_lan0 = || lab.ctl(&["-j", "child", "list", "lan0"]).succeeded().json();
    wait_for("the child of the second master", || (of_lan0()[0]["host_access"] == true).then_some(()));
    drop(run);
}

#[test]
fn it_keeps_the_capabilities_it_needs_and_works_with_them() {
    needs!(require::lab, require::tc, require::binary);
    let lab = Lab::new();
    let run = Following::start(&lab, &["eth0"]);
    // NET_ADMIN 12, SYS_PTRACE 19, PERFMON 38, BPF 39.
    let kept = format!("{:016x}", 1_u64 << 12 | 1 << 19 | 1 << 38 | 1 << 39);
    for set in ["CapPrm", "CapEff", "CapBnd"] {
        assert_eq!(run.proc_status(set), kept, "{set}");
    }
    assert_eq!(run.proc_status("CapInh"), format!("{:016x}", 0));
    assert_eq!(run.proc_status("NoNewPrivs"), "1");
    // A watchdog that is fed while nothing happens.
    run.wait_for_word("WATCHDOG=1");
    run.wait_for_word("WATCHDOG=1");
    let web = lab.child("web", Mode::Bridge);
    assert!(ping(&lab.host, web.ip.into()));
}

#[test]
fn the_host_may_take_a_mac_of_its_own_choice() {
    needs!(require::lab, require::tc, require::binary);
    let lab = Lab::new();
    let web = lab.child("web", Mode::Private);
    let run = Following::start(&lab, &["eth0"]);
    for last in 1..=3 {
        let mac = Mac::new([0x02, 0, 0, 0, 6, last]);
        lab.host.ns.ip(&format!("link set eth0 address {mac}"));
        // The host does not announce it, and a neighbour takes its time to find out.
        web.ns.ip("neigh flush dev web");
        assert!(ping(&web, lab.host.ip.into()), "{mac}");
    }
    drop(run);
}
