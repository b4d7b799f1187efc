//! Attach, upgrade, detach, and each change of children, stopped dead after each of its steps: wire
//! and children go on talking, every command works at once, and the next run leaves the system as if
//! nothing had happened.
//!
//! `control_killed` kills at any moment; this kills at every step with `MACVLAN_TESTS_STRIDE=1`, at every
//! fifth without.

use std::{collections::BTreeMap, os::unix::process::ExitStatusExt as _};

use macvlan_common::child::Mode;
use macvlan_tests::{
    cli,
    control::{Pinned, child, devices, make_older, named, pinned, spec, status},
    fail::{OrFail as _, wait_for},
    lab::{Lab, Station},
    leak::Traces,
    needs, require,
    talk::ping,
};

/// What the data path is attached with.
type Args = &'static [&'static str];

const TCX: Args = &["--tc", "tcx"];
const CLSACT: Args = &["--tc", "clsact"];
const NATIVE: Args = &["--xdp", "native"];
const MEANS: [Args; 3] = [TCX, CLSACT, NATIVE];

/// With no program at ingress.
const LEAN: [Args; 2] = [&["--tc", "tcx", "--ingress", "off"], &["--tc", "clsact", "--ingress", "off"]];

/// Keeps a child to its MAC, by a program on its own device.
const HELD: &str = "anti-spoof=mac";

/// Every so many steps: `MACVLAN_TESTS_STRIDE`, or 5. All of them take minutes.
fn stride() -> usize {
    let wanted = std::env::var("MACVLAN_TESTS_STRIDE").ok();
    wanted.map_or(5, |stride| stride.parse().or_fail("read MACVLAN_TESTS_STRIDE"))
}

/// No command has so many steps.
const MOST: usize = 500;

#[test]
fn after_every_step_of_an_attach() {
    needs!(require::lab, require::tc, require::crash_points);
    let cases = MEANS.into_iter().chain(LEAN).map(Case::new);
    for case in cases.chain([Case::held()]) {
        case.stop_at_each_step(|| {}, &case.attach());
    }
}

#[test]
fn after_every_step_of_a_detach() {
    needs!(require::lab, require::tc, require::crash_points);
    let detach = ["detach", "eth0", "--delete-children"].map(str::to_owned);
    for case in MEANS.map(Case::new).into_iter().chain([Case::held()]) {
        case.stop_at_each_step(|| case.prepare(), &detach);
    }
}

#[test]
fn after_every_step_of_an_upgrade() {
    needs!(require::lab, require::tc, require::crash_points);
    for case in MEANS.map(Case::new) {
        let prepare = || {
            case.prepare();
            make_older(&case.lab);
        };
        case.stop_at_each_step(prepare, &case.attach());
    }
}

/// The programs on children's devices are replaced last, and by the next run where that one was killed.
#[test]
fn after_every_step_of_an_upgrade_of_held_children() {
    needs!(require::lab, require::tc, require::tcx, require::crash_points);
    let case = Case::held();
    for number in (1..).step_by(stride()) {
        assert!(number < MOST, "it never ends");
        case.prepare();
        make_older(&case.lab);
        let older = on_children(&case.lab);
        assert_eq!(older.len(), 2, "{older:?}");
        let Stopped::Dead(when) = case.stop(number, &case.attach()) else { break };
        case.check_survivors(number, &when);
        case.ctl(&case.attach());
        case.check_whole(&when);
        let now = on_children(&case.lab);
        assert!(now.keys().eq(older.keys()), "{now:?} and {older:?}, {when}");
        for (pin, program) in &now {
            assert_ne!(*program, older[pin], "{pin} is as it was, {when}");
        }
        assert_eq!(child(&status(&case.lab), "db")["anti_spoof"], "mac", "{when}");
        case.clear(&when);
    }
    case.clear("at the end");
}

/// Ids of the programs on children's own devices, by the pins of their links.
fn on_children(lab: &Lab) -> BTreeMap<String, u32> {
    let pins = pinned(lab).into_iter();
    pins.filter_map(|(name, pinned)| match pinned {
        Pinned::Link(_, program) if name.starts_with("child_") => Some((name, program)),
        _ => None,
    })
    .collect()
}

