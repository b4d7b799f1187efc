//! One meaning per option: what is left out stays as it is, on every command; each has a value that turns
//! it back; a detach says what it forgets.

use std::fs;

use macvlan_common::child::Mode;
use macvlan_tests::{
    cli::{self, Ran},
    control::{child, members, named, spec, status},
    deny,
    fail::OrFail as _,
    following::Following,
    footprint::Footprint,
    lab::{Lab, Station},
    needs, require,
};
use nix::sys::signal::Signal;
use serde_json::{Value, json};

/// Every option of a data path, what turns it back, and what a detach says of it.
const OPTIONS: [(&str, &str, &str); 9] = [
    ("--xdp=off", "--xdp=auto", "xdp off"),
    ("--tc=clsact", "--tc=auto", "tc clsact"),
    ("--no-adopt", "--adopt", "adopt off"),
    ("--no-directed-neigh", "--directed-neigh=on", "directed-neigh off"),
    ("--storm-limit=1000", "--storm-limit=off", "storm-limit 1000"),
    ("--drop-unknown=force", "--drop-unknown=off", "drop-unknown force"),
    ("--vepa-switch", "--vepa-switch=false", "vepa-switch on"),
    ("--single-mac=auto", "--single-mac=off", "single-mac auto"),
    ("--isolation=strict", "--isolation=off", "isolation strict"),
];

/// In the lab's own `/run`.
const FILE: &str = "/run/macvlan-ctl.toml";

#[test]
fn what_attach_was_told_stays_with_whoever_leaves_it_out() {
    needs!(require::lab, require::tc, require::binary);
    let (lab, _) = attached(&[]);
    assert_eq!(of_master(&lab), all(), "first of all");
    lab.ctl(&["attach", "eth0"]).succeeded();
    assert_eq!(of_master(&lab), all(), "after attach");
    lab.ctl(&["child", "add", "eth0", "late,mode=bridge"]).succeeded();
    lab.ctl(&["child", "set", "eth0", "late,mtu=1400"]).succeeded();
    assert_eq!(of_master(&lab), all(), "after changes of children");
    drop(Following::start(&lab, &["eth0"]));
    assert_eq!(of_master(&lab), all(), "after run");
    write(&lab, "");
    check(&lab, "").succeeded();
    apply(&lab, "").succeeded();
    drop(Following::start(&lab, &["--config", FILE]));
    assert_eq!(of_master(&lab), all(), "after a file that says nothing of it");
    let steps = lab.ctl(&["attach", "eth0", "--dry-run"]).succeeded().stdout;
    assert!(steps.ends_with("keep the data path on \"eth0\"\n"), "{steps}");
}

#[test]
fn each_option_is_turned_back_by_a_value_and_no_other_with_it() {
    needs!(require::lab, require::tc, require::binary);
    let (lab, _) = attached(&[]);
    for (number, (_, back, _)) in OPTIONS.iter().enumerate() {
        let steps = lab.ctl(&["attach", "eth0", back, "--dry-run"]).succeeded().stdout;
        assert!(!steps.contains("keep the data path"), "{back}: {steps}");
        lab.ctl(&["attach", "eth0", back]).succeeded();
        assert_eq!(of_master(&lab), &all()[number + 1..], "after {back}");
        let steps = lab.ctl(&["attach", "eth0", back, "--dry-run"]).succeeded().stdout;
        assert!(steps.ends_with("keep the data path on \"eth0\"\n"), "{back}: {steps}");
    }
}

#[test]
fn a_data_path_that_is_put_right_is_as_it_was_told_to_be() {
    needs!(require::lab, require::tc, require::binary);
    let (lab, _) = attached(&["--max-children", "16"]);
    cli::run(lab.host.ns.command("tc").args(["qdisc", "del", "dev", "eth0", "clsact"]));
    assert_ne!(status(&lab)["datapath"], "bpf");
    lab.ctl(&["attach", "eth0"]).succeeded();
    assert_eq!(status(&lab)["datapath"], "bpf");
    let wanted: Vec<&str> = all().into_iter().chain(["max-children 16"]).collect();
    assert_eq!(of_master(&lab), wanted);
}

