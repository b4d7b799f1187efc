//! The machine that tests run on: what they need of it, and what they must leave as it was.

use std::{
    collections::BTreeSet,
    fs::{self, File},
    io::{self, Write as _},
    os::unix::fs::{MetadataExt as _, OpenOptionsExt as _},
    path::Path,
    process::Command,
    thread, time,
};

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::Value;

use crate::command::{find, read, read_again, run};

/// Programs that tests start, and the Debian package of each.
const TOOLS: [(&str, &str); 25] = [
    ("ip", "iproute2"),
    ("tc", "iproute2"),
    ("ping", "iputils-ping"),
    ("arping", "iputils-arping"),
    ("ethtool", "ethtool"),
    ("tcpdump", "tcpdump"),
    ("iperf3", "iperf3"),
    ("dockerd", "docker.io"),
    ("ctr", "containerd"),
    ("podman", "podman"),
    ("runc", "runc"),
    ("busybox", "busybox-static"),
    ("dpkg-deb", "dpkg"),
    ("rpmbuild", "rpm"),
    ("lintian", "lintian"),
    ("man", "man-db"),
    ("systemd-analyze", "systemd"),
    ("bpftool", "bpftool"),
    ("dnsmasq", "dnsmasq-base"),
    ("dhclient", "isc-dhcp-client"),
    ("radvd", "radvd"),
    ("avahi-daemon", "avahi-daemon"),
    ("nft", "nftables"),
    ("strace", "strace"),
    ("/usr/lib/cni/macvlan", "containernetworking-plugins"),
];

/// Programs that boot other kernels and make what those boot from, and the package of each.
const VM_TOOLS: [(&str, &str); 8] = [
    ("qemu-system-x86_64", "qemu-system-x86"),
    ("cpio", "cpio"),
    ("modprobe", "kmod"),
    ("xz", "xz-utils"),
    ("strip", "binutils"),
    ("ip", "iproute2"),
    ("tc", "iproute2"),
    ("ping", "iputils-ping"),
];

/// Programs of wireless networks, clients and servers of addresses there, and an engine with what its containers and
/// tests of it need; and the package of each.
pub const RADIO_TOOLS: [(&str, &str); 17] = [
    ("hostapd", "hostapd"),
    ("wpa_supplicant", "wpasupplicant"),
    ("wpa_cli", "wpasupplicant"),
    ("iw", "iw"),
    ("dnsmasq", "dnsmasq-base"),
    ("dhclient", "isc-dhcp-client"),
    ("busybox", "busybox-static"),
    ("dockerd", "docker.io"),
    ("docker", "docker.io"),
    ("containerd", "containerd"),
    ("containerd-shim-runc-v2", "containerd"),
    ("runc", "runc"),
    ("nsenter", "util-linux"),
    ("mount", "mount"),
    ("tar", "tar"),
    ("mkdir", "coreutils"),
    ("cp", "coreutils"),
];

/// Programs that build for another processor and emulate it, and the package of each.
const CROSS_TOOLS: [(&str, &str); 4] = [
    ("qemu-system-aarch64", "qemu-system-arm"),
    ("aarch64-linux-gnu-gcc", "gcc-aarch64-linux-gnu"),
    ("aarch64-linux-gnu-strip", "binutils-aarch64-linux-gnu"),
    ("/usr/aarch64-linux-gnu/lib/crt1.o", "libc6-dev-arm64-cross"),
];

/// Where `macvlan-ctl` pins its maps and links.
const PINS: &str = "/sys/fs/bpf/macvlan-ctl";

/// The kernel takes namespaces and what is in them down after their last user is gone.
const SETTLE: time::Duration = time::Duration::from_secs(5);
const POLL: time::Duration = time::Duration::from_millis(100);

/// Fails for an ordinary user.
///
/// # Errors
/// The user is not root; says what to run instead.
pub fn require_root() -> Result<()> {
    let user = fs::metadata("/proc/self").context("cannot tell which user this is")?.uid();
    ensure!(
        user == 0,
        "the tests make devices and load BPF programs: run this as root (`cargo test` runs those that need nothing)"
    );
    Ok(())
}

/// Installs the packages of those tools that are missing.
///
/// # Errors
/// A package cannot be installed, or its tool is nowhere in `PATH`.
pub fn install_tools() -> Result<()> {
    install_each(&TOOLS)
}

