//! What a test needs of the machine; what is missing is said aloud, never passed over.

mod kernel;
mod program;

use std::{env, io::Write as _, os::unix::process::ExitStatusExt as _, path::Path};

use crate::cli;

pub use crate::require::{
    kernel::{
        bond, bridge, bridge_netfilter, fq, ipvlan, receive_priority, silent_sockets, tcx, telling_sockets,
        vlan, vxlan,
    },
    program::program,
};

/// Something the machine may lack: its name, and a check that gives the reason when it does.
pub type Need = fn() -> Result<(), String>;

/// Ends the test here, loudly, when one of the needs is not met.
///
/// With `MACVLAN_TESTS_STRICT=1` in the environment that is a failure.
#[macro_export]
macro_rules! needs {
    ($($need:path),+ $(,)?) => {
        $(
            if let Err(reason) = $need() {
                $crate::require::missing(&reason);
                return;
            }
        )+
    };
}

/// Root, the `ip` tool, macvlan and veth devices.
///
/// # Errors
///
/// What of these is missing.
pub fn lab() -> Result<(), String> {
    root()?;
    program("ip")
}

/// Privileges to make namespaces and load BPF programs.
///
/// # Errors
///
/// When the tests run as another user.
pub fn root() -> Result<(), String> {
    if nix::unistd::geteuid().is_root() { Ok(()) } else { Err("not run as root".into()) }
}

/// The `ping` tool of iputils.
///
/// # Errors
///
/// When it is not installed.
pub fn ping_command() -> Result<(), String> {
    program("ping")
}

/// `arping` of iputils.
///
/// # Errors
///
/// When it is not installed.
pub fn arping() -> Result<(), String> {
    program("arping")
}

/// The `tc` tool of iproute2.
///
/// # Errors
///
/// When it is not installed.
pub fn tc() -> Result<(), String> {
    program("tc")
}

/// The `tcpdump` tool.
///
/// # Errors
///
/// When it is not installed.
pub fn tcpdump() -> Result<(), String> {
    program("tcpdump")
}

/// The `bpftool` tool.
///
/// # Errors
///
/// When it is not installed.
pub fn bpftool() -> Result<(), String> {
    program("bpftool")
}

/// The `setpriv` tool of util-linux.
///
/// # Errors
///
/// When it is not installed.
pub fn setpriv() -> Result<(), String> {
    program("setpriv")
}

/// Docker, and what a container of it needs.
///
/// # Errors
///
/// What of these is not installed.
pub fn docker() -> Result<(), String> {
    ["dockerd", "docker", "containerd", "runc", "busybox"].into_iter().try_for_each(program)
}

/// Podman, and what a container of it needs.
///
/// # Errors
///
/// What of these is not installed.
pub fn podman() -> Result<(), String> {
    ["podman", "runc", "busybox"].into_iter().try_for_each(program)
}

/// containerd with its client, and what a container of it needs.
///
/// # Errors
///
/// What of these is not installed.
pub fn containerd() -> Result<(), String> {
    ["containerd", "ctr", "runc", "busybox"].into_iter().try_for_each(program)
}

/// `prometheus` and its `promtool`.
///
/// # Errors
///
/// When they are not installed.
pub fn prometheus() -> Result<(), String> {
    program("prometheus").and_then(|()| program("promtool"))
}

/// The plugin under test, and the reference CNI plugins.
///
/// # Errors
///
/// What of these is not there.
pub fn cni() -> Result<(), String> {
    let programs = ["macvlan", "host-local", "static", "dhcp"];
    let reference = programs.map(|name| Path::new(crate::cni::REFERENCE).join(name));
    let missing = reference.iter().find(|path| !path.exists()).cloned();
    match missing.or(Some(crate::cni::plugin()).filter(|path| !path.exists())) {
        Some(path) => Err(format!("{} is not there", path.display())),
        None => Ok(()),
    }
}

/// Two network cards with a cable between them that belong to the tests. No machine's own are ever touched:
/// `cargo xtask vm-test` alone names some.
///
/// # Errors
///
/// When there are none.
pub fn cards() -> Result<(), String> {
    own_cards().map(drop).ok_or_else(|| "no network cards of the tests' own (cargo xtask vm-test)".into())
}

/// The names of those cards.
pub fn own_cards() -> Option<[String; 2]> {
    let names = env::var("MACVLAN_TESTS_CARDS").ok()?;
    let (one, other) = names.split_once(' ')?;
    Some([one.to_owned(), other.to_owned()])
}

/// Three radios that belong to the tests, and what wireless networks are run by. `cargo xtask vm-test --suite wifi`
/// alone has some.
///
/// # Errors
///
/// What of these is missing.
pub fn radios() -> Result<(), String> {
    if own_radios().is_none() {
        return Err("no simulated radios of the tests' own (cargo xtask vm-test --suite wifi)".into());
    }
    let programs = ["hostapd", "wpa_supplicant", "wpa_cli", "iw", "dnsmasq", "dhclient", "busybox"];
    programs.into_iter().try_for_each(program)
}

/// The numbers of those radios.
pub fn own_radios() -> Option<[u32; 3]> {
    let numbers = env::var("MACVLAN_TESTS_RADIOS").ok()?;
    let numbers: Vec<u32> = numbers.split(' ').filter_map(|number| number.parse().ok()).collect();
    numbers.try_into().ok()
}

/// A program under test that can be stopped dead at a step.
///
/// # Errors
///
/// When it was built without that.
pub fn crash_points() -> Result<(), String> {
    binary()?;
    let lab = crate::lab::Lab::new();
    let mut attach = lab.ctl_command(&["attach", "eth0"]);
    let ran = cli::output(attach.env("MACVLAN_CTL_CRASH_AT", "1"));
    if ran.status.signal() == Some(libc::SIGKILL) {
        return Ok(());
    }
    Err("the program under test has no crash points: build it with `--features crash-points`".into())
}

/// The program under test.
///
/// # Errors
///
/// When it has not been built.
pub fn binary() -> Result<(), String> {
    let path = cli::binary();
    if path.exists() {
        return Ok(());
    }
    Err(format!("{} is not there: build it, or name another with MACVLAN_CTL_BIN", path.display()))
}

/// Says that a test is skipped, past the test runner's capture.
///
/// # Panics
///
/// With `MACVLAN_TESTS_STRICT=1`.
#[track_caller]
pub fn missing(reason: &str) {
    let strict = env::var_os("MACVLAN_TESTS_STRICT").is_some_and(|value| value == "1");
    assert!(!strict, "cannot test: {reason}");
    let name = std::thread::current().name().unwrap_or("a test").to_owned();
    let line = format!("SKIPPED {name}: {reason}\n");
    // A lost message is no reason to fail: the run is not strict.
    let _ = std::io::stderr().write_all(line.as_bytes());
}

/// The virtual router daemon `keepalived`.
///
/// # Errors
///
/// It is not installed.
pub fn keepalived() -> Result<(), String> {
    program("keepalived")
}

/// The daemons `zebra` and `vrrpd` of FRR.
///
/// # Errors
///
/// One is not installed.
pub fn frr() -> Result<(), String> {
    ["zebra", "vrrpd"].into_iter().try_for_each(program)
}

/// `dpdk-testpmd` of DPDK 24.11 or later.
///
/// # Errors
///
/// It is not installed.
pub fn testpmd() -> Result<(), String> {
    program("dpdk-testpmd")
}
