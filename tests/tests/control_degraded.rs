//! Machines that cannot do all of it: as much as can be is done, and what is missing is said.

use macvlan_common::child::Mode;
use macvlan_tests::{
    cli::{self, Ran},
    control::{child, devices, named, names_of, only, spec, status},
    deny,
    fail::{OrFail as _, wait_for},
    foreign::{Foreign, Order, Place},
    lab::{Lab, Station},
    leak::Traces,
    mounts::BPFFS,
    needs, require,
    talk::{is_silent, ping},
};
use serde_json::Value;

/// What a container gets that may configure its network, and no more.
const NO_BPF: &[&str] = &["bpf", "perfmon", "sys_admin"];

/// Enough for BPF, but not to mount a file system.
const NO_MOUNT: &[&str] = &["sys_admin"];

#[test]
fn where_bpf_is_forbidden_children_are_made_and_adopted_as_plain_macvlan() {
    needs!(require::lab, require::binary);
    for (errno, reason) in
        [(libc::EPERM, "operation not permitted"), (libc::ENOSYS, "function not implemented")]
    {
        let lab = Lab::new();
        let db = lab.child("db", Mode::Bridge);
        let web = lab.newcomer("web");
        let _resident = web.ns.resident();
        let filtered = |args: &[&str]| {
            let mut command = lab.ctl_command(args);
            deny::bpf(&mut command, errno);
            cli::output(&mut command)
        };

        let ran = filtered(&["attach", "eth0", "--child", &spec(&web, "")]).succeeded();

        assert_warning(&ran, &["BPF", reason, "2 children", "kernel macvlan"]);
        let ran = filtered(&["-j", "status", "eth0"]).succeeded();
        assert_kernel(only(&ran.json()), reason);
        assert_eq!(names_of(only(&ran.json())), ["db", "web"].map(str::to_owned).into());
        check_plain_traffic(&lab, &[&web, &db]);
        // The other commands do what they can as well.
        assert_warning(&filtered(&["child", "add", "eth0", "more"]).succeeded(), &["kernel macvlan", reason]);
        filtered(&["child", "set", "eth0", &named(&web, "mtu=1400")]).succeeded();
        assert_eq!(only(&devices(&web).into())["mtu"], 1400);
        let refused = filtered(&["child", "set", "eth0", &named(&web, "host-access=off")]);
        assert!(says(refused.failed(1), reason), "{}", refused.report());
        filtered(&["stats", "eth0"]).succeeded();
        let deleting = filtered(&["detach", "eth0", "--delete-children"]).succeeded();
        assert_eq!(deleting.stderr, "");
        assert!(devices(&web).is_empty());
        assert_eq!(devices(&db).len(), 1);
    }
}

#[test]
fn without_the_capabilities_for_bpf_children_are_made_and_adopted_as_plain_macvlan() {
    needs!(require::lab, require::setpriv, require::binary);
    const REASON: &str = "operation not permitted";
    let lab = Lab::new();
    let db = lab.child("db", Mode::Bridge);
    let bounded = |args: &[&str]| cli::output(&mut deny::capabilities(&lab, NO_BPF, args));

    let ran = bounded(&["attach", "eth0", "--child", "web,mode=private"]).succeeded();

    assert_warning(&ran, &["BPF", REASON, "2 children", "kernel macvlan"]);
    let json = bounded(&["-j", "status", "eth0"]).succeeded().json();
    assert_kernel(only(&json), REASON);
    assert_eq!(names_of(only(&json)), ["db", "web"].map(str::to_owned).into());
    assert_eq!(child(only(&json), "web")["owned"], true);
    check_plain_traffic(&lab, &[&db]);
    bounded(&["detach", "eth0", "--delete-children"]).succeeded();
    assert!(devices(&lab.host).is_empty());
    assert_eq!(devices(&db).len(), 1);
}