/// Installs the packages of those tools that are missing of what virtual machines need.
///
/// # Errors
/// As [`install_tools`].
pub fn install_vm_tools() -> Result<()> {
    install_each(&VM_TOOLS)
}

/// Installs what building for another processor and emulating it needs.
///
/// # Errors
/// As [`install_tools`].
pub fn install_cross_tools() -> Result<()> {
    install_each(&CROSS_TOOLS)
}

/// Installs what building the fuzz targets needs.
///
/// # Errors
/// A package cannot be installed.
pub fn install_fuzz_tools() -> Result<()> {
    install_each(&[("c++", "g++")])
}

/// Installs the packages of those of these programs that are missing.
///
/// # Errors
/// As [`install_tools`].
pub fn install_each(tools: &[(&'static str, &'static str)]) -> Result<()> {
    let packages: BTreeSet<&str> = missing(tools).map(|(_, package)| package).collect();
    if !packages.is_empty() {
        install(&packages)?;
    }
    if let Some((tool, package)) = missing(tools).next() {
        bail!("'{package}' is installed, but PATH has no '{tool}': add /usr/sbin to PATH");
    }
    Ok(())
}

fn missing(tools: &[(&'static str, &'static str)]) -> impl Iterator<Item = (&'static str, &'static str)> {
    tools.iter().copied().filter(|(tool, _)| find(tool).is_none())
}

fn install(packages: &BTreeSet<&str>) -> Result<()> {
    let names = packages.iter().copied().collect::<Vec<_>>().join(" ");
    ensure!(find("apt-get").is_some(), "the tests need these packages, and there is no apt-get: {names}");
    // Tests start engines for themselves, away from the machine's own network.
    let _quiet = NoServices::new(Path::new(POLICY)).context("cannot keep new services from starting")?;
    let mut install = Command::new("apt-get");
    install.env("DEBIAN_FRONTEND", "noninteractive");
    install.args(["install", "--yes", "--no-install-recommends"]).args(packages);
    if run(&mut install).is_err() {
        // The package lists may be absent or old. One source of several that cannot be reached is
        // no reason to give up.
        if let Err(error) = run(Command::new("apt-get").arg("update")) {
            eprintln!("{error:#}");
        }
        run(&mut install).with_context(|| format!("cannot install {names}"))?;
    }
    Ok(())
}

/// Asked by packages whether a service may start (policy-rc.d of Debian's invoke-rc.d).
const POLICY: &str = "/usr/sbin/policy-rc.d";

/// Keeps packages that are installed meanwhile from starting services. A policy that the machine
/// has already is left to say so itself.
struct NoServices<'path> {
    ours: Option<&'path Path>,
}

impl<'path> NoServices<'path> {
    fn new(policy: &'path Path) -> io::Result<Self> {
        let mut options = File::options();
        match options.write(true).create_new(true).mode(0o755).open(policy) {
            Ok(mut file) => {
                let ours = Self { ours: Some(policy) };
                // 101: the action is forbidden.
                file.write_all(b"#!/bin/sh\nexit 101\n").map(|()| ours)
            }
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(Self { ours: None }),
            Err(error) => Err(error),
        }
    }
}

impl Drop for NoServices<'_> {
    fn drop(&mut self) {
        if let Some(policy) = self.ours
            && let Err(error) = fs::remove_file(policy)
        {
            eprintln!("cannot remove '{}', which keeps services from starting: {error}", policy.display());
        }
    }
}

/// What of the machine tests could change by mistake, one line each.
#[derive(Debug, Eq, PartialEq)]
pub struct State(BTreeSet<String>);

impl State {
    /// Looks at the machine.
    ///
    /// # Errors
    /// `ip` or `tc` fails.
    pub fn now() -> Result<Self> {
        Self::seen_by(read)
    }

    fn seen_by(read: fn(&mut Command) -> Result<String>) -> Result<Self> {
        let mut state = BTreeSet::new();
        let namespaces = read(Command::new("ip").args(["netns", "list"]))?;
        let named = namespaces.lines().filter_map(|line| line.split_whitespace().next());
        state.extend(named.map(|name| format!("network namespace {name}")));
        state.extend(devices(&read(Command::new("ip").args(["-json", "-details", "link", "show"]))?)?);
        state.extend(read(Command::new("tc").args(["qdisc", "show"]))?.lines().map(qdisc));
        pins(Path::new(PINS), &mut state)?;
        Ok(Self(state))
    }

