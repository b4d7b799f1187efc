//! What a test needs of the machine; what is missing is said aloud, never passed over.

use std::{
    env, fs,
    io::Write as _,
    os::{fd::AsRawFd as _, unix::process::ExitStatusExt as _},
    path::Path,
};

use aya::programs::{SchedClassifier, TcAttachType};

use crate::{cli, netns::Netns};

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
    tool("ip")
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
    tool("ping")
}

/// The `tc` tool of iproute2.
///
/// # Errors
///
/// When it is not installed.
pub fn tc() -> Result<(), String> {
    tool("tc")
}

/// The `tcpdump` tool.
///
/// # Errors
///
/// When it is not installed.
pub fn tcpdump() -> Result<(), String> {
    tool("tcpdump")
}

/// The `bpftool` tool.
///
/// # Errors
///
/// When it is not installed.
pub fn bpftool() -> Result<(), String> {
    tool("bpftool")
}

/// TCX hooks (kernel 6.6).
///
/// # Errors
///
/// When the kernel has none.
pub fn tcx() -> Result<(), String> {
    let asked = SchedClassifier::query_tcx("lo", TcAttachType::Ingress);
    asked.map(drop).map_err(|error| format!("the kernel has no TCX: {error}"))
}

/// Ipvlan devices.
///
/// # Errors
///
/// When the kernel has none.
pub fn ipvlan() -> Result<(), String> {
    let ns = Netns::new();
    ns.ip("link add eth0 type veth peer name peer0");
    let add = ["link", "add", "link", "eth0", "name", "ipvl0", "type", "ipvlan", "mode", "l2"];
    let added = cli::output(ns.command("ip").args(add));
    if added.status.success() { Ok(()) } else { Err(format!("no ipvlan: {}", added.stderr.trim())) }
}

/// Bridges whose frames can pass the packet filter (`br_netfilter`).
///
/// # Errors
///
/// When the kernel has none.
pub fn bridge_netfilter() -> Result<(), String> {
    let setting = Path::new("/proc/sys/net/bridge/bridge-nf-call-iptables");
    if Netns::new().enter(|| setting.exists()) { Ok(()) } else { Err("no bridge netfilter".into()) }
}

/// The `setpriv` tool of util-linux.
///
/// # Errors
///
/// When it is not installed.
pub fn setpriv() -> Result<(), String> {
    tool("setpriv")
}

/// Docker, and what a container of it needs.
///
/// # Errors
///
/// What of these is not installed.
pub fn docker() -> Result<(), String> {
    ["dockerd", "docker", "containerd", "runc", "busybox"].into_iter().try_for_each(tool)
}

/// Podman, and what a container of it needs.
///
/// # Errors
///
/// What of these is not installed.
pub fn podman() -> Result<(), String> {
    ["podman", "runc", "busybox"].into_iter().try_for_each(tool)
}

/// containerd with its client, and what a container of it needs.
///
/// # Errors
///
/// What of these is not installed.
pub fn containerd() -> Result<(), String> {
    ["containerd", "ctr", "runc", "busybox"].into_iter().try_for_each(tool)
}

/// `prometheus` and its `promtool`.
///
/// # Errors
///
/// When they are not installed.
pub fn prometheus() -> Result<(), String> {
    tool("prometheus").and_then(|()| tool("promtool"))
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

/// A program on the path.
///
/// # Errors
///
/// When it is not installed.
pub fn program(name: &str) -> Result<(), String> {
    tool(name)
}

/// VLAN devices (8021q).
///
/// # Errors
///
/// When the kernel has none.
pub fn vlan() -> Result<(), String> {
    device("link add link probe0 name probe1 type vlan id 7")
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

/// Bond devices.
///
/// # Errors
///
/// When the kernel has none.
pub fn bond() -> Result<(), String> {
    device("link add probe1 type bond")
}

/// Bridge devices.
///
/// # Errors
///
/// When the kernel has none.
pub fn bridge() -> Result<(), String> {
    device("link add probe1 type bridge")
}

/// The qdisc fq.
///
/// # Errors
///
/// When the kernel has none.
pub fn fq() -> Result<(), String> {
    tc()?;
    let ns = Netns::new();
    ns.ip("link add probe0 type veth peer name probe-end");
    let add = ["qdisc", "add", "dev", "probe0", "root", "fq"];
    let made = ns.command("tc").args(add).output().map_err(|error| error.to_string())?;
    if made.status.success() {
        return Ok(());
    }
    Err(format!("the kernel has no qdisc fq: {}", String::from_utf8_lossy(&made.stderr).trim()))
}

/// Whether this `ip` command makes a device beside `probe0`.
fn device(make: &str) -> Result<(), String> {
    let ns = Netns::new();
    ns.ip("link add probe0 type veth peer name probe-end");
    let made = ns.command("ip").args(make.split_whitespace()).output().map_err(|error| error.to_string())?;
    if made.status.success() {
        return Ok(());
    }
    Err(format!("`ip {make}`: {}", String::from_utf8_lossy(&made.stderr).trim()))
}

/// Sockets that tell the priority of what they receive (kernel 6.14).
///
/// # Errors
///
/// When the kernel has none.
pub fn receive_priority() -> Result<(), String> {
    let socket = std::net::UdpSocket::bind("127.0.0.1:0").map_err(|error| error.to_string())?;
    let (on, len) = (1, size_of::<libc::c_int>() as u32);
    // SAFETY: the pointer is to a live integer of that length.
    let done = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            crate::sniff::SO_RCVPRIORITY,
            (&raw const on).cast(),
            len,
        )
    };
    if done == 0 { Ok(()) } else { Err("the kernel has no SO_RCVPRIORITY".into()) }
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

fn tool(name: &str) -> Result<(), String> {
    let paths = env::var_os("PATH").unwrap_or_default();
    let found = env::split_paths(&paths)
        .chain([Path::new("/usr/sbin").into(), Path::new("/sbin").into()])
        .any(|dir| fs::metadata(dir.join(name)).is_ok_and(|file| file.is_file()));
    if found { Ok(()) } else { Err(format!("no `{name}` on the path")) }
}