#[test]
fn after_every_step_of_adding_and_removing_a_child() {
    needs!(require::lab, require::tc, require::crash_points);
    let case = Case::new(TCX);
    let bare = case.line(&["attach", "eth0"]);
    let web = spec(&case.web, "");
    let add = ["child", "add", "eth0", web.as_str(), "near"].map(str::to_owned);
    case.stop_at_each_step(|| case.ctl(&bare), &add);
    let web = named(&case.web, "");
    let del = ["child", "del", "eth0", web.as_str(), "near"].map(str::to_owned);
    case.stop_at_each_step(|| case.ctl(&case.attach()), &del);
}

#[test]
fn after_every_step_of_adding_and_removing_a_port() {
    needs!(require::lab, require::tc, require::crash_points);
    let case = Case::new(TCX);
    let bare = case.line(&["attach", "eth0"]);
    let web = spec(&case.web, "kind=port");
    let add = ["child", "add", "eth0", web.as_str()].map(str::to_owned);
    case.stop_at_each_step(|| case.ctl(&bare), &add);
    let prepare = || {
        case.ctl(&bare);
        case.ctl(&add);
    };
    let del = ["child", "del", "eth0", &named(&case.web, "")].map(str::to_owned);
    case.stop_at_each_step(prepare, &del);
}

#[test]
fn after_every_step_of_changing_a_child() {
    needs!(require::lab, require::tc, require::crash_points);
    for args in [TCX].into_iter().chain(LEAN) {
        after_every_step_of_changing_a_child_of(&Case::new(args));
    }
}

/// Its master gets a program at ingress, where it had none.
#[track_caller]
fn after_every_step_of_changing_a_child_of(case: &Case) {
    let web = named(&case.web, "mtu=1400,host-access=off,new-group=lan,anti-spoof=mac");
    let set = ["child", "set", "eth0", web.as_str()].map(str::to_owned);
    let back = named(&case.web, "mtu=1500,host-access=on,anti-spoof=off");
    let case_back = || {
        case.ctl(&case.attach());
        case.ctl(&["child", "set", "eth0", &back]);
    };
    let victim = |number| case.stop(number, &set);
    for number in (1..).step_by(stride()) {
        assert!(number < MOST, "it never ends");
        case_back();
        let Stopped::Dead(when) = victim(number) else { break };
        case.check_survivors(number, &when);
        case_back();
        case.check_whole(&when);
        case.clear(&when);
    }
}

/// A lab with a child of somebody else, `db`, a device of the host's own, a place for a child of ours, and the
/// arguments that its data path is attached with.
struct Case {
    lab: Lab,
    db: Station,
    web: Station,
    args: Args,
    /// Both are held to their MACs.
    held: bool,
    before: Traces,
}

enum Stopped {
    /// After the step that this names.
    Dead(String),
    /// There was no such step: the command came to its end.
    Never,
}

impl Case {
    fn new(args: Args) -> Self {
        let lab = Lab::new();
        let db = lab.child("db", Mode::Bridge);
        let web = lab.newcomer("web");
        let mac = lab.newcomer("own").mac;
        lab.host.ns.ip(&format!("link add link eth0 name own address {mac} up type macvlan mode private"));
        wait_for("a device to be up", || lab.host.ns.ip("link show own").contains("state UP").then_some(()));
        let before = Traces::of(&lab);
        Self { lab, db, web, args, held: false, before }
    }

    /// One whose children are held to their MACs.
    fn held() -> Self {
        Self { held: true, ..Self::new(TCX) }
    }

    /// A command line with the case's own arguments.
    fn line(&self, line: &[&str]) -> Vec<String> {
        line.iter().chain(self.args).map(|word| (*word).to_owned()).collect()
    }

    /// Attaches, and makes both children that are ours.
    fn attach(&self) -> Vec<String> {
        let web = spec(&self.web, if self.held { HELD } else { "" });
        self.line(&["attach", "eth0", "--child", &web, "--child", "near"])
    }

