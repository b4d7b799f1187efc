//! Masters of every kind: a cable's end, a network card, VLANs of one, a bond, a bridge. Run on several kernels by
//! `cargo xtask vm-test`.

use std::{net::Ipv4Addr, process::Command};

use macvlan_common::{child::Mode, counters::Path, mac::Mac};
use macvlan_tests::{
    attached::Attached,
    cli::run,
    control::{spec, status},
    fail::{OrFail as _, wait_for},
    frames::{EXPERIMENTAL, Marker, marked},
    lab::{Family, Lab, Station},
    needs, require,
    sniff::{Injector, Tap},
    talk::{is_silent, ping, tcp_transfer},
};

const BULK: usize = 256 << 10;

/// Ways of attaching that every kernel has, on any device.
const MEANS: &[&[&str]] = &[&[], &["--xdp", "generic", "--tc", "clsact"]];

/// Those that every kernel has where the driver runs XDP.
const MEANS_WITH_XDP: &[&[&str]] = &[
    &[],
    &["--xdp", "native"],
    &["--xdp", "generic", "--tc", "clsact"],
    &["--xdp", "native", "--tc", "clsact"],
];

#[test]
fn children_of_a_cables_end_talk_with_the_host() {
    needs!(require::lab, require::binary);
    check(&Lab::new(), MEANS_WITH_XDP);
}

#[test]
fn children_of_a_vlan_talk_with_the_host() {
    needs!(require::lab, require::vlan, require::binary);
    let mut lab = Lab::new();
    for station in [&mut lab.host, &mut lab.wire] {
        replace_device(
            station,
            "tagged",
            &format!("link add link {} name tagged type vlan id 7", station.dev),
        );
    }
    lab.port = lab.wire.dev.clone();
    check(&lab, MEANS);
}

/// The cable carries untagged frames and two VLANs; each of the three is a master.
#[test]
fn children_of_a_trunk_and_of_its_vlans_talk_with_the_host() {
    needs!(require::lab, require::vlan, require::binary);
    const VLANS: [u8; 2] = [7, 8];
    let lab = Lab::new();
    let untagged = lab.child("web", Mode::Bridge);
    let attached = Attached::new(&lab, &[]);
    let vlans = VLANS.map(|id| {
        let [host, wire] = [&lab.host, &lab.wire].map(|station| {
            let dev = format!("vlan{id}");
            let vlan = in_vlan(station, id, dev.clone());
            station.ns.ip_batch([
                format!("link add link {} name {dev} type vlan id {id}", station.dev),
                format!("addr add {}/24 dev {dev}", vlan.ip),
                format!("link set {dev} up"),
            ]);
            vlan
        });
        let newcomer = lab.newcomer("tagged");
        let child = in_vlan(&newcomer, id, newcomer.dev.clone());
        lab.ctl(&["attach", &host.dev, "--require-bpf", "--child", &spec(&child, "")]).succeeded();
        (host, wire, child)
    });

    talk_both_ways(&lab.host, &lab.wire, &untagged);
    for (host, wire, child) in &vlans {
        talk_both_ways(host, wire, child);
    }

    let [(host, _, child), (_, _, other)] = &vlans;
    let hears = |station: &Station| Tap::on_protocol(&station.ns, &station.dev, EXPERIMENTAL);
    let (mut child_hears, mut other_hears, mut untagged_hears) =
        (hears(child), hears(other), hears(&untagged));
    let (marker, fence) = (Marker::new(), Marker::new());
    let own = [&host.dev, &lab.host.dev].map(|dev| Tap::on_device(&host.ns, dev));
    let injector = Injector::new(&host.ns, &host.dev);
    injector.send(&marked(Mac::BROADCAST, host.mac, marker));
    assert!(ping(host, child.ip.into()));
    injector.send(&marked(Mac::BROADCAST, host.mac, fence));
    child_hears.wait_for(fence, 1);
    assert_eq!(child_hears.received(marker), 1, "a broadcast of the host in the child's VLAN");
    for stranger in [&mut other_hears, &mut untagged_hears] {
        assert_eq!(stranger.received(marker), 0, "a broadcast of the host in another VLAN");
    }
    for (mut own, dev) in own.into_iter().zip([&host.dev, &lab.host.dev]) {
        assert_eq!(own.came_in(marker), 0, "{dev} hears what the host sends in a VLAN");
    }
    for (host, _, _) in &vlans {
        lab.ctl(&["detach", &host.dev, "--delete-children"]).succeeded();
    }
    attached.detach(&[]).succeeded();
}

/// A station in a VLAN's network, on this device.
fn in_vlan(station: &Station, id: u8, dev: String) -> Station {
    let [_, _, _, number] = station.ip.octets();
    let ip = Ipv4Addr::new(10, 9, id, number);
    Station { ns: station.ns.share(), dev, mac: station.mac, ip, ip6: station.ip6 }
}

#[track_caller]
fn talk_both_ways(host: &Station, wire: &Station, child: &Station) {
    for station in [host, wire] {
        assert!(ping(station, child.ip.into()), "{} to {}", station.dev, child.dev);
        assert!(ping(child, station.ip.into()), "{} to {}", child.dev, station.dev);
        tcp_transfer(station, child, Family::V4, BULK);
        tcp_transfer(child, station, Family::V4, BULK);
    }
}

