//! Addresses that others claim, and more of them than there is room for.

use std::net::Ipv4Addr;

use macvlan_common::mac::Mac;
use macvlan_tests::{
    exporter::Exporter,
    following::Following,
    frames::{ArpOperation, Marker, arp},
    lab::Station,
    needs, require,
    sniff::Injector,
    talk::ping,
};

use crate::scene::{lab, port};

const NONE: Mac = Mac::new([0; 6]);

/// An ARP request of this sender for its own address: a claim (RFC 5227, 3).
fn claim(mac: Mac, address: Ipv4Addr) -> Vec<u8> {
    arp(Mac::BROADCAST, ArpOperation::Request, (mac, address), (NONE, address), Marker::new())
}

/// Has a child claim 100 addresses besides its own.
fn claim_many(child: &Station) {
    let injector = Injector::new(&child.ns, &child.dev);
    for last in 100..200 {
        injector.send(&claim(child.mac, Ipv4Addr::new(10, 9, 0, last)));
    }
}

#[test]
fn run_tells_who_has_an_address_that_somebody_on_the_wire_claims() {
    needs!(require::lab, require::tcx, require::binary);
    let (lab, [child, _]) = lab();
    let _port = port(&lab);
    let run = Following::start(&lab, &["eth0", "--single-mac"]);
    assert!(ping(&child, lab.wire.ip.into()));
    Injector::new(&lab.wire.ns, &lab.port).send(&claim(lab.wire.mac, child.ip));
    let line = run.wait_for_line("which another one claims, too");
    assert!(line.contains("child \"web\"") && line.contains(&child.ip.to_string()), "{line}");
    assert!(ping(&child, lab.wire.ip.into()), "the child goes on");
}

#[test]
fn a_child_that_takes_all_its_addresses_is_told_of_and_the_others_go_on() {
    needs!(require::lab, require::tcx, require::binary);
    let (lab, [child, other]) = lab();
    let _port = port(&lab);
    let run = Following::start(&lab, &["eth0", "--single-mac"]);
    claim_many(&child);
    let line = run.wait_for_line("uses so many addresses");
    assert!(line.contains("child \"web\""), "{line}");
    assert!(ping(&child, lab.wire.ip.into()) && ping(&other, lab.wire.ip.into()));
}

#[test]
fn metrics_tell_how_full_the_table_is_and_of_claims() {
    needs!(require::lab, require::tcx, require::binary);
    let (lab, [child, other]) = lab();
    let _port = port(&lab);
    lab.ctl(&["attach", "eth0", "--single-mac"]).succeeded();
    let exporter = Exporter::by_command(&lab);
    let map =
        |limit: &str| format!("macvlan_bpf_map_{limit}entries{{master=\"eth0\",map=\"MACVLAN_HOLDER\"}}");
    let of = |station: &Station| {
        format!("macvlan_child_wire_addresses{{master=\"eth0\",mac=\"{}\"}}", station.mac)
    };
    let before = exporter.scrape();
    assert!(before.get(&map("")) > Some(0.0) && before.get(&map("max_")) > before.get(&map("")));
    assert!(before.get(&of(&child)) < Some(10.0), "{before:?}");
    claim_many(&child);
    let full = exporter
        .scrape_until("the child's addresses to be known", |samples| samples.get(&of(&child)) > Some(56.0));
    assert!(full.get(&of(&child)) < Some(70.0) && full.get(&of(&other)) < Some(10.0), "{full:?}");
    Injector::new(&lab.wire.ns, &lab.port).send(&claim(lab.wire.mac, other.ip));
    let claims = "macvlan_follower_contested_addresses_total{master=\"eth0\"}";
    exporter.scrape_until("the claim to be counted", |samples| samples.get(claims) == Some(1.0));
}