#[test]
fn quiet_silences_the_warning_and_whoever_has_bpf_is_told_how_to_attach() {
    needs!(require::lab, require::binary);
    let lab = Lab::new();
    let web = lab.child("web", Mode::Bridge);
    let mut attach = lab.ctl_command(&["-q", "attach", "eth0"]);
    deny::bpf(&mut attach, libc::EPERM);
    assert_eq!(cli::output(&mut attach).succeeded().stderr, "");
    // For this one nothing is in the way.
    assert_kernel(&status(&lab), "not attached: macvlan-ctl attach eth0");
    lab.ctl(&["attach", "eth0", "--require-bpf"]).succeeded();
    assert_eq!(status(&lab)["datapath"], "bpf");
    assert!(ping(&lab.host, web.ip.into()));
}

#[test]
fn where_bpf_is_required_its_lack_is_an_error_and_undoes_the_children() {
    needs!(require::lab, require::tc, require::binary);
    for (errno, reason) in
        [(libc::EPERM, "operation not permitted"), (libc::ENOSYS, "function not implemented")]
    {
        let lab = Lab::new();
        let db = lab.child("db", Mode::Bridge);
        let web = lab.newcomer("web");
        let (before, db_before) = (Traces::of(&lab), devices(&db));
        let mut command = lab.ctl_command(&[
            "attach",
            "eth0",
            "--require-bpf",
            "--child",
            &spec(&web, ""),
            "--child",
            "near",
        ]);
        deny::bpf(&mut command, errno);

        let ran = cli::output(&mut command);

        let message = ran.failed(1);
        for part in ["cannot attach to \"eth0\"", "BPF", reason] {
            assert!(says(message, part), "{part:?} is wanted in: {message}");
        }
        assert!(devices(&web).is_empty());
        assert_eq!(devices(&db), db_before);
        let after = Traces::of(&lab);
        assert_eq!(after.pins, before.pins);
        assert_eq!(after, before);
    }
}

#[test]
fn a_bpf_file_system_that_is_missing_is_mounted_and_said_to_end_with_the_session() {
    needs!(require::lab, require::binary);
    let lab = Lab::new();
    let web = lab.newcomer("web");
    lab.mounts().without_bpffs();

    let ran = lab.ctl(&["attach", "eth0", "--child", &spec(&web, "")]).succeeded();

    assert_warning(&ran, &["pins", "mount namespace", "ends with this session"]);
    let status = status(&lab);
    assert_eq!(status["datapath"], "bpf");
    let pins = part(&status, "pins");
    assert_eq!((&pins["wanted"], &pins["got"]), (&"machine".into(), &"mount namespace".into()));
    assert!(ping(&lab.host, web.ip.into()));
    assert!(ping(&web, lab.host.ip.into()));
    // It is true at the next attach too.
    let again = lab.ctl(&["attach", "eth0"]).succeeded();
    assert_warning(&again, &["pins", "ends with this session"]);
    lab.ctl(&["detach", "eth0"]).succeeded();
    assert!(is_silent(&lab.host, web.ip.into()));
}

#[test]
fn mounts_that_cannot_be_told_from_the_machines_own_are_taken_for_a_sessions() {
    needs!(require::lab, require::setpriv, require::binary);
    let lab = Lab::new();
    lab.mounts().without_bpffs();
    // Without it the mount namespace of process 1 may not be looked at.
    let mut attach = deny::capabilities(&lab, &["sys_ptrace"], &["attach", "eth0", "--require-bpf"]);
    let ran = cli::output(&mut attach).succeeded();
    assert_warning(&ran, &["pins", "ends with this session"]);
}

#[test]
fn a_bpf_file_system_that_was_there_is_not_spoken_of() {
    needs!(require::lab, require::binary);
    let lab = Lab::new();
    let ran = lab.ctl(&["attach", "eth0"]).succeeded();
    assert_eq!(ran.stderr, "");
    let degraded = status(&lab)["degraded"].clone();
    let features: Vec<&Value> =
        degraded.as_array().into_iter().flatten().map(|part| &part["feature"]).collect();
    assert_eq!(features, ["demux"], "{degraded}");
}