#[test]
fn run_takes_every_option() {
    needs!(require::lab, require::tc, require::binary);
    let lab = Lab::new();
    let told = OPTIONS.map(|(told, ..)| told);
    let run = Following::start(&lab, &[&["eth0"], &told[..]].concat());
    assert_eq!(of_master(&lab), all());
    let status = status(&lab);
    assert_eq!((&status["drop_unknown"], &status["vepa_switch"]), (&json!("force"), &json!(true)));
    drop(run);
    let run = Following::start(&lab, &[&["eth0"], &OPTIONS.map(|(_, back, _)| back)[..]].concat());
    assert!(of_master(&lab).is_empty());
    drop(run);
}

#[test]
fn the_command_line_of_run_is_over_the_file_and_that_over_what_is_there() {
    needs!(require::lab, require::tc, require::binary);
    let lab = Lab::new();
    lab.ctl(&["attach", "eth0", "--vepa-switch", "--storm-limit=3", "--xdp=off"]).succeeded();
    write(&lab, "storm-limit = 5\ndrop-unknown = \"force\"\nxdp = \"generic\"");
    let run = Following::start(&lab, &["--config", FILE, "--xdp=auto", "--drop-unknown=off"]);
    assert_eq!(of_master(&lab), ["storm-limit 5", "vepa-switch on"]);

    // A key that is taken out of the file says nothing.
    write(&lab, "drop-unknown = \"on\"");
    reload(&run);
    assert_eq!(of_master(&lab), ["storm-limit 5", "vepa-switch on"]);
    write(&lab, "storm-limit = \"off\"\nvepa-switch = false\nadopt = false");
    reload(&run);
    assert_eq!(of_master(&lab), ["adopt off"]);
}

#[test]
fn apply_and_check_agree_on_what_a_file_says_and_leaves_out() {
    needs!(require::lab, require::tc, require::binary);
    let lab = Lab::new();
    let told = "xdp = \"off\"\nadopt = false\ndirected-neigh = false\nstorm-limit = 1000\n\
                drop-unknown = \"force\"\nvepa-switch = true\nsingle-mac = \"auto\"\nisolation = \"strict\"";
    assert_eq!(check(&lab, told).code(), 1);
    apply(&lab, told).succeeded();
    let wanted: Vec<&str> = all().into_iter().filter(|option| *option != "tc clsact").collect();
    assert_eq!(of_master(&lab), wanted);
    for same in [told, "", "storm-limit = 1000", "adopt = false"] {
        assert_eq!(check(&lab, same).succeeded().stdout, "up to date\n", "{same}");
    }
    let back = "xdp = \"auto\"\ntc = \"auto\"\nadopt = true\ndirected-neigh = true\nstorm-limit = \"off\"\n\
                drop-unknown = \"off\"\nvepa-switch = false\nsingle-mac = false\nisolation = \"off\"";
    assert_eq!(check(&lab, back).code(), 1);
    apply(&lab, back).succeeded();
    assert!(of_master(&lab).is_empty());
    check(&lab, back).succeeded();
}

#[test]
fn detach_says_what_it_forgets_and_the_next_attach_is_a_fresh_start() {
    needs!(require::lab, require::tc, require::binary);
    let (lab, web) = attached(&["--max-children", "16"]);
    lab.mounts().name_netns("home", &web.ns);
    lab.ctl(&["child", "set", "eth0", &named(&web, "host-access=off,rate-rx=10mbit")]).succeeded();
    let of_web = "macvlan \"web\" in netns \"home\": host access off, rate-rx 10mbit".to_owned();
    let of_master = format!("eth0: {}, max-children 16", all().join(", "));
    let before = Footprint::of(&lab);
    let dry = lab.ctl(&["-j", "detach", "eth0", "--dry-run"]).succeeded();
    assert_eq!(dry.json()["forgotten"], json!([&of_master, &of_web]));
    let dry = lab.ctl(&["detach", "eth0", "--dry-run"]).succeeded().stderr;
    assert!(dry.contains(&format!("macvlan-ctl: note: would be forgotten: {of_web}\n")), "{dry}");
    before.assert_same(&Footprint::of(&lab));
    // What goes with a child that is deleted is not forgotten.
    let deleted = lab.ctl(&["-j", "detach", "eth0", "--dry-run", "--delete-children"]).succeeded().json();
    assert_eq!(deleted["forgotten"], json!([&of_master]));

    let ran = lab.ctl(&["detach", "eth0"]).succeeded();

    let notes = [&of_master, &of_web].map(|line| format!("macvlan-ctl: note: forgotten: {line}\n"));
    assert_eq!((ran.stdout.as_str(), ran.stderr), ("", notes.concat()));
    lab.ctl(&["attach", "eth0"]).succeeded();
    assert_eq!(forgotten(&lab), json!([]));
    let ran = lab.ctl(&["detach", "eth0"]).succeeded();
    assert_eq!((ran.stdout.as_str(), ran.stderr.as_str()), ("", ""), "nothing is forgotten");
    lab.ctl(&["attach", "eth0", "--storm-limit=7"]).succeeded();
    let quiet = lab.ctl(&["-q", "detach", "eth0"]).succeeded();
    assert_eq!((quiet.stdout.as_str(), quiet.stderr.as_str()), ("", ""));
}

