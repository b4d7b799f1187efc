//! A process in a container with `CAP_NET_ADMIN` and `CAP_NET_RAW` in its own network namespace, and nothing else.

use std::{
    ffi::OsStr,
    os::unix::ffi::OsStrExt as _,
    process::{Command, Output},
};

use macvlan_common::mac::Mac;

use crate::{fail::OrFail as _, lab::Station};

/// A program, as such a container may run it.
pub fn command(container: &Station, program: &str) -> Command {
    let mut attacker = container.ns.command("setpriv");
    attacker.args(["--bounding-set=-all,+net_admin,+net_raw", "--inh-caps=-all,+net_admin,+net_raw"]);
    attacker.args(["--no-new-privs", "--", program]);
    attacker
}

/// `ip`, as such a container may run it; whatever comes of it.
#[track_caller]
pub fn tries(container: &Station, args: &[&[u8]]) -> Output {
    let args = args.iter().map(|arg| OsStr::from_bytes(arg));
    command(container, "ip").args(args).output().or_fail("run setpriv")
}

/// `ip`, as such a container may run it.
#[track_caller]
pub fn claim(container: &Station, args: &[&[u8]]) {
    let ran = tries(container, args);
    assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
}

/// One line for `ip`, likewise.
#[track_caller]
pub fn claim_line(container: &Station, line: &str) {
    claim(container, &line.split(' ').map(str::as_bytes).collect::<Vec<_>>());
}

/// Gives the container's device another MAC.
#[track_caller]
pub fn readdress(container: &Station, mac: Mac) {
    for change in ["down", &format!("address {mac}"), "up"] {
        claim_line(container, &format!("link set {} {change}", container.dev));
    }
}
