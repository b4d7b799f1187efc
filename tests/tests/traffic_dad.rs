//! IPv6 duplicate address detection (RFC 4862, 5.4) across the hairpin: nobody takes its own probe
//! for somebody else's address, and real duplicates between host and children are found.

use std::net::Ipv6Addr;

use macvlan_common::child::Mode;
use macvlan_tests::{
    attached::Attached,
    fail::{OrFail as _, wait_for},
    lab::{Lab, Station},
    needs, require,
};

/// What came of an address that somebody took.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum DadResult {
    Unique,
    Duplicate,
}

/// Whether probes carry a nonce by which their sender knows them again (RFC 7527).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Probes {
    WithNonce,
    Plain,
}

#[test]
fn host_and_children_keep_their_addresses_and_find_duplicates() {
    needs!(require::lab, require::binary);
    check(Lab::with().full_ipv6().build(), &[Mode::Bridge, Mode::Private], Probes::WithNonce, &[]);
}

#[test]
fn host_and_children_keep_their_addresses_and_find_duplicates_without_nonces() {
    needs!(require::lab, require::binary);
    check(Lab::with().full_ipv6().build(), &[Mode::Bridge, Mode::Private], Probes::Plain, &[]);
}

#[test]
fn host_and_children_keep_their_addresses_and_find_duplicates_with_native_xdp() {
    needs!(require::lab, require::binary);
    let lab = Lab::with().full_ipv6().build();
    check(lab, &[Mode::Bridge, Mode::Private], Probes::Plain, &["--xdp", "native"]);
}

#[test]
fn host_and_children_keep_their_addresses_and_find_duplicates_with_generic_xdp() {
    needs!(require::lab, require::binary);
    let lab = Lab::with().full_ipv6().build();
    check(lab, &[Mode::Bridge, Mode::Private], Probes::Plain, &["--xdp", "generic"]);
}

#[test]
fn host_and_children_keep_their_addresses_and_find_duplicates_with_no_program_at_ingress() {
    needs!(require::lab, require::binary);
    let lab = Lab::with().full_ipv6().build();
    check(lab, &[Mode::Bridge, Mode::Bridge], Probes::Plain, &["--ingress", "off"]);
}

#[test]
fn host_and_children_keep_their_addresses_and_find_duplicates_behind_a_reflective_switch() {
    needs!(require::lab, require::binary);
    let modes = [Mode::Bridge, Mode::Private, Mode::Vepa];
    check(Lab::with().reflective_switch().full_ipv6().build(), &modes, Probes::WithNonce, &[]);
}

#[test]
fn host_and_children_keep_their_addresses_and_find_duplicates_behind_a_reflective_switch_without_nonces() {
    needs!(require::lab, require::binary);
    // Not private: to such a child the macvlan driver itself hands its own reflected probe.
    let modes = [Mode::Bridge, Mode::Vepa];
    check(Lab::with().reflective_switch().full_ipv6().build(), &modes, Probes::Plain, &[]);
}

#[test]
fn without_the_data_path_a_reflective_switch_makes_the_host_a_duplicate_of_itself() {
    needs!(require::lab);
    let lab = Lab::with().reflective_switch().full_ipv6().build();
    send_plain_probes(&lab.host);
    take(&lab.host, address(3, 0));
    assert_eq!(outcome(&lab.host, address(3, 0)), DadResult::Duplicate);
}

#[test]
fn without_the_data_path_a_duplicate_between_host_and_child_goes_unnoticed() {
    needs!(require::lab);
    let lab = Lab::with().full_ipv6().build();
    let child = lab.child("c0", Mode::Bridge);
    own(&lab.host, address(1, 0));
    take(&child, address(1, 0));
    assert_eq!(outcome(&child, address(1, 0)), DadResult::Unique);
}

/// Host and a child of each mode take addresses: free ones, and each other's.
#[track_caller]
fn check(lab: Lab, modes: &[Mode], probes: Probes, args: &[&str]) {
    let names = ["c0", "c1", "c2"];
    let children: Vec<_> = modes.iter().zip(names).map(|(mode, name)| lab.child(name, *mode)).collect();
    if probes == Probes::Plain {
        children.iter().chain([&lab.host]).for_each(send_plain_probes);
    }
    let _attached = Attached::new(&lab, args);
    let mut expected = Vec::new();
    for (number, child) in children.iter().enumerate() {
        let [hosts, childs, free, also_free] = [1, 2, 3, 4].map(|group| address(group, number));
        own(&lab.host, hosts);
        own(child, childs);
        expected.push((child, hosts, DadResult::Duplicate));
        expected.push((&lab.host, childs, DadResult::Duplicate));
        expected.push((child, free, DadResult::Unique));
        expected.push((&lab.host, also_free, DadResult::Unique));
    }
    // All at once: each takes seconds.
    for (station, address, _) in &expected {
        take(station, *address);
    }
    for (station, address, expected) in expected {
        assert_eq!(outcome(station, address), expected, "{} takes {address}", station.dev);
    }
}

fn address(group: u16, number: usize) -> Ipv6Addr {
    Ipv6Addr::new(0xfd09, 0, 0, 0, 0, 0, group, 0x100 + number as u16)
}

/// Has the address whatever others say.
fn own(station: &Station, address: Ipv6Addr) {
    station.ns.ip(&format!("addr add {address}/64 dev {} nodad", station.dev));
}

/// Asks whether anybody has the address.
fn take(station: &Station, address: Ipv6Addr) {
    station.ns.ip(&format!("addr add {address}/64 dev {}", station.dev));
}

fn send_plain_probes(station: &Station) {
    for scope in ["all", &station.dev] {
        station.ns.sysctl(&format!("ipv6/conf/{scope}/enhanced_dad"), 0);
    }
}

#[track_caller]
fn outcome(station: &Station, address: Ipv6Addr) -> DadResult {
    wait_for(format_args!("{} to have probed for {address}", station.dev), || {
        let links = station.ns.ip_json(&format!("addr show dev {} to {address}", station.dev));
        let known = links[0]["addr_info"].as_array().or_fail("read the addresses");
        let found = known.iter().find(|known| known["local"] == address.to_string());
        let flags = found.or_fail(format!("find {address} in {links}"));
        match (flags["dadfailed"] == true, flags["tentative"] == true) {
            (true, _) => Some(DadResult::Duplicate),
            (false, true) => None,
            (false, false) => Some(DadResult::Unique),
        }
    })
}