#[test]
fn without_a_bpf_file_system_and_a_way_to_mount_one_the_kernel_carries_the_frames() {
    needs!(require::lab, require::setpriv, require::binary);
    let lab = Lab::new();
    let db = lab.child("db", Mode::Bridge);
    lab.mounts().without_bpffs();
    let bounded = |args: &[&str]| cli::output(&mut deny::capabilities(&lab, NO_MOUNT, args));
    check_no_pins(&lab, &db, bounded, "operation not permitted");
}

#[test]
fn without_a_place_for_a_bpf_file_system_the_kernel_carries_the_frames() {
    needs!(require::lab, require::binary);
    let lab = Lab::new();
    let db = lab.child("db", Mode::Bridge);
    lab.mounts().without_place_for_bpffs();
    check_no_pins(&lab, &db, |args| lab.ctl(args), "no such file or directory");
}

#[track_caller]
fn check_no_pins(lab: &Lab, db: &Station, ctl: impl Fn(&[&str]) -> Ran, reason: &str) {
    let ran = ctl(&["attach", "eth0", "--child", "web"]).succeeded();
    assert_warning(&ran, &["cannot mount the BPF file system", BPFFS, reason]);
    let json = ctl(&["-j", "status", "eth0"]).succeeded().json();
    assert_kernel(only(&json), reason);
    check_plain_traffic(lab, &[db]);
    ctl(&["attach", "eth0", "--require-bpf", "--child", "more"]).failed(1);
    assert_eq!(devices(&lab.host).len(), 1, "`more` is undone, `web` is kept");
    ctl(&["detach", "eth0", "--delete-children"]).succeeded();
    assert!(devices(&lab.host).is_empty());
}

#[test]
fn another_xdp_program_is_left_in_place_and_tc_demultiplexes() {
    needs!(require::lab, require::tc, require::binary);
    for (place, wanted) in [(Place::XdpNative, "native"), (Place::XdpGeneric, "generic")] {
        let lab = Lab::new();
        let web = lab.newcomer("web");
        let foreign = Foreign::counter(&lab.host.ns, "eth0", place, Order::First);
        let before = Traces::of(&lab);

        let ran = lab.ctl(&["attach", "eth0", "--xdp", wanted, "--child", &spec(&web, "")]).succeeded();

        assert_warning(&ran, &["demux is tc", &format!("xdp-{wanted}"), "another", "program"]);
        let status = status(&lab);
        assert_eq!((&status["datapath"], &status["demux"]), (&"bpf".into(), &"tc".into()));
        let demux = part(&status, "demux");
        assert_eq!((&demux["wanted"], &demux["got"]), (&format!("xdp-{wanted}").into(), &"tc".into()));
        let reason = demux["reason"].as_str().or_fail("read a reason");
        assert!(says(reason, "another") && says(reason, "program"), "{demux}");
        for station in [&lab.host, &lab.wire] {
            assert!(ping(station, web.ip.into()), "{wanted}");
            assert!(ping(&web, station.ip.into()), "{wanted}");
        }
        assert!(foreign.seen() > 0, "the other program sees nothing any more");
        lab.ctl(&["detach", "eth0", "--delete-children"]).succeeded();
        assert_eq!(Traces::of(&lab), before, "{wanted}");
    }
}

