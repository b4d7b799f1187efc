//! Clients of DHCP and routers, with a real server.

use macvlan_common::child::Mode;
use macvlan_tests::{
    cli,
    fail::{OrFail as _, wait_for},
    following::Following,
    lab::{Lab, Station},
    needs, require,
    talk::ping,
};

use crate::{
    daemon::{Daemon, write},
    scene::{attach, port},
};

/// A router and DHCP server on the wire.
#[track_caller]
pub fn dnsmasq(lab: &Lab) -> Daemon {
    let mut command = lab.command(&lab.wire.ns, "dnsmasq");
    command.args(["--keep-in-foreground", "--port=0", "--conf-file=/dev/null", "--user=root"]);
    command.args(["--dhcp-range=10.9.0.100,10.9.0.120,5m", "--bind-interfaces", "--no-ping"]);
    command.args(["--enable-ra", "--dhcp-range=fd77::,ra-only", "--dhcp-leasefile=/run/leases"]);
    command.args(["--pid-file=", &format!("--interface={}", lab.port)]);
    Daemon::start(&mut command)
}

fn programs() -> Result<(), String> {
    require::program("dnsmasq")?;
    require::program("busybox")
}

const SCRIPT: &str = "/run/bound.sh";

/// Asks for an address and takes it, as a container without one does.
#[track_caller]
fn bind(lab: &Lab, station: &Station) -> String {
    station.ns.ip(&format!("addr flush dev {} scope global", station.dev));
    let mut client = lab.command(&station.ns, "busybox");
    client.args(["udhcpc", "-i", &station.dev, "-f", "-n", "-q", "-t", "5", "-T", "1", "-s", SCRIPT]);
    let ran = cli::output(&mut client);
    assert!(ran.status.success(), "{}: {}", station.dev, ran.report());
    let addresses = station.ns.ip_json(&format!("-4 addr show dev {}", station.dev));
    addresses[0]["addr_info"][0]["local"].as_str().or_fail("read the address").to_owned()
}

#[test]
fn children_have_addresses_from_a_dhcp_server_on_the_wire() {
    needs!(require::lab, require::tcx, programs);
    let lab = Lab::new();
    let children = [lab.child("web", Mode::Bridge), lab.child("db", Mode::Private)];
    write(&lab, SCRIPT, "#!/bin/sh\n[ \"$1\" != bound ] || ip addr replace $ip/24 dev $interface\n");
    let _port = port(&lab);
    let attached = attach(&lab, &[]);
    let _server = dnsmasq(&lab);
    // One after the other, and again, as a renewal after a restart.
    for child in children.iter().chain(&children[..1]) {
        let ip = bind(&lab, child).parse().or_fail("read an address");
        assert!(ping(&lab.wire, ip), "the wire to {} at {ip}", child.dev);
        assert!(ping(child, lab.wire.ip.into()), "{} to the wire", child.dev);
        assert!(ping(&lab.host, ip), "the host to {}", child.dev);
    }
    let status = attached.status();
    println!("{status:#}");
}

#[test]
fn children_have_addresses_from_a_router_on_the_wire() {
    needs!(require::lab, require::tcx, programs);
    let lab = Lab::with().full_ipv6().build();
    let child = lab.child("web", Mode::Bridge);
    lab.wire.ns.ip(&format!("addr add fd77::1/64 dev {} nodad", lab.port));
    let _port = port(&lab);
    // The network comes later than the data path.
    let _run = Following::start(&lab, &["eth0", "--single-mac"]);
    let _server = dnsmasq(&lab);
    let of = |station: &Station| {
        let addresses = station.ns.ip_json(&format!("-6 addr show dev {}", station.dev));
        let all = addresses[0]["addr_info"].as_array().cloned().unwrap_or_default();
        let usable = |address: &&serde_json::Value| {
            address["local"].as_str().is_some_and(|local| local.starts_with("fd77:"))
                && address["tentative"] != true
        };
        all.iter().find(usable).map(|address| address["local"].as_str().unwrap_or_default().to_owned())
    };
    let ip = wait_for("an address of the router's network", || of(&child));
    assert!(ping(&lab.wire, ip.parse().or_fail("read an address")), "{ip}");
    assert!(ping(&child, "fd77::1".parse().or_fail("read an address")));
}
