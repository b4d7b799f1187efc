//! Daemons of others, as Debian packages them: dhclient, radvd, avahi.

use std::{
    net::{IpAddr, Ipv4Addr, UdpSocket},
    process::Stdio,
    time::Duration,
};

use macvlan_common::child::Mode;
use macvlan_tests::{
    daemon::{Daemon, write},
    dhcp,
    fail::{OrFail as _, wait_for},
    following::Following,
    lab::{Lab, Station},
    needs, require,
    talk::ping,
};

use crate::scene::{attach, port};

fn dhclient_and_server() -> Result<(), String> {
    require::program("dnsmasq").and_then(|()| require::program("dhclient"))
}

fn radvd() -> Result<(), String> {
    require::program("radvd")
}

fn avahi_daemon() -> Result<(), String> {
    require::program("avahi-daemon")
}

/// Starts dhclient, and waits until the child has an address by it.
#[track_caller]
fn dhclient(lab: &Lab, child: &Station) -> (Daemon, Ipv4Addr) {
    child.ns.ip(&format!("addr flush dev {} scope global", child.dev));
    let daemon = dhcp::dhclient(lab, child);
    (daemon, wait_for("an address by dhclient", || dhcp::address(child)))
}

#[test]
fn dhclient_has_an_address_for_each_child_and_the_same_again() {
    needs!(require::lab, require::tcx, dhclient_and_server);
    let lab = Lab::new();
    let children = [lab.child("web", Mode::Bridge), lab.child("db", Mode::Private)];
    dhcp::write_script(&lab);
    let _port = port(&lab);
    let _attached = attach(&lab, &[]);
    let _server = dhcp::server(&lab);
    let (first, had) = dhclient(&lab, &children[0]);
    let (_other, other) = dhclient(&lab, &children[1]);
    assert_ne!(had, other);
    drop(first);
    // As after a restart: it asks for what it had.
    let (_again, has) = dhclient(&lab, &children[0]);
    assert_eq!(had, has);
    for (child, address) in [(&children[0], has), (&children[1], other)] {
        assert!(ping(&lab.wire, address.into()) && ping(child, lab.wire.ip.into()), "{}", child.dev);
    }
}

#[test]
fn radvd_gives_a_child_an_address() {
    needs!(require::lab, require::tcx, radvd);
    let lab = Lab::with().full_ipv6().build();
    let child = lab.child("web", Mode::Bridge);
    lab.wire.ns.sysctl("ipv6/conf/all/forwarding", 1);
    lab.wire.ns.ip(&format!("addr add fd78::1/64 dev {} nodad", lab.port));
    let _port = port(&lab);
    let _run = Following::start(&lab, &["eth0", "--single-mac"]);
    let interface = format!(
        "interface {} {{ AdvSendAdvert on; MinRtrAdvInterval 3; MaxRtrAdvInterval 4; prefix fd78::/64 {{ }}; }};\n",
        lab.port
    );
    write(&lab, "/run/radvd.conf", &interface);
    let mut radvd = lab.command(&lab.wire.ns, "radvd");
    radvd.args(["-n", "-C", "/run/radvd.conf", "-p", "/run/radvd.pid", "-m", "stderr"]);
    let _radvd = Daemon::start(radvd.stdout(Stdio::null()));
    let address = wait_for("an address of the router's network", || {
        let addresses = child.ns.ip_json(&format!("-6 addr show dev {} -tentative", child.dev));
        let all = addresses[0]["addr_info"].as_array()?.clone();
        let mut texts = all.iter().filter_map(|address| address["local"].as_str());
        texts.find(|local| local.starts_with("fd78:"))?.parse::<IpAddr>().ok()
    });
    assert!(ping(&lab.wire, address) && ping(&child, "fd78::1".parse().or_fail("read an address")));
}

/// Starts avahi, which answers for `NAME.local`.
#[track_caller]
fn avahi(lab: &Lab, station: &Station, device: &str, name: &str) -> Daemon {
    let conf = format!(
        "[server]\nhost-name={name}\nuse-ipv4=yes\nuse-ipv6=no\nenable-dbus=no\nallow-interfaces={device}\n\
         [publish]\npublish-workstation=no\npublish-hinfo=no\n"
    );
    write(lab, "/run/avahi.conf", &conf);
    let mut avahi = lab.command(&station.ns, "avahi-daemon");
    avahi.args(["-f", "/run/avahi.conf", "--no-drop-root", "--no-chroot", "--no-rlimits"]);
    Daemon::start(avahi.stdout(Stdio::null()).stderr(Stdio::null()))
}

/// Asks the network for `NAME.local` until somebody says that this is its address (RFC 6762, 5.1 and 6.7).
#[track_caller]
fn wait_for_name(asker: &Station, device: &str, name: &str, address: Ipv4Addr) {
    asker.ns.ip(&format!("route replace 224.0.0.0/4 dev {device}"));
    let socket = asker.ns.enter(|| UdpSocket::bind((asker.ip, 0)).or_fail("open a socket"));
    socket.set_read_timeout(Some(Duration::from_millis(200))).or_fail("set a timeout");
    let (len, label) = (name.len() as u8, name.as_bytes());
    let head = [0, 7, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    let question = [&head[..], &[len], label, b"\x05local\0", &[0, 1, 0, 1]].concat();
    wait_for(format_args!("{name}.local to be known to {}", asker.dev), || {
        socket.send_to(&question, (Ipv4Addr::new(224, 0, 0, 251), 5353)).or_fail("ask");
        let mut answer = [0; 512];
        let (len, _) = socket.recv_from(&mut answer).ok()?;
        answer[..len].windows(4).any(|bytes| bytes == address.octets()).then_some(())
    });
}

#[test]
fn avahi_is_found_on_both_sides() {
    needs!(require::lab, require::tcx, avahi_daemon);
    let lab = Lab::new();
    let [child, other] = [lab.child("web", Mode::Bridge), lab.child("shop", Mode::Bridge)];
    let _port = port(&lab);
    let _attached = attach(&lab, &[]);
    let of_child = avahi(&lab, &child, &child.dev, "web");
    wait_for_name(&lab.wire, &lab.port, "web", child.ip);
    wait_for_name(&lab.host, &lab.host.dev, "web", child.ip);
    wait_for_name(&other, &other.dev, "web", child.ip);
    drop(of_child);
    let _of_wire = avahi(&lab, &lab.wire, &lab.port, "printer");
    for asker in [&child, &other] {
        wait_for_name(asker, &asker.dev, "printer", lab.wire.ip);
    }
}