#[test]
fn detach_says_of_many_children_how_many_more_there_are() {
    needs!(require::lab, require::binary);
    let lab = Lab::new();
    let specs: Vec<String> = (0..12).map(|number| format!("web{number},host-access=off")).collect();
    let mut line = vec!["attach", "eth0"];
    line.extend(specs.iter().flat_map(|spec| ["--child", spec.as_str()]));
    lab.ctl(&line).succeeded();
    assert_eq!(forgotten(&lab).as_array().map(Vec::len), Some(12));
    let told = lab.ctl(&["-v", "detach", "eth0", "--dry-run"]).succeeded().stderr;
    assert_eq!(told.lines().count(), 12, "{told}");
    let told = lab.ctl(&["detach", "eth0"]).succeeded().stderr;
    assert_eq!(told.lines().count(), 11, "{told}");
    assert!(told.ends_with("settings of 2 more children; -v or -j lists them\n"), "{told}");
}

#[test]
fn detach_of_a_shim_says_who_was_kept_from_the_host() {
    needs!(require::lab, require::tc, require::binary);
    let lab = Lab::new();
    let web = lab.newcomer("web");
    lab.mounts().name_netns("home", &web.ns);
    let without_bpf = |args: &[&str]| {
        let mut command = lab.ctl_command(args);
        deny::bpf(&mut command, libc::EPERM);
        cli::output(&mut command).succeeded()
    };
    let child = spec(&web, "host-access=off");
    without_bpf(&["attach", "eth0", "--on-missing-bpf=shim", "--child", &child]);
    // A shim that is there stays when nobody says what to do.
    without_bpf(&["attach", "eth0"]);
    assert_eq!(status(&lab)["hairpin"], "shim");
    let told = without_bpf(&["-j", "detach", "eth0", "--dry-run"]).json();
    assert_eq!(told["forgotten"], json!(["macvlan \"web\" in netns \"home\": host access off"]));
    without_bpf(&["attach", "eth0", "--on-missing-bpf=plain"]);
    assert_eq!(status(&lab)["hairpin"], "off");
}

#[test]
fn check_knows_that_a_shim_is_to_leave_strangers_alone() {
    needs!(require::lab, require::tc, require::binary);
    let lab = Lab::new();
    let _stranger = lab.child("stranger", Mode::Bridge);
    let without_bpf = |args: &[&str]| {
        let mut command = lab.ctl_command(args);
        deny::bpf(&mut command, libc::EPERM);
        cli::output(&mut command)
    };
    without_bpf(&["attach", "eth0", "--on-missing-bpf=shim"]).succeeded();
    assert_eq!(child(&status(&lab), "stranger")["host_access"], true);
    write(&lab, "on-missing-bpf = \"shim\"\nadopt = false");
    assert_eq!(without_bpf(&["check", "--config", FILE]).code(), 1);
    without_bpf(&["apply", "--config", FILE]).succeeded();
    assert_eq!(child(&status(&lab), "stranger")["host_access"], false);
    without_bpf(&["check", "--config", FILE]).succeeded();
}

