//! Machines on which BPF is unavailable, each in its own way: what is chosen, what is said, what still
//! talks, and that nothing is left. More of them in `control_degraded` and `shim`.

use std::{
    fs,
    ops::Range,
    path::{Path, PathBuf},
    sync::atomic::{AtomicU32, Ordering},
};

use ::object::{Object as _, ObjectSection as _, ObjectSymbol as _};
use macvlan_common::{child::Mode, names};
use macvlan_tests::{
    attached::tc_means,
    cli::{self, Ran},
    control::{names_of, only, status},
    deny,
    fail::OrFail as _,
    handwritten::has_xdp_frags,
    lab::{Lab, Station},
    leak::Traces,
    needs,
    progs::object,
    require,
    talk::{is_silent, ping},
};

/// Runs the program with these arguments.
type Run<'lab> = Box<dyn Fn(&[&str]) -> Ran + 'lab>;

/// A machine that lacks something: how it is made so, how the program runs there, and what is said.
struct Machine<'lab> {
    lab: &'lab Lab,
    run: Run<'lab>,
    reason: &'static str,
}

impl Machine<'_> {
    /// Checks every rung below BPF: refused, plain, with a shim, and away again.
    #[track_caller]
    fn check(&self, web: &Station) {
        let before = Traces::of(self.lab);
        let ran = (self.run)(&["attach", "eth0", "--on-missing-bpf", "fail"]);
        self.assert_says(ran.failed(1));
        assert_eq!(Traces::of(self.lab), before, "after a refusal");

        let ran = (self.run)(&["attach", "eth0"]).succeeded();
        self.assert_says(&ran.stderr);
        assert_eq!(self.hairpin(), "off");
        self.check_wire(web);
        assert!(is_silent(&self.lab.host, web.ip.into()));
        assert_eq!(Traces::of(self.lab), before, "plain");

        let ran = (self.run)(&["attach", "eth0", "--on-missing-bpf", "shim"]).succeeded();
        self.assert_says(&ran.stderr);
        assert_eq!(self.hairpin(), "shim");
        self.check_wire(web);
        assert!(ping(&self.lab.host, web.ip.into()) && ping(web, self.lab.host.ip.into()));

        (self.run)(&["detach", "eth0"]).succeeded();
        assert_eq!(Traces::of(self.lab), before, "after detach");
    }

    #[track_caller]
    fn assert_says(&self, text: &str) {
        assert!(text.contains(self.reason), "{:?} is wanted in: {text}", self.reason);
        assert_eq!(text.trim_end().lines().count(), 1, "one line is wanted: {text}");
    }

    #[track_caller]
    fn hairpin(&self) -> String {
        let json = (self.run)(&["-j", "status", "eth0"]).succeeded().json();
        let status = only(&json);
        assert_eq!(names_of(status), ["web".to_owned()].into());
        for part in status["degraded"].as_array().or_fail("read what is degraded") {
            let reason = part["reason"].as_str().or_fail("read a reason");
            assert!(reason.contains(self.reason), "{:?} is wanted in: {part:#}", self.reason);
        }
        status["hairpin"].as_str().or_fail("read the hairpin").to_owned()
    }

    #[track_caller]
    fn check_wire(&self, web: &Station) {
        assert!(ping(&self.lab.wire, web.ip.into()) && ping(web, self.lab.wire.ip.into()));
    }
}

#[test]
fn where_a_filter_on_system_calls_refuses_bpf() {
    needs!(require::lab, require::tc, require::binary);
    for (errno, reason) in
        [(libc::EPERM, "operation not permitted"), (libc::ENOSYS, "function not implemented")]
    {
        let lab = Lab::new();
        let web = lab.child("web", Mode::Bridge);
        let run = Box::new(|args: &[&str]| {
            let mut command = lab.ctl_command(args);
            deny::bpf(&mut command, errno);
            cli::output(&mut command)
        });
        Machine { lab: &lab, run, reason }.check(&web);
    }
}

#[test]
fn without_cap_bpf_and_cap_sys_admin() {
    needs!(require::lab, require::tc, require::setpriv, require::binary);
    let lab = Lab::new();
    let web = lab.child("web", Mode::Bridge);
    let denied = &["bpf", "perfmon", "sys_admin"];
    let run = Box::new(|args: &[&str]| cli::output(&mut deny::capabilities(&lab, denied, args)));
    Machine { lab: &lab, run, reason: "operation not permitted" }.check(&web);
}