#[test]
fn native_xdp_is_taken_once_the_other_program_is_gone() {
    needs!(require::lab, require::binary);
    let lab = Lab::new();
    let attach = ["attach", "eth0", "--xdp", "native"];
    let foreign = Foreign::counter(&lab.host.ns, "eth0", Place::XdpNative, Order::First);
    assert_warning(&lab.ctl(&attach).succeeded(), &["another", "program"]);
    drop(foreign);
    wait_for("the other program to go", || {
        lab.host.ns.ip_json("link show dev eth0")[0]["xdp"].is_null().then_some(())
    });

    let ran = lab.ctl(&attach).succeeded();

    assert_eq!(ran.stderr, "");
    let status = status(&lab);
    assert_eq!(status["demux"], "xdp-native");
    assert_eq!(status["degraded"], Value::Array(Vec::new()));
}

#[test]
fn the_demo_needs_bpf_and_says_why_it_has_none() {
    needs!(require::lab, require::tc, require::binary);
    let lab = Lab::new();
    let before = Traces::of(&lab);
    let mut demo = lab.ctl_command(&["demo"]);
    deny::bpf(&mut demo, libc::EPERM);
    let ran = cli::output(&mut demo);
    assert!(says(ran.failed(1), "operation not permitted"), "{}", ran.report());
    assert_eq!(Traces::of(&lab).pins, before.pins);
}

#[test]
fn a_reason_is_shown_to_people_too() {
    needs!(require::lab, require::binary);
    let lab = Lab::new();
    let _web = lab.child("web", Mode::Bridge);
    let mut command = lab.ctl_command(&["status"]);
    deny::bpf(&mut command, libc::EPERM);
    let text = cli::output(&mut command).succeeded().stdout;
    for part in
        ["datapath kernel", "hairpin off", "datapath kernel instead of bpf", "operation not permitted"]
    {
        assert!(says(&text, part), "{part:?} is wanted in: {text}");
    }
}

/// Whether a command gave one line of warning that has all of these parts.
#[track_caller]
fn assert_warning(ran: &Ran, parts: &[&str]) {
    let warning = ran.stderr.trim_end();
    assert_eq!(warning.lines().count(), 1, "one warning is wanted\n{}", ran.report());
    assert!(warning.starts_with("macvlan-ctl: warning: "), "{warning}");
    for part in parts {
        assert!(says(warning, part), "{part:?} is wanted in: {warning}");
    }
}

/// Whether a text has this part, in small letters or capitals.
fn says(text: &str, part: &str) -> bool {
    text.to_lowercase().contains(&part.to_lowercase())
}

/// Whether `status -j` speaks of plain kernel macvlan, and says why.
#[track_caller]
fn assert_kernel(status: &Value, reason: &str) {
    assert_eq!(
        (&status["datapath"], &status["demux"], &status["hairpin"]),
        (&"kernel".into(), &"kernel".into(), &"off".into()),
    );
    let datapath = part(status, "datapath");
    assert_eq!((&datapath["wanted"], &datapath["got"]), (&"bpf".into(), &"kernel".into()));
    let why = datapath["reason"].as_str().or_fail("read a reason");
    assert!(says(why, reason) && !why.contains('\n'), "{reason:?} is wanted in: {why}");
}

/// The part of `status -j` that speaks of what is less than the best about this.
#[track_caller]
fn part<'a>(status: &'a Value, feature: &str) -> &'a Value {
    let parts = status["degraded"].as_array().or_fail("read what is degraded");
    let found = parts.iter().find(|part| part["feature"] == feature);
    found.or_fail(format!("find {feature} in {status:#}"))
}

/// What plain macvlan can do: reach the wire and siblings, but not the host.
#[track_caller]
fn check_plain_traffic(lab: &Lab, children: &[&Station]) {
    for station in children {
        assert!(ping(&lab.wire, station.ip.into()), "wire to {}", station.dev);
        assert!(ping(station, lab.wire.ip.into()), "{} to wire", station.dev);
        assert!(is_silent(&lab.host, station.ip.into()), "host to {}", station.dev);
        for other in children.iter().filter(|other| other.mac != station.mac) {
            assert!(ping(station, other.ip.into()), "{} to {}", station.dev, other.dev);
        }
    }
}