#[test]
fn what_was_done_is_printed_as_json() {
    needs!(require::lab, require::binary);
    let lab = Lab::new();
    for line in [
        &["attach", "eth0", "--child", "web"][..],
        &["child", "add", "eth0", "db"],
        &["child", "set", "eth0", "db,host-access=off"],
        &["child", "del", "eth0", "db"],
        &["attach", "eth0"],
        &["detach", "eth0", "--delete-children"],
    ] {
        let dry = lab.ctl(&[&["-j"], line, &["--dry-run"]].concat()).succeeded();
        let done = lab.ctl(&[&["-j"], line].concat()).succeeded();
        assert_eq!(done.json(), dry.json(), "{line:?}");
        assert_eq!(done.stderr, "", "{line:?}");
        let Value::Object(keys) = done.json() else { panic!("an object is wanted: {}", done.report()) };
        assert_eq!(keys.keys().collect::<Vec<_>>(), ["forgotten", "steps", "warnings"]);
        assert!(keys["steps"].as_array().is_some_and(|steps| !steps.is_empty()), "{}", done.report());
    }
    // What is less than asked for is told there too.
    let mut command = lab.ctl_command(&["-j", "attach", "eth0"]);
    deny::bpf(&mut command, libc::EPERM);
    let warned = cli::output(&mut command).succeeded();
    let warnings = warned.json()["warnings"].clone();
    let text = warnings[0].as_str().or_fail("read the warning");
    assert!(text.contains("operation not permitted") && warned.stderr.contains(text), "{}", warned.report());
}

#[test]
fn strangers_stay_left_alone_by_an_apply_that_names_one() {
    needs!(require::lab, require::tc, require::binary);
    let lab = Lab::new();
    let stranger = lab.child("stranger", Mode::Bridge);
    lab.ctl(&["attach", "eth0", "--no-adopt"]).succeeded();
    let path = stranger.ns.path();
    let table = format!("[[master.child]]\nname = \"stranger\"\nnetns = {path:?}\nhost-access = false\n");
    let refused = apply(&lab, &table);
    assert!(refused.failed(1).contains("say adopt = true"), "{}", refused.report());
    assert!(members(&lab).is_empty());
    apply(&lab, &format!("adopt = true\n{table}")).succeeded();
    assert_eq!(child(&status(&lab), "stranger")["host_access"], false);
}

/// A lab with a child `web`, attached to with all options and these further arguments.
#[track_caller]
fn attached(args: &[&str]) -> (Lab, Station) {
    let lab = Lab::new();
    let web = lab.newcomer("web");
    let child = spec(&web, "mode=bridge");
    let told = OPTIONS.map(|(told, ..)| told);
    lab.ctl(&[&["attach", "eth0", "--require-bpf", "--child", &child], &told[..], args].concat()).succeeded();
    (lab, web)
}

/// What all options are called once they are set.
fn all() -> Vec<&'static str> {
    OPTIONS.iter().map(|(.., named)| *named).collect()
}

/// What a detach would forget.
#[track_caller]
fn forgotten(lab: &Lab) -> Value {
    lab.ctl(&["-j", "detach", "eth0", "--dry-run"]).succeeded().json()["forgotten"].clone()
}

/// The options of the lab's master that are not the default: those that a detach would forget.
#[track_caller]
fn of_master(lab: &Lab) -> Vec<String> {
    let forgotten = forgotten(lab);
    let lines = forgotten.as_array().or_fail("read what would be forgotten");
    let line = lines.iter().filter_map(Value::as_str).find_map(|line| line.strip_prefix("eth0: "));
    line.map(|line| line.split(", ").map(str::to_owned).collect()).unwrap_or_default()
}

/// Writes the lab's configuration: its master, with these lines.
#[track_caller]
fn write(lab: &Lab, lines: &str) {
    let text = format!("[[master]]\nname = \"eth0\"\n{lines}\n");
    lab.mounts().enter(|| fs::write(FILE, &text).or_fail("write a configuration"));
}

#[track_caller]
fn apply(lab: &Lab, lines: &str) -> Ran {
    write(lab, lines);
    lab.ctl(&["apply", "--config", FILE])
}

#[track_caller]
fn check(lab: &Lab, lines: &str) -> Ran {
    write(lab, lines);
    lab.ctl(&["check", "--config", FILE])
}

/// Makes a follower read its configuration anew.
#[track_caller]
fn reload(run: &Following<'_>) {
    run.signal(Signal::SIGHUP);
    run.wait_for_word("RELOADING=1");
    run.wait_for_word("READY=1");
}