#[test]
fn without_a_bpf_file_system() {
    needs!(require::lab, require::tc, require::binary);
    let lab = Lab::new();
    let web = lab.child("web", Mode::Bridge);
    lab.mounts().without_place_for_bpffs();
    let run = Box::new(|args: &[&str]| lab.ctl(args));
    Machine { lab: &lab, run, reason: "cannot mount the BPF file system" }.check(&web);
}

#[test]
fn with_a_bpf_file_system_that_nobody_may_write_to() {
    needs!(require::lab, require::tc, require::binary);
    let lab = Lab::new();
    let web = lab.child("web", Mode::Bridge);
    lab.mounts().set_bpffs_read_only(true);
    let run = Box::new(|args: &[&str]| lab.ctl(args));
    let reason = "cannot write to the BPF file system at /sys/fs/bpf: read-only file system";
    Machine { lab: &lab, run, reason }.check(&web);

    // A data path that is there goes on, is told of, and goes when it can.
    lab.mounts().set_bpffs_read_only(false);
    let before = Traces::of(&lab);
    lab.ctl(&["attach", "eth0"]).succeeded();
    lab.mounts().set_bpffs_read_only(true);
    assert_eq!(status(&lab)["hairpin"], tc_means()[0]);
    lab.ctl(&["attach", "eth0"]).succeeded();
    assert!(lab.ctl(&["detach", "eth0"]).failed(1).contains("cannot detach from \"eth0\""));
    assert!(ping(&lab.host, web.ip.into()));
    lab.mounts().set_bpffs_read_only(false);
    lab.ctl(&["detach", "eth0"]).succeeded();
    assert_eq!(Traces::of(&lab), before);
}

/// A name that stands in the program under test where it takes another object.
const SUBSTITUTE: &str = "MACVLAN_CTL_TEST_OBJECT";

#[test]
fn where_the_verifier_refuses_the_programs() {
    refused(&[names::INGRESS, names::EGRESS, names::CHILD_EGRESS], "the kernel refuses program macvlan_in: ");
}

#[test]
fn where_the_verifier_refuses_what_is_installed_last() {
    refused(&[names::EGRESS], "the kernel refuses program macvlan_out: ");
}

/// Checks every rung where the verifier refuses these programs.
#[track_caller]
fn refused(programs: &[&str], reason: &'static str) {
    needs!(require::lab, require::tc, require::binary);
    let lab = Lab::new();
    let web = lab.child("web", Mode::Bridge);
    let broken = broken_object(programs);
    let run = Box::new(|args: &[&str]| {
        let mut command = lab.ctl_command(args);
        cli::output(command.env(SUBSTITUTE, broken.path()))
    });
    if takes_another_object() {
        Machine { lab: &lab, run, reason }.check(&web);
    } else {
        // A release knows nothing of it.
        run(&["attach", "eth0", "--require-bpf"]).succeeded();
    }
}

fn takes_another_object() -> bool {
    let program = fs::read(cli::binary()).or_fail("read the program under test");
    program.windows(SUBSTITUTE.len()).any(|bytes| bytes == SUBSTITUTE.as_bytes())
}

/// The object with these programs never ending: what the verifier must not let pass.
fn broken_object(programs: &[&str]) -> Scratch {
    const EXIT: [u8; 8] = [0x95, 0, 0, 0, 0, 0, 0, 0];
    // `goto -1`: to itself.
    const FOREVER: [u8; 8] = [0x05, 0, 0xff, 0xff, 0, 0, 0, 0];
    let mut bytes = fs::read(object()).or_fail("read the object");
    for name in programs {
        let place = place_of(&bytes, name).or_fail(format!("find program {name}"));
        let (instructions, _) = bytes[place].as_chunks_mut::<8>();
        let exits = instructions.iter_mut().filter(|instruction| **instruction == EXIT);
        assert!(exits.map(|exit| *exit = FOREVER).count() > 0, "{name} does not end");
    }
    Scratch::new("broken", &bytes)
}

/// Where the instructions of a program are in the file.
fn place_of(elf: &[u8], program: &str) -> Option<Range<usize>> {
    let file = ::object::File::parse(elf).ok()?;
    let symbol = file.symbols().find(|symbol| symbol.name() == Ok(program))?;
    let section = file.section_by_index(symbol.section_index()?).ok()?;
    let (start, _) = section.file_range()?;
    let start = usize::try_from(start + symbol.address() - section.address()).ok()?;
    Some(start..start + usize::try_from(symbol.size()).ok()?)
}

/// A file that goes with its owner.
struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str, bytes: &[u8]) -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name = format!("macvlan-tests-{name}-{}-{number}", std::process::id());
        let path = std::env::temp_dir().join(name);
        fs::write(&path, bytes).or_fail("write a file");
        Self(path)
    }

    fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

