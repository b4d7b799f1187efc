//! The configuration file on real devices: what `apply` makes of a machine, and what `check` says.

mod apply;
mod drift;
mod failures;
mod ownership;
mod policy;

use std::{fmt::Display, fs};

use macvlan_tests::{
    cli::{self, Ran},
    control::{devices, only, status},
    fail::OrFail as _,
    lab::{Lab, Station},
    leak::Traces,
};
use serde_json::Value;

/// In the lab's own `/run`.
const FILE: &str = "/run/macvlan-ctl.toml";

/// Writes the lab's configuration.
#[track_caller]
fn configure(lab: &Lab, content: impl AsRef<[u8]> + Sync) {
    lab.mounts().enter(|| fs::write(FILE, &content).or_fail("write a configuration"));
}

/// A configuration of the lab's master, with these lines.
fn master(lines: &str) -> String {
    format!("[[master]]\nname = \"eth0\"\n{lines}\n")
}

/// A child that is to be this station, with these further lines.
fn child_table(station: &Station, lines: &str) -> String {
    let Station { ns, dev, mac, ip, .. } = station;
    let netns = ns.path();
    format!(
        "[[master.child]]\nname = {dev:?}\nnetns = {netns:?}\nmac = \"{mac}\"\nip = [\"{ip}/24\"]\n{lines}\n"
    )
}

/// Runs `apply` or `check` with the lab's configuration and these further arguments.
#[track_caller]
fn with_file(lab: &Lab, command: &str, args: &[&str]) -> Ran {
    lab.ctl(&[&[command, "--config", FILE], args].concat())
}

/// The exit status of a command that cannot do as asked: for `check` that is no answer, which is another
/// thing than a difference.
fn status_of_failure(command: &str) -> i32 {
    if command == "check" { 2 } else { 1 }
}

/// Applies the lab's configuration.
#[track_caller]
fn apply(lab: &Lab) -> Ran {
    with_file(lab, "apply", &[]).succeeded()
}

/// Makes sure that the machine is as the file says: by `check`, and by an `apply` that does nothing.
#[track_caller]
fn assert_up_to_date(lab: &Lab) {
    let before = Everything::of(lab, &[]);
    for command in ["check", "apply"] {
        let ran = with_file(lab, command, &[]).succeeded();
        assert_eq!((ran.stdout.as_str(), ran.stderr.as_str()), ("up to date\n", ""), "{command}");
    }
    assert_untouched(&Everything::of(lab, &[]), &before, "nothing was to be done");
}

/// Makes sure that `check` finds exactly these differences, each named by a part of its words, and
/// changes nothing.
#[track_caller]
fn assert_differs(lab: &Lab, stations: &[&Station], parts: &[&str]) {
    let before = Everything::of(lab, stations);
    let ran = with_file(lab, "check", &[]);
    let message = ran.failed(1);
    assert!(message.contains("differs from this machine"), "{message}");
    let steps: Vec<&str> = ran.stdout.lines().collect();
    assert_eq!(steps.len(), parts.len(), "{}", ran.report());
    for (step, part) in steps.iter().zip(parts) {
        assert!(step.starts_with("eth0: ") && step.contains(part), "{part:?} in {step:?}");
    }
    assert_untouched(&Everything::of(lab, stations), &before, "check changes nothing");
}

/// What a command could change.
#[derive(Debug)]
struct Everything {
    traces: Traces,
    status: Value,
    devices: Vec<Vec<Value>>,
    addresses: Vec<Value>,
    nsids: String,
}

impl Everything {
    #[track_caller]
    fn of(lab: &Lab, stations: &[&Station]) -> Self {
        let addresses = stations.iter().map(|station| station.ns.ip_json("addr show"));
        Self {
            traces: Traces::of(lab),
            status: status(lab),
            devices: stations.iter().map(|station| devices(station)).collect(),
            addresses: addresses.collect(),
            nsids: cli::run(lab.host.ns.command("ip").args(["netns", "list-id"])),
        }
    }
}

/// The only child at a station, as `ip` tells of it.
#[track_caller]
fn device(station: &Station) -> Value {
    only(&devices(station).into()).clone()
}

/// Default routes at a station, as `ip` tells of them.
#[track_caller]
fn default_routes(station: &Station) -> Value {
    station.ns.ip_json("route show default")
}

/// Fails when anything is another now.
#[track_caller]
fn assert_untouched(now: &Everything, before: &Everything, case: impl Display) {
    assert_same(now, before, &case);
    assert_eq!(now.nsids, before.nsids, "{case}");
}

/// Fails when anything is another now but the numbers of namespaces: whoever may change something
/// numbers them to find children, and the kernel never takes a number back.
#[track_caller]
fn assert_same(now: &Everything, before: &Everything, case: impl Display) {
    let Everything { traces, status, devices, addresses, nsids: _ } = now;
    assert_eq!(*status, before.status, "{case}");
    assert_eq!(*devices, before.devices, "{case}");
    assert_eq!(*addresses, before.addresses, "{case}");
    assert_eq!(traces.pins, before.traces.pins, "{case}");
    assert_eq!(*traces, before.traces, "{case}");
}
