//! Addresses: nobody else has them, everybody is told of them, a DHCP server may give them.

use std::process::{Child, Command, Stdio};

use macvlan_common::mac::Mac;
use macvlan_tests::{
    cni::{Call, REFERENCE, network, plugin, reserved, station},
    control::members,
    fail::{OrFail as _, wait_for},
    lab::{Lab, Station},
    needs,
    netns::Netns,
    require,
    sniff::Tap,
    talk::ping,
};
use serde_json::{Value, json};

#[test]
fn an_address_that_somebody_has_is_refused() {
    needs!(require::lab, require::cni);
    let lab = Lab::new();
    for owner in [&lab.wire, &lab.host] {
        let ns = Netns::new();
        let call = Call::new(plugin(), "c1", &ns, fixed(&format!("{}/24", owner.ip)));
        let (code, message) = call.refused(&lab, "ADD");
        assert_eq!(code, 101, "{message}");
        assert!(message.contains(&owner.ip.to_string()), "{message}");
        let links = ns.ip_json("link show type macvlan");
        assert!(links.as_array().is_none_or(|links| links.iter().all(|link| link["ifname"].is_null())));
        assert!(members(&lab).is_empty());
    }
}

#[test]
fn an_ipv6_address_that_somebody_has_is_refused() {
    needs!(require::lab, require::cni);
    let lab = Lab::with().full_ipv6().build();
    wait_for("the wire's address", || {
        let text = lab.wire.ns.ip("-6 addr show dev wire0");
        (text.contains("fd09::1/64") && !text.contains("tentative")).then_some(())
    });
    let ns = Netns::new();
    let refused = Call::new(plugin(), "c1", &ns, fixed("fd09::1/64")).refused(&lab, "ADD");
    assert_eq!(refused.0, 101, "{}", refused.1);
    let call = Call::new(plugin(), "c1", &ns, fixed("fd09::77/64"));
    call.add(&lab);
    assert!(!ns.ip("-6 addr show dev eth0 to fd09::77").contains("tentative"));
}

#[test]
fn neighbours_are_told_of_a_new_owner() {
    needs!(require::lab, require::cni);
    let lab = Lab::with().ipv6().build();
    let old = "02:00:00:00:0b:ad";
    lab.wire.ns.ip(&format!("neigh replace 10.9.0.77 lladdr {old} dev wire0 nud stale"));
    lab.wire.ns.ip(&format!("neigh replace fd09::77 lladdr {old} dev wire0 nud stale"));
    let mut tap = Tap::on_device(&lab.wire.ns, "wire0");
    let ns = Netns::new();
    let mut config = fixed("10.9.0.77/24");
    config["ipam"]["addresses"] = json!([{"address": "10.9.0.77/24"}, {"address": "fd09::77/64"}]);
    let result = Call::new(plugin(), "c1", &ns, config).add(&lab);
    let mac: Mac = result["interfaces"][0]["mac"].as_str().unwrap().parse().unwrap();
    for address in ["10.9.0.77", "fd09::77"] {
        wait_for(format_args!("the neighbour entry of {address}"), || {
            let entry = lab.wire.ns.ip_json(&format!("neigh show to {address}"));
            (entry[0]["lladdr"] == mac.to_string()).then_some(())
        });
    }
    let arps = tap
        .take()
        .into_iter()
        .filter(|seen| seen.data.get(6..14) == Some(&[&mac.octets()[..], &[8, 6]].concat()[..]));
    // Probes of nobody, then announcements of the owner.
    let senders: Vec<Vec<u8>> = arps.map(|seen| seen.data[28..32].to_vec()).collect();
    assert_eq!(senders, [[0; 4], [0; 4], [10, 9, 0, 77], [10, 9, 0, 77]].map(|ip| ip.to_vec()));
}

#[test]
fn a_dhcp_server_on_the_wire_gives_addresses() {
    needs!(require::lab, require::cni);
    if let Err(reason) = require::program("dnsmasq") {
        return require::missing(&reason);
    }
    let lab = Lab::new();
    dhcp_gives_addresses(&lab, &lab.wire);
}

