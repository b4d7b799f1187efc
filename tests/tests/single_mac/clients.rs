//! Clients of DHCP and routers, with a real server.

use macvlan_common::child::Mode;
use macvlan_tests::{
    dhcp,
    fail::{OrFail as _, wait_for},
    following::Following,
    lab::Lab,
    needs, require,
    talk::ping,
};

use crate::scene::{attach, port};

fn programs() -> Result<(), String> {
    require::program("dnsmasq")?;
    require::program("busybox")
}

#[test]
fn children_have_addresses_from_a_dhcp_server_on_the_wire() {
    needs!(require::lab, require::tcx, programs);
    let lab = Lab::new();
    let children = [lab.child("web", Mode::Bridge), lab.child("db", Mode::Private)];
    dhcp::write_script(&lab);
    let _port = port(&lab);
    let attached = attach(&lab, &[]);
    let _server = dhcp::server(&lab);
    // One after the other, and again, as a renewal after a restart.
    for child in children.iter().chain(&children[..1]) {
        dhcp::bind(&lab, child).succeeded();
        let ip = dhcp::address(child).or_fail("find the address").into();
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
    let _port = port(&lab);
    // The network comes later than the data path.
    let _run = Following::start(&lab, &["eth0", "--single-mac"]);
    let _server = dhcp::router(&lab);
    let ip = wait_for("an address of the router's network", || dhcp::address_of_router(&child));
    assert!(ping(&lab.wire, ip.into()), "{ip}");
    assert!(ping(&child, dhcp::ROUTER.into()));
}