#[test]
fn where_no_memory_may_be_locked_the_limit_does_no_harm_since_kernel_5_11() {
    needs!(require::lab, require::tc, require::setpriv, require::binary);
    let lab = Lab::new();
    let web = lab.child("web", Mode::Bridge);
    let before = Traces::of(&lab);
    let run = |args: &[&str]| {
        let mut command = deny::capabilities(&lab, &["sys_resource"], args);
        deny::locked_memory(&mut command);
        cli::output(&mut command)
    };
    let ran = run(&["attach", "eth0", "--on-missing-bpf", "shim"]).succeeded();
    let hairpin = only(&run(&["-j", "status", "eth0"]).succeeded().json())["hairpin"].clone();
    // Before, the limit is to blame, and the shim is there. Programs for several buffers came with 5.18.
    let may_be_shim = !has_xdp_frags() && hairpin == "shim";
    assert!(may_be_shim || hairpin == tc_means()[0], "{hairpin}: {}", ran.report());
    assert!(ping(&lab.host, web.ip.into()) && ping(&web, lab.host.ip.into()));
    run(&["detach", "eth0"]).succeeded();
    assert_eq!(Traces::of(&lab), before);
}

#[test]
fn where_the_map_is_full_the_children_in_it_go_on_and_the_others_are_plain() {
    needs!(require::lab, require::tc, require::binary);
    let lab = Lab::new();
    let web = lab.child("web", Mode::Bridge);
    let before = Traces::of(&lab);
    lab.ctl(&["attach", "eth0", "--max-children", "1"]).succeeded();
    let late = lab.child("late", Mode::Bridge);
    let attached = Traces::of(&lab);
    for args in [&["attach", "eth0"][..], &["child", "add", "eth0", "more"]] {
        let ran = lab.ctl(args);
        let message = ran.failed(1);
        assert!(message.contains("maximum of 1") && message.contains("detach"), "{message}");
        assert_eq!(Traces::of(&lab), attached, "{args:?}");
    }
    assert!(ping(&lab.host, web.ip.into()) && ping(&web, lab.host.ip.into()));
    assert!(ping(&lab.wire, late.ip.into()) && ping(&late, web.ip.into()));
    assert!(is_silent(&lab.host, late.ip.into()));
    assert_eq!(names_of(&status(&lab)), ["web".to_owned()].into());
    lab.ctl(&["detach", "eth0"]).succeeded();
    assert_eq!(Traces::of(&lab), before);
}

#[test]
fn where_run_cannot_be_written_to_nothing_is_changed_until_it_can() {
    needs!(require::lab, require::tc, require::binary);
    let lab = Lab::new();
    let web = lab.child("web", Mode::Bridge);
    let before = Traces::of(&lab);
    lab.ctl(&["attach", "eth0"]).succeeded();
    let attached = Traces::of(&lab);
    lab.ctl(&["detach", "eth0"]).succeeded();
    let mounts = lab.mounts();
    type Set<'a> = &'a dyn Fn(bool);
    let ways: [(Set<'_>, &str); 2] = [
        (&|on| mounts.set_run_read_only(on), "read-only file system"),
        (&|on| mounts.set_run_full(on), "no space left on device"),
    ];
    for (make, reason) in ways {
        make(true);
        for args in [&["attach", "eth0"][..], &["child", "add", "eth0", "more"], &["detach", "eth0"]] {
            let ran = lab.ctl(args);
            let message = ran.failed(1).to_lowercase();
            assert!(message.contains("/run/macvlan-ctl") && message.contains(reason), "{message}");
            assert_eq!(Traces::of(&lab), before, "{args:?}");
        }
        // Who only looks needs no lock.
        assert_eq!(status(&lab)["datapath"], "kernel");
        lab.ctl(&["stats", "eth0"]).succeeded();
        make(false);
        lab.ctl(&["attach", "eth0"]).succeeded();
        assert_eq!(attached.qdiscs, Traces::of(&lab).qdiscs);
        assert!(ping(&lab.host, web.ip.into()));

        // What is attached goes on meanwhile.
        make(true);
        lab.ctl(&["detach", "eth0"]).failed(1);
        assert_eq!(status(&lab)["hairpin"], tc_means()[0]);
        assert!(ping(&web, lab.host.ip.into()));
        make(false);
        lab.ctl(&["detach", "eth0"]).succeeded();
        assert_eq!(Traces::of(&lab), before);
    }
}
