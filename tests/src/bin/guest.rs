//! The first process of a virtual machine that runs test programs: sets the machine up, runs what
//! `/guest/programs` lists, says how each ended, and switches the machine off.
//!
//! `cargo xtask vm-test` makes the machine, and reads what is said here from its serial line.

use std::{
    ffi::CString,
    fs::{self, File},
    io,
    os::fd::{AsRawFd as _, RawFd},
    path::Path,
    process::{Command, ExitCode},
};

use macvlan_tests::fail::OrFail as _;
use nix::{
    mount::{MsFlags, mount},
    sys::reboot::{RebootMode, reboot},
};

/// Where `cargo xtask vm-test` has put what the machine needs.
const MODULES: &str = "/guest/modules";
const MODULE_LIST: &str = "/guest/module-list";
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
    // Where engines keep what they know, and where they look for what runs.
    fs::create_dir_all("/var/lib").or_fail("make /var/lib");
    std::os::unix::fs::symlink("/run", "/var/run").or_fail("make /var/run");
    let modules = fs::read_to_string(MODULE_LIST).or_fail(format!("read {MODULE_LIST}"));
    for (module, parameters) in modules.lines().filter_map(|line| line.split_once(' ')) {
        load(module, parameters).or_fail(format!("load {module}"));
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
        command.env("MACVLAN_TESTS_RADIOS", radios().join(" "));
        // The root of what boots from memory cannot be pivoted, by which engines give containers theirs.
        command.env("DOCKER_RAMDISK", "yes");
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

/// Numbers of the radios that the kernel simulates.
fn radios() -> Vec<String> {
    // Without a wireless driver, the kernel knows no such devices.
    let Ok(entries) = fs::read_dir("/sys/class/ieee80211") else { return Vec::new() };
    let number = |entry: io::Result<fs::DirEntry>| {
        let index = entry.or_fail("list the radios").path().join("index");
        fs::read_to_string(index).or_fail("read the number of a radio").trim().to_owned()
    };
    let mut numbers: Vec<String> = entries.map(number).collect();
    numbers.sort();
    numbers
}

fn load(module: &str, parameters: &str) -> io::Result<()> {
    let file = File::open(Path::new(MODULES).join(module))?;
    let parameters = CString::new(parameters)?;
    // SAFETY: the descriptor is open, the parameters are a string that ends in NUL.
    let done = unsafe { libc::syscall(libc::SYS_finit_module, file.as_raw_fd(), parameters.as_ptr(), 0) };
    if done == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
