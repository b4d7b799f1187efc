//! A router and DHCP server on the wire, and clients of it, as containers and virtual machines have them.

use std::{
    fs,
    net::{Ipv4Addr, Ipv6Addr},
    process::{Command, Stdio},
};

use crate::{
    cli::{self, Ran},
    daemon::{Daemon, write},
    fail::OrFail as _,
    lab::{Lab, Station},
};

/// The network that the router tells of.
const PREFIX: &str = "fd77:";

/// The router's address there.
pub const ROUTER: Ipv6Addr = Ipv6Addr::new(0xfd77, 0, 0, 0, 0, 0, 0, 1);

/// What clients run when they have an address. Each says so in a file of its device's name.
const SCRIPT: &str = "/run/bound.sh";
const SCRIPT_TEXT: &str = r#"#!/bin/sh
# udhcpc gives an event and `ip`, dhclient `reason` and `new_ip_address`.
event=${reason:-$1} ip=${new_ip_address:-$ip}
echo "$event $ip" >> "/run/events.$interface"
case $event in
    bound | renew | BOUND | RENEW | REBOOT) ip addr replace "$ip/24" dev "$interface" ;;
esac
"#;

/// A router and DHCP server on a lab's wire.
#[track_caller]
pub fn router(lab: &Lab) -> Daemon {
    lab.wire.ns.ip(&format!("addr add {ROUTER}/64 dev {} nodad", lab.wire.dev));
    server(lab)
}

/// A DHCP server on a lab's wire.
#[track_caller]
pub fn server(lab: &Lab) -> Daemon {
    let mut command = lab.command(&lab.wire.ns, "dnsmasq");
    command.args(["--keep-in-foreground", "--port=0", "--conf-file=/dev/null", "--user=root"]);
    command.args(["--dhcp-range=10.9.0.100,10.9.0.120,5m", "--bind-interfaces", "--no-ping"]);
    command.args(["--enable-ra", "--dhcp-range=fd77::,ra-only", "--dhcp-leasefile=/run/leases"]);
    command.args(["--pid-file=", &format!("--interface={}", lab.wire.dev)]);
    Daemon::start(command.stdout(Stdio::null()))
}

/// Gives the clients of a lab what they run.
#[track_caller]
pub fn write_script(lab: &Lab) {
    write(lab, SCRIPT, SCRIPT_TEXT);
}

/// `udhcpc` of busybox, which asks for an address, and again when it is sent `SIGUSR1`.
#[track_caller]
pub fn udhcpc(lab: &Lab, station: &Station) -> Daemon {
    Daemon::start(udhcpc_command(lab, station).stdout(Stdio::null()).stderr(Stdio::null()))
}

/// Asks for an address by `udhcpc` and takes it, or ends.
#[track_caller]
pub fn bind(lab: &Lab, station: &Station) -> Ran {
    station.ns.ip(&format!("-4 addr flush dev {} scope global", station.dev));
    cli::output(udhcpc_command(lab, station).arg("-q"))
}

fn udhcpc_command(lab: &Lab, station: &Station) -> Command {
    let mut client = lab.command(&station.ns, "busybox");
    client.args(["udhcpc", "-i", &station.dev, "-f", "-n", "-t", "5", "-T", "1", "-s", SCRIPT]);
    client
}

/// `dhclient` of ISC, which asks for an address; started again, for the same.
#[track_caller]
pub fn dhclient(lab: &Lab, station: &Station) -> Daemon {
    let mut client = lab.command(&station.ns, "dhclient");
    let file = |option: &str| format!("/run/dhclient.{}.{option}", station.dev);
    client.args(["-1", "-d", "-sf", SCRIPT, "-cf", "/dev/null"]);
    client.args(["-lf", &file("leases"), "-pf", &file("pid"), &station.dev]);
    Daemon::start(client.stdout(Stdio::null()).stderr(Stdio::null()))
}

/// What a station's client has told so far: events, each with the address.
#[track_caller]
pub fn events(lab: &Lab, station: &Station) -> Vec<String> {
    let path = format!("/run/events.{}", station.dev);
    // Without events there is no file.
    let text = lab.mounts().enter(|| fs::read_to_string(path)).unwrap_or_default();
    text.lines().map(str::to_owned).collect()
}

/// A station's IPv4 address, as it has it now.
#[track_caller]
pub fn address(station: &Station) -> Option<Ipv4Addr> {
    let addresses = station.ns.ip_json(&format!("-4 addr show dev {}", station.dev));
    let local = addresses[0]["addr_info"][0]["local"].as_str()?;
    Some(local.parse().or_fail("read an address"))
}

/// A station's address of the router's network, once it is usable.
#[track_caller]
pub fn address_of_router(station: &Station) -> Option<Ipv6Addr> {
    let addresses = station.ns.ip_json(&format!("-6 addr show dev {}", station.dev));
    let all = addresses[0]["addr_info"].as_array()?;
    let mut usable = all.iter().filter(|address| address["tentative"] != true);
    let local = usable.find_map(|address| address["local"].as_str().filter(|ip| ip.starts_with(PREFIX)))?;
    Some(local.parse().or_fail("read an address"))
}
