//! What the kernel may have been built without.

use std::{os::fd::AsRawFd as _, path::Path};

use aya::{
    programs::{ProgramType, SchedClassifier, TcAttachType},
    sys::{BpfHelper, is_helper_supported},
};

use crate::{cli, netns::Netns, require::program::program};

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

/// VLAN devices (8021q).
///
/// # Errors
///
/// When the kernel has none.
pub fn vlan() -> Result<(), String> {
    device("link add link probe0 name probe1 type vlan id 7")
}

/// VXLAN devices.
///
/// # Errors
///
/// When the kernel has none.
pub fn vxlan() -> Result<(), String> {
    device("link add probe1 type vxlan id 7 dstport 4789")
}

/// Programs at TC egress may ask which namespace the socket behind a frame is of (kernel 6.15).
///
/// # Errors
///
/// When the kernel does not answer.
pub fn telling_sockets() -> Result<(), String> {
    let told = is_helper_supported(ProgramType::SchedClassifier, BpfHelper::BPF_FUNC_get_netns_cookie);
    match told {
        Ok(true) => Ok(()),
        Ok(false) => Err("sockets do not tell their namespaces at TC egress".into()),
        Err(error) => Err(format!("cannot find out whether sockets tell their namespaces: {error}")),
    }
}

/// A kernel without [`telling_sockets`].
///
/// # Errors
///
/// When it answers.
pub fn silent_sockets() -> Result<(), String> {
    if telling_sockets().is_ok() { Err("sockets tell their namespaces".into()) } else { Ok(()) }
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
    program("tc")?;
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