#[test]
fn a_dhcp_server_on_the_host_gives_addresses() {
    needs!(require::lab, require::cni);
    if let Err(reason) = require::program("dnsmasq") {
        return require::missing(&reason);
    }
    let lab = Lab::new();
    dhcp_gives_addresses(&lab, &lab.host);
}

#[track_caller]
fn dhcp_gives_addresses(lab: &Lab, server: &Station) {
    let _server = dnsmasq(lab, server);
    let mut daemon = lab.command(&lab.host.ns, format!("{REFERENCE}/dhcp"));
    let _daemon = Daemon::start(daemon.args(["daemon", "-socketpath", "/run/cni-dhcp.sock"]));
    let is_there = || std::fs::exists("/run/cni-dhcp.sock").unwrap_or(false).then_some(());
    wait_for("the DHCP daemon", || lab.mounts().enter(is_there));
    let ns = Netns::new();
    let mut config = network("1.0.0");
    // Routes are given to those who ask for them (RFC 3442).
    config["ipam"] = json!({
        "type": "dhcp", "daemonSocketPath": "/run/cni-dhcp.sock", "request": [{"option": "121"}],
    });
    let call = Call::new(plugin(), "c1", &ns, config);
    let result = call.add(lab);
    let container = station(&ns, &result);
    assert!((100..=120).contains(&container.ip.octets()[3]), "{result:#}");
    assert_eq!(result["ips"][0]["gateway"], "10.9.0.1");
    assert_eq!(ns.ip_json("route show default")[0]["gateway"], "10.9.0.1");
    assert_eq!(ns.ip_json("route show 198.51.100.0/24")[0]["gateway"], "10.9.0.254");
    for other in [&lab.wire, &lab.host] {
        assert!(ping(&container, other.ip.into()));
    }
    // The first, and two that renew it.
    wait_for("the lease to be renewed twice", || (said(lab, "DHCPACK", &container) >= 3).then_some(()));
    assert!(ping(&lab.host, container.ip.into()));
    call.del(lab);
    wait_for("the lease to be given back", || (said(lab, "DHCPRELEASE", &container) == 1).then_some(()));
    assert!(members(lab).is_empty() && reserved(lab).is_empty());
}

/// How often the server named a message and the container.
fn said(lab: &Lab, message: &str, container: &Station) -> usize {
    let log = lab.mounts().enter(|| std::fs::read_to_string(LOG)).unwrap_or_default();
    let who = format!("{} {}", container.ip, container.mac);
    log.lines().filter(|line| line.contains(message) && line.contains(&who)).count()
}

/// Where the server says what it does.
const LOG: &str = "/run/dnsmasq.log";

/// A DHCP server at a station, for 10.9.0.100 to 120.
fn dnsmasq(lab: &Lab, at: &Station) -> Daemon {
    let mut command = lab.command(&at.ns, "dnsmasq");
    command.args(["--keep-in-foreground", "--port=0", "--conf-file=/dev/null", "--user=root"]);
    command.args(["--dhcp-range=10.9.0.100,10.9.0.120,5m", "--dhcp-option=3,10.9.0.1", "--bind-interfaces"]);
    command.args(["--dhcp-option=121,198.51.100.0/24,10.9.0.254,0.0.0.0/0,10.9.0.1", "--no-ping"]);
    // Renewed after two seconds (T1), not after half of the five minutes.
    command.args(["--dhcp-option=58,2", "--dhcp-option=59,4", &format!("--log-facility={LOG}")]);
    command.args(["--dhcp-leasefile=/run/leases", "--pid-file=", &format!("--interface={}", at.dev)]);
    Daemon::start(&mut command)
}

/// A process that is killed when the test ends.
struct Daemon(Child);

impl Daemon {
    fn start(command: &mut Command) -> Self {
        Self(command.stdin(Stdio::null()).stdout(Stdio::null()).spawn().or_fail("start a daemon"))
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // It may have ended by itself; that is as good.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn fixed(address: &str) -> Value {
    let mut config = network("1.0.0");
    config["ipam"] = json!({"type": "static", "addresses": [{"address": address}]});
    config
}