    /// Attaches, and holds the child of somebody else to its MAC where that is the case.
    #[track_caller]
    fn prepare(&self) {
        self.ctl(&self.attach());
        if self.held {
            self.ctl(&["child", "set", "eth0", &named(&self.db, HELD)]);
        }
    }

    #[track_caller]
    fn ctl(&self, line: &[impl AsRef<str>]) {
        self.lab.ctl(&words(line)).succeeded();
    }

    /// Runs a command that is to stop dead after so many steps.
    #[track_caller]
    fn stop(&self, number: usize, line: &[String]) -> Stopped {
        let mut command = self.lab.ctl_command(&words(line));
        let ran = cli::output(command.env("MACVLAN_CTL_CRASH_AT", number.to_string()));
        if ran.status.signal() == Some(libc::SIGKILL) {
            return Stopped::Dead(format!("{} ({})", ran.stderr.trim(), ran.line));
        }
        ran.succeeded();
        assert!(number > 1, "the command has no crash points");
        Stopped::Never
    }

    /// Stops `victim` after each of its steps, from the same beginning every time.
    #[track_caller]
    fn stop_at_each_step(&self, prepare: impl Fn(), victim: &[String]) {
        for number in (1..).step_by(stride()) {
            assert!(number < MOST, "it never ends");
            prepare();
            let Stopped::Dead(when) = self.stop(number, victim) else { break };
            self.check_survivors(number, &when);
            match number % 3 {
                0 => {
                    self.ctl(&self.attach());
                    self.check_whole(&when);
                }
                1 => {
                    self.ctl(&["child", "add", "eth0", "extra"]);
                    self.ctl(&["child", "del", "eth0", "extra"]);
                }
                // What comes next may as well be the end.
                _ => {}
            }
            self.clear(&when);
        }
        self.clear("at the end");
    }

    /// What plain macvlan gives is there whatever happened, and looking is possible.
    #[track_caller]
    fn check_survivors(&self, number: usize, when: &str) {
        assert!(ping(&self.lab.wire, self.db.ip.into()), "wire to child, {when}");
        assert!(ping(&self.db, self.lab.wire.ip.into()), "child to wire, {when}");
        let looks = [&["status", "eth0"][..], &["stats", "eth0"], &["child", "list", "eth0"]];
        self.ctl(looks[number % looks.len()]);
    }

    /// All is as if the command had not been stopped.
    #[track_caller]
    fn check_whole(&self, when: &str) {
        for child in [&self.web, &self.db] {
            assert!(ping(&self.lab.host, child.ip.into()), "host to {}, {when}", child.dev);
            assert!(ping(child, self.lab.host.ip.into()), "{} to host, {when}", child.dev);
        }
        let status = status(&self.lab);
        assert_eq!(status["datapath"], "bpf", "{when}");
        assert_eq!(status["host_flood"], "device", "{when}");
        assert_eq!(status["children"].as_array().map_or(0, Vec::len), 4, "{when}: {status:#}");
        let own = Traces::of(&self.lab).own;
        assert!(own.get("own").is_some_and(|ingress| !ingress.is_free()), "{when}: {own:#?}");
        if self.held {
            assert_eq!(child(&status, "web")["anti_spoof"], "mac", "{when}");
            let mut degraded = status["degraded"].as_array().into_iter().flatten();
            assert!(degraded.all(|part| part["feature"] != "anti-spoof"), "{when}: {status:#}");
        }
    }

    #[track_caller]
    fn clear(&self, when: &str) {
        self.ctl(&["detach", "eth0", "--delete-children"]);
        assert!(devices(&self.web).is_empty(), "a child is left, {when}");
        assert_eq!(Traces::of(&self.lab), self.before, "{when}");
        assert_eq!(devices(&self.db).len(), 1, "a child of somebody else, {when}");
    }
}

fn words(line: &[impl AsRef<str>]) -> Vec<&str> {
    line.iter().map(AsRef::as_ref).collect()
}