    /// Fails unless the machine soon is what it was.
    ///
    /// # Errors
    /// What is left behind, and what is gone.
    pub fn require_same(&self) -> Result<()> {
        let deadline = time::Instant::now() + SETTLE;
        loop {
            let differences = self.differences(&Self::seen_by(read_again)?);
            if differences.is_empty() {
                return Ok(());
            }
            if time::Instant::now() >= deadline {
                bail!("the tests changed the machine: {}", differences.join("; "));
            }
            thread::sleep(POLL);
        }
    }

    fn differences(&self, after: &Self) -> Vec<String> {
        let left = after.0.difference(&self.0).map(|line| format!("left behind: {line}"));
        let gone = self.0.difference(&after.0).map(|line| format!("gone: {line}"));
        left.chain(gone).collect()
    }
}

/// Devices with their kind and their XDP program, from the output of `ip -json -details link`.
fn devices(json: &str) -> Result<Vec<String>> {
    let links: Vec<Value> = serde_json::from_str(json).context("cannot understand the output of 'ip'")?;
    Ok(links
        .iter()
        .map(|link| {
            let name = link["ifname"].as_str().unwrap_or("?");
            let kind = link["linkinfo"]["info_kind"].as_str().unwrap_or("physical");
            let xdp = &link["xdp"]["prog"]["id"];
            if xdp.is_null() {
                format!("device {name} ({kind})")
            } else {
                format!("device {name} ({kind}) with XDP program {xdp}")
            }
        })
        .collect())
}

/// A line of `tc qdisc show` without the number of its users, which varies by itself.
fn qdisc(line: &str) -> String {
    let mut words = line.split_whitespace();
    let mut kept = Vec::new();
    while let Some(word) = words.next() {
        if word == "refcnt" {
            words.next();
        } else {
            kept.push(word);
        }
    }
    kept.join(" ")
}

/// Adds everything below `directory`, which need not exist.
fn pins(directory: &Path, state: &mut BTreeSet<String>) -> Result<()> {
    if !directory.is_dir() {
        return Ok(());
    }
    let unreadable = || format!("cannot list '{}'", directory.display());
    for entry in fs::read_dir(directory).with_context(unreadable)? {
        let path = entry.with_context(unreadable)?.path();
        state.insert(format!("pin {}", path.display()));
        pins(&path, state)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_came_and_what_went_is_told() {
        let state = |lines: &[&str]| State(lines.iter().map(ToString::to_string).collect());
        let (before, after) = (state(&["device a", "device b"]), state(&["device b", "pin c"]));
        assert_eq!(before.differences(&after), ["left behind: pin c", "gone: device a"]);
        assert!(before.differences(&before).is_empty());
    }

    #[test]
    fn services_are_kept_from_starting_only_while_packages_are_installed() {
        let directory = tempfile::tempdir().unwrap();
        let policy = directory.path().join("policy-rc.d");
        {
            let _quiet = NoServices::new(&policy).unwrap();
            assert_eq!(Command::new("sh").arg(&policy).status().unwrap().code(), Some(101));
            // The machine's own by now, as far as this one can tell.
            drop(NoServices::new(&policy).unwrap());
            assert!(policy.exists());
        }
        assert!(!policy.exists());
    }

    #[test]
    fn a_device_is_known_by_name_kind_and_program() {
        let json = r#"[{"ifname": "eth0"},
            {"ifname": "v0", "linkinfo": {"info_kind": "veth"}, "xdp": {"mode": 1, "prog": {"id": 7}}}]"#;
        assert_eq!(devices(json).unwrap(), ["device eth0 (physical)", "device v0 (veth) with XDP program 7"]);
    }

    #[test]
    fn the_users_of_a_qdisc_may_change() {
        assert_eq!(
            qdisc("qdisc noqueue 0: dev lo root refcnt 2 limit 3"),
            "qdisc noqueue 0: dev lo root limit 3"
        );
    }

    #[test]
    fn pins_are_listed_at_any_depth() {
        let base = tempfile::tempdir().unwrap();
        fs::create_dir_all(base.path().join("eth0/links")).unwrap();
        let mut state = BTreeSet::new();
        pins(base.path(), &mut state).unwrap();
        pins(&base.path().join("absent"), &mut state).unwrap();
        assert_eq!(state.len(), 2);
    }
}
