//! Runs that were killed at any moment: the next command puts right whatever is there.

use std::{
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use macvlan_tests::{
    control::{devices, named, spec},
    fail::OrFail as _,
    lab::{Lab, Station},
    leak::Traces,
    needs, require,
    rng::{Rng, seed},
    talk::ping,
};

/// How often each command is killed.
const ROUNDS: usize = 40;

/// What the data path is attached with.
type Args = &'static [&'static str];

const TCX: Args = &["--tc", "tcx"];
const CLSACT: Args = &["--tc", "clsact"];
const NATIVE: Args = &["--xdp", "native"];

#[test]
fn an_attach_that_was_killed_is_repaired_by_the_next() {
    needs!(require::lab, require::tc, require::binary);
    kill_attach(TCX);
}

#[test]
fn an_attach_with_clsact_that_was_killed_is_repaired_by_the_next() {
    needs!(require::lab, require::tc, require::binary);
    kill_attach(CLSACT);
}

#[test]
fn an_attach_with_native_xdp_that_was_killed_is_repaired_by_the_next() {
    needs!(require::lab, require::tc, require::binary);
    kill_attach(NATIVE);
}

#[track_caller]
fn kill_attach(args: Args) {
    let case = Case::new(args);
    let web = spec(&case.web, "");
    let attach = case.line(&["attach", "eth0", "--child", &web, "--child", "db"]);
    case.kill_often(|| {}, &attach, &["attach", "eth0", "--child", &web]);
}

#[test]
fn a_child_add_that_was_killed_is_repaired_by_the_next() {
    needs!(require::lab, require::tc, require::binary);
    let case = Case::new(TCX);
    let web = spec(&case.web, "");
    let attach = case.line(&["attach", "eth0"]);
    let prepare = || {
        case.ctl(&attach);
    };
    let add = ["child", "add", "eth0", web.as_str(), "db"].map(str::to_owned);
    case.kill_often(prepare, &add, &["attach", "eth0", "--child", &web]);
}

#[test]
fn a_child_del_that_was_killed_is_repaired_by_the_next() {
    needs!(require::lab, require::tc, require::binary);
    let case = Case::new(TCX);
    let web = spec(&case.web, "");
    let attach = case.line(&["attach", "eth0", "--child", &web, "--child", "db"]);
    let prepare = || {
        case.ctl(&attach);
    };
    let named = named(&case.web, "");
    let del = ["child", "del", "eth0", named.as_str(), "db"].map(str::to_owned);
    case.kill_often(prepare, &del, &["attach", "eth0", "--child", &web]);
}

#[test]
fn a_detach_that_was_killed_is_repaired_by_the_next_attach() {
    needs!(require::lab, require::tc, require::binary);
    kill_detach(TCX);
}

#[test]
fn a_detach_of_clsact_that_was_killed_is_repaired_by_the_next_attach() {
    needs!(require::lab, require::tc, require::binary);
    kill_detach(CLSACT);
}

#[track_caller]
fn kill_detach(args: Args) {
    let case = Case::new(args);
    let web = spec(&case.web, "");
    let attach = case.line(&["attach", "eth0", "--child", &web, "--child", "db"]);
    let prepare = || {
        case.ctl(&attach);
    };
    let detach = ["detach", "eth0", "--delete-children"].map(str::to_owned);
    case.kill_often(prepare, &detach, &["attach", "eth0", "--child", &web]);
}

#[test]
fn a_detach_after_a_killed_attach_leaves_nothing() {
    needs!(require::lab, require::tc, require::binary);
    for args in [TCX, CLSACT] {
        let case = Case::new(args);
        let web = spec(&case.web, "");
        let attach = case.line(&["attach", "eth0", "--child", &web, "--child", "db"]);
        let mut random = Rng::new(seed());
        let usual = case.time(&attach);
        for _ in 0..ROUNDS {
            case.ctl(&["detach", "eth0", "--delete-children"]);
            case.expect_nothing("after a detach");
            kill_after(random.below(usual), &mut case.lab.ctl_command(&words(&attach)));
        }
        case.ctl(&["detach", "eth0", "--delete-children"]);
        case.expect_nothing("after the last detach");
    }
}

/// A lab with a place for a child, and the arguments that its data path is attached with.
struct Case {
    lab: Lab,
    web: Station,
    args: Args,
    before: Traces,
}

impl Case {
    fn new(args: Args) -> Self {
        let lab = Lab::new();
        let web = lab.newcomer("web");
        let before = Traces::of(&lab);
        Self { lab, web, args, before }
    }

    /// A command line with the case's own arguments.
    fn line(&self, line: &[&str]) -> Vec<String> {
        line.iter().chain(self.args).map(|word| (*word).to_owned()).collect()
    }

    #[track_caller]
    fn ctl(&self, line: &[impl AsRef<str>]) {
        self.lab.ctl(&words(line)).succeeded();
    }

    /// Microseconds that a command takes.
    #[track_caller]
    fn time(&self, line: &[impl AsRef<str>]) -> usize {
        let start = Instant::now();
        self.ctl(line);
        start.elapsed().as_micros() as usize
    }

    /// Kills `victim` at some moment, then `cure` must put everything right; and so on.
    #[track_caller]
    fn kill_often(&self, prepare: impl Fn(), victim: &[String], cure: &[&str]) {
        let mut random = Rng::new(seed());
        prepare();
        let usual = self.time(victim);
        self.clear("at first");
        for round in 0..ROUNDS {
            prepare();
            let moment = random.below(usual);
            let when = format!("round {round}, killed after {moment} of {usual} us");
            kill_after(moment, &mut self.lab.ctl_command(&words(victim)));

            self.ctl(&self.line(cure));

            assert!(ping(&self.lab.host, self.web.ip.into()), "host to child, {when}");
            assert!(ping(&self.web, self.lab.host.ip.into()), "child to host, {when}");
            self.clear(&when);
        }
    }

    #[track_caller]
    fn clear(&self, when: &str) {
        self.ctl(&["detach", "eth0", "--delete-children"]);
        self.expect_nothing(when);
    }

    #[track_caller]
    fn expect_nothing(&self, when: &str) {
        assert!(devices(&self.web).is_empty(), "a child is left, {when}");
        assert_eq!(Traces::of(&self.lab), self.before, "{when}");
    }
}

fn words(line: &[impl AsRef<str>]) -> Vec<&str> {
    line.iter().map(AsRef::as_ref).collect()
}

/// Starts a command and kills it after so many microseconds.
fn kill_after(moment: usize, command: &mut Command) {
    let mut victim = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().or_fail("run the victim");
    // Nothing is waited for: the moment itself is what is tried.
    thread::sleep(Duration::from_micros(moment as u64));
    victim.kill().or_fail("kill the victim");
    victim.wait().or_fail("wait for the victim");
}
