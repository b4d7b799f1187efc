//! The first process of a virtual machine that runs test programs: sets the machine up, runs what
//! `/guest/programs` lists, says how each ended, and switches the machine off.
//!
//! `cargo xtask vm-test` makes the machine, and reads what is said here from its serial line.

use std::{
    fs::{self, File},
    io,
    os::fd::{AsRawFd as _, RawFd},
    path::PathBuf,
    process::{Command, ExitCode},
};

use macvlan_tests::fail::OrFail as _;
use nix::{
    mount::{MsFlags, mount},
    sys::reboot::{RebootMode, reboot},
};

/// Where `cargo xtask vm-test` has put what the machine needs.
const MODULES: &str = "/guest/modules";
const PROGRAMS: &str = "/guest/programs";
const OBJECT: &str = "/guest/macvlan.bpfel.o";

/// The machine's network cards, which are there to be tested on, as the kernel calls them and as tests do:
/// they move to namespaces that have an `eth0`.
const CARDS: [(&str, &str); 2] = [("eth0", "card0"), ("eth1", "card1")];

/// Begins every line of ours: the other lines are of the tests and the kernel.
const TAG: &str = "@guest";

/// File systems that tests and the program under test expect, in the order of mounting.
const MOUNTS: [(&str, &str); 9] = [
    ("proc", "/proc"),
    ("sysfs", "/sys"),
    ("devtmpfs", "/dev"),
    ("devpts", "/dev/pts"),
    ("tmpfs", "/dev/shm"),
    ("tmpfs", "/run"),
    ("tmpfs", "/tmp"),
    ("cgroup2", "/sys/fs/cgroup"),
    ("bpf", "/sys/fs/bpf"),
];

fn main() -> ExitCode {
    if std::process::id() != 1 {
        eprintln!("this is the first process of a virtual machine: run `cargo xtask vm-test`");
        return ExitCode::from(2);
    }
    // Whatever happens, the machine goes off: nobody waits for one that hangs.
    let outcome = std::panic::catch_unwind(run);
    println!("{TAG} {}", if outcome.is_ok() { "done" } else { "failed" });
    let Err(error) = reboot(RebootMode::RB_POWER_OFF);
    panic!("cannot switch the machine off: {error}");
}

fn run() {
    for (fstype, target) in MOUNTS {
        fs::create_dir_all(target).or_fail(format!("make {target}"));
        mount(Some(fstype), target, Some(fstype), MsFlags::empty(), None::<&str>)
            .or_fail(format!("mount {fstype} on {target}"));
    }
    use_console();
    for module in sorted(MODULES) {
        load(&module).or_fail(format!("load {}", module.display()));
    }
    for (card, name) in CARDS {
        let named = Command::new("/bin/ip").args(["link", "set", card, "name", name]).status();
        assert!(named.or_fail("run ip").success(), "there is no network card {card}");
    }
    let programs = fs::read_to_string(PROGRAMS).or_fail(format!("read {PROGRAMS}"));
    for line in programs.lines() {
        let mut words = line.split_whitespace();
        let Some(program) = words.next() else { continue };
        println!("{TAG} begin {line}");
        let mut command = Command::new(program);
        command.args(words).env("MACVLAN_TESTS_STRICT", "1").env("MACVLAN_CTL_BIN", "/bin/macvlan-ctl");
        command
            .env("MACVLAN_BPF_OBJECT", OBJECT)
            .env("MACVLAN_TESTS_CARDS", CARDS.map(|(_, name)| name).join(" "));
        // Emulation is slow, and slower beside other work.
        command.env("MACVLAN_TESTS_PATIENCE", "600");
        command.env("PATH", "/bin:/sbin:/usr/bin:/usr/sbin").env("RUST_BACKTRACE", "0");
        let status = command.status().or_fail(format!("run {program}"));
        println!("{TAG} end {} {line}", status.code().unwrap_or(-1));
    }
    // Oops and warning are bits of it (Documentation/admin-guide/tainted-kernels.rst).
    let taint = fs::read_to_string("/proc/sys/kernel/tainted").or_fail("ask for the kernel's taint");
    println!("{TAG} taint {}", taint.trim());
}

/// Makes the serial line this process's input and output, and that of all it starts.
fn use_console() {
    let console = File::options().read(true).write(true).open("/dev/console").or_fail("open the console");
    let console: RawFd = console.as_raw_fd();
    for fd in 0..3 {
        // SAFETY: takes and gives back integers.
        let done = unsafe { libc::dup2(console, fd) };
        assert!(done == fd, "cannot use the console: {}", io::Error::last_os_error());
    }
}

/// The files of a directory in the order of their names.
fn sorted(directory: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory).or_fail(format!("list {directory}"));
    let mut files: Vec<PathBuf> =
        entries.map(|entry| entry.or_fail(format!("list {directory}")).path()).collect();
    files.sort();
    files
}

fn load(module: &PathBuf) -> io::Result<()> {
    let file = File::open(module)?;
    // SAFETY: the descriptor is open, the parameters are an empty string that ends in NUL.
    let done = unsafe { libc::syscall(libc::SYS_finit_module, file.as_raw_fd(), c"".as_ptr(), 0) };
    if done == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