#[test]
fn children_of_a_bond_talk_with_the_host() {
    needs!(require::lab, require::bond, require::binary);
    let mut lab = Lab::new();
    let slave = lab.host.dev.clone();
    lab.host.ns.ip(&format!("link set {slave} down"));
    replace_device(&mut lab.host, "bond0", "link add bond0 type bond mode active-backup miimon 100");
    lab.host.ns.ip(&format!("link set {slave} master bond0"));
    check(&lab, MEANS);
}

#[test]
fn children_of_a_bridge_talk_with_the_host() {
    needs!(require::lab, require::bridge, require::binary);
    let mut lab = Lab::new();
    let (port, mac) = (lab.host.dev.clone(), lab.host.mac);
    replace_device(&mut lab.host, "bridge0", &format!("link add bridge0 address {mac} type bridge"));
    lab.host.ns.ip(&format!("link set {port} master bridge0"));
    check(&lab, MEANS);
}

/// A driver that runs XDP on frames before they are packets: it is taken without being asked for.
#[test]
fn children_of_a_network_card_talk_with_the_host() {
    needs!(require::lab, require::cards, require::binary);
    let cards = require::own_cards().or_fail("find the cards");
    let mut lab = Lab::new();
    let [host_card, wire_card] = &cards;
    for (station, card) in [(&mut lab.host, host_card), (&mut lab.wire, wire_card)] {
        let (mac, home) = (station.mac, station.ns.path());
        run(Command::new("ip").args(["link", "set", card, "netns"]).arg(home));
        replace_device(station, card, &format!("link set {card} address {mac}"));
    }
    lab.port = lab.wire.dev.clone();
    let attached = Attached::new(&lab, &[]);
    assert_eq!(status(&lab)["demux"], "xdp-native");
    attached.detach(&[]).succeeded();
    check(&lab, MEANS_WITH_XDP);
}

/// Puts the station's address on another device, which this `ip` command makes.
#[track_caller]
fn replace_device(station: &mut Station, name: &str, make: &str) {
    station.ns.ip_batch([
        format!("addr flush dev {}", station.dev),
        make.to_owned(),
        format!("addr add {}/24 dev {name}", station.ip),
        format!("link set {name} up"),
    ]);
    station.dev = name.to_owned();
}

/// Attaches to the lab's master, in every way of demultiplexing, and takes it off again.
#[track_caller]
fn check(lab: &Lab, means: &[&[&str]]) {
    let (bridge, private) = (lab.child("web", Mode::Bridge), lab.child("db", Mode::Private));
    let carries = || ping(&lab.wire, bridge.ip.into()).then_some(());
    wait_for("the master to carry frames", carries);
    for args in means {
        assert!(is_silent(&lab.host, bridge.ip.into()), "before {args:?}");
        let attached = Attached::new(lab, args);
        check_talk(lab, &[&bridge, &private]);
        check_counters(&attached);
        attached.detach(&[]).succeeded();
    }
}

/// Everybody reaches host and wire; nobody reaches the private child but those two.
#[track_caller]
fn check_talk(lab: &Lab, children: &[&Station; 2]) {
    for child in children {
        for station in [&lab.host, &lab.wire] {
            assert!(ping(station, child.ip.into()), "{} to {}", station.dev, child.dev);
            assert!(ping(child, station.ip.into()), "{} to {}", child.dev, station.dev);
        }
        tcp_transfer(&lab.host, child, Family::V4, BULK);
        tcp_transfer(child, &lab.host, Family::V4, BULK);
        tcp_transfer(&lab.wire, child, Family::V4, BULK);
    }
    assert!(is_silent(children[0], children[1].ip.into()), "bridge to private");
    assert!(is_silent(children[1], children[0].ip.into()), "private to bridge");
}

/// What crossed the hairpin is counted as the host's, what came by the cable as the wire's.
#[track_caller]
fn check_counters(attached: &Attached<'_>) {
    let stats = attached.stats();
    for child in ["web", "db"] {
        for path in [Path::Host, Path::Wire] {
            let (rx, tx) = (stats.rx(child, path), stats.tx(child, path));
            let least = BULK as u64;
            assert!(rx.bytes > least, "{child} {path:?} rx: {rx:?}");
            assert!(tx.packets > 0, "{child} {path:?} tx: {tx:?}");
        }
    }
}

/// What most containers call their device, and what most machines call theirs.
#[test]
fn a_child_is_called_as_its_master_elsewhere() {
    needs!(require::lab, require::binary);
    let lab = Lab::new();
    let web = lab.newcomer("web");
    let home = web.ns.path().display().to_string();
    let spec = format!("eth0,netns={home},mac={},ip={}/24", web.mac, web.ip);
    lab.ctl(&["attach", "eth0", "--child", &spec]).succeeded();
    assert!(ping(&lab.host, web.ip.into()));
    let links = web.ns.ip_json("link show type macvlan");
    let names: Vec<_> = links.as_array().into_iter().flatten().map(|link| &link["ifname"]).collect();
    assert_eq!(names, ["eth0"]);
    let ran = lab.ctl(&["child", "add", "eth0", &format!("eth0,netns={home},mac=02:00:00:00:09:01")]);
    assert!(ran.failed(1).contains("eth0"), "{}", ran.report());
    lab.ctl(&["child", "del", "eth0", &format!("eth0,netns={home}")]).succeeded();
}
