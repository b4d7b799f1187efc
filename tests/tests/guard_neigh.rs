//! Directed ARP and neighbour solicitation: who gets a request for an address, and who may say that
//! he has it.

use std::net::{Ipv4Addr, Ipv6Addr};

use macvlan_common::{
    child::Mode,
    counters::{Count, FloodOrigin, Path},
    mac::Mac,
};
use macvlan_tests::{
    attached::Attached,
    fail::wait_for,
    following::Following,
    frames::{self, ARP, ArpOperation, Frame, IPV6, Marker, VLAN},
    lab::{Lab, Station},
    needs, require,
    sniff::{Injector, Tap},
    talk::ping,
};

const NONE: Mac = Mac::new([0; 6]);
const ANYBODY: Ipv4Addr = Ipv4Addr::UNSPECIFIED;
const UNKNOWN: Ipv4Addr = Ipv4Addr::new(10, 9, 0, 99);
const EVERYBODY: [&str; 5] = ["b1", "b2", "p1", "v1", "host"];

/// Children of several modes, host and wire, all of them listening.
struct Audience<'lab> {
    lab: &'lab Lab,
    children: Vec<Station>,
    taps: Vec<(&'static str, Tap)>,
    ethertype: u16,
}

impl<'lab> Audience<'lab> {
    fn of(lab: &'lab Lab, ethertype: u16) -> Self {
        let modes = [("b1", Mode::Bridge), ("b2", Mode::Bridge), ("p1", Mode::Private), ("v1", Mode::Vepa)];
        let children: Vec<Station> = modes.iter().map(|(name, mode)| lab.child(name, *mode)).collect();
        let mut taps: Vec<(&str, Tap)> = children
            .iter()
            .zip(modes)
            .map(|(child, (name, _))| (name, Tap::on_device(&child.ns, &child.dev)))
            .collect();
        taps.push(("host", Tap::on_protocol(&lab.host.ns, &lab.host.dev, ethertype)));
        taps.push(("wire", Tap::on_device(&lab.wire.ns, &lab.port)));
        Self { lab, children, taps, ethertype }
    }

    fn station(&self, name: &str) -> &Station {
        match name {
            "host" => &self.lab.host,
            "wire" => &self.lab.wire,
            child => self.children.iter().find(|station| station.dev == child).expect("a child"),
        }
    }

    /// Sends a frame with this marker, and asserts that `expected` hear it once and nobody else.
    #[track_caller]
    fn expect(&mut self, from: &str, frame: &[u8], marker: Marker, expected: &[&str]) {
        let sender = self.station(from);
        Injector::new(&sender.ns, &sender.dev).send(frame);
        for (_, tap) in self.taps.iter_mut().filter(|(name, _)| expected.contains(name)) {
            tap.wait_for(marker, 1);
        }
        self.settle();
        let heard = self.taps.iter_mut().map(|(name, tap)| {
            // The host's protocols ignore what is for somebody else.
            (*name, if *name == "host" { tap.received(marker) } else { tap.came_in(marker) })
        });
        let heard: Vec<_> = heard.filter(|(_, count)| *count > 0).collect();
        let wanted: Vec<_> = self
            .taps
            .iter()
            .filter(|(name, _)| expected.contains(name))
            .map(|(name, _)| (*name, 1))
            .collect();
        assert_eq!(heard, wanted, "{from} sent {frame:02x?}");
    }

    /// Waits until something that is told to all from the wire, after everything else, is everywhere.
    #[track_caller]
    fn settle(&mut self) {
        let (fence, wire) = (Marker::new(), &self.lab.wire);
        let frame = if self.ethertype == ARP {
            frames::arp(Mac::BROADCAST, ArpOperation::Request, (wire.mac, wire.ip), (NONE, wire.ip), fence)
        } else {
            discovery(wire.mac, &frames::neighbour_advertisement(wire.ip6, wire.ip6), fence)
        };
        Injector::new(&wire.ns, &wire.dev).send(&frame);
        for (_, tap) in self.taps.iter_mut().filter(|(name, _)| *name != "wire") {
            tap.wait_for(fence, 1);
        }
    }

    /// `from` asks who has `target`.
    #[track_caller]
    fn asks(&mut self, from: &str, target: Ipv4Addr, expected: &[&str]) {
        let (mac, ip) = (self.station(from).mac, self.station(from).ip);
        self.asks_as(from, (mac, ip), target, expected);
    }

    #[track_caller]
    fn asks_as(&mut self, from: &str, sender: (Mac, Ipv4Addr), target: Ipv4Addr, expected: &[&str]) {
        let marker = Marker::new();
        let frame = frames::arp(Mac::BROADCAST, ArpOperation::Request, sender, (NONE, target), marker);
        self.expect(from, &frame, marker, expected);
    }

    /// `from` says that it has `address`, to whoever listens.
    fn tells(&self, from: &str, address: Ipv4Addr) {
        let station = self.station(from);
        let frame = frames::arp(
            Mac::BROADCAST,
            ArpOperation::Request,
            (station.mac, address),
            (NONE, address),
            Marker::new(),
        );
        Injector::new(&station.ns, &station.dev).send(&frame);
    }

    /// `from` solicits `target`, with `src` as its address, from all nodes: whoever is not to hear
    /// of it would, were it for the filters of groups.
    #[track_caller]
    fn solicits(&mut self, from: &str, src: Ipv6Addr, target: Ipv6Addr, expected: &[&str]) {
        let marker = Marker::new();
        let all = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);
        let packet = frames::neighbour_solicitation_to(all, src, target);
        let frame = discovery(self.station(from).mac, &packet, marker);
        self.expect(from, &frame, marker, expected);
    }
}

/// A packet of neighbour discovery to the group that it names, marked behind its end.
fn discovery(src: Mac, packet: &[u8], marker: Marker) -> Vec<u8> {
    let group = Mac::new([0x33, 0x33, packet[36], packet[37], packet[38], packet[39]]);
    let marked = [packet, &marker.octets()].concat();
    Frame::new(group, src).payload(IPV6, &marked).build()
}

fn all_but(absent: &str) -> Vec<&'static str> {
    EVERYBODY.into_iter().filter(|name| *name != absent).collect()
}

#[test]
fn a_request_from_the_wire_goes_to_the_owner_alone() {
    needs!(require::lab, require::binary);
    for args in [&[][..], &["--tc", "clsact"], &["--xdp", "native"]] {
        let lab = Lab::new();
        let mut audience = Audience::of(&lab, ARP);
        let attached = Attached::new(&lab, args);
        for owner in EVERYBODY {
            let before = attached.stats();
            let target = audience.station(owner).ip;
            audience.asks("wire", target, &[owner]);
            audience.asks_as("wire", (lab.wire.mac, ANYBODY), target, &[owner]);
            let gained = &attached.stats() - &before;
            let asked = Count { packets: 2, bytes: 120 };
            if owner != "host" {
                assert_eq!(gained.rx(owner, Path::Wire), asked, "{args:?}");
            }
            // Each fence is a flood as well.
            assert_eq!(gained.flood(FloodOrigin::Wire), Count { packets: 4, bytes: 240 }, "{args:?}");
        }
        audience.asks("wire", UNKNOWN, &EVERYBODY);
    }
}

#[test]
fn what_is_told_unasked_and_what_is_asked_behind_a_tag_goes_to_all() {
    needs!(require::lab, require::binary);
    let lab = Lab::new();
    let mut audience = Audience::of(&lab, ARP);
    let _attached = Attached::new(&lab, &[]);
    let (own, wire) = (audience.station("b1").ip, (lab.wire.mac, lab.wire.ip));
    audience.asks_as("wire", (lab.wire.mac, own), own, &EVERYBODY);
    let marker = Marker::new();
    let answer = frames::arp(Mac::BROADCAST, ArpOperation::Reply, wire, (NONE, own), marker);
    audience.expect("wire", &answer, marker, &EVERYBODY);
    let marker = Marker::new();
    let request = frames::arp(Mac::BROADCAST, ArpOperation::Request, wire, (NONE, own), marker);
    let tagged = Frame::new(Mac::BROADCAST, lab.wire.mac).tag(VLAN, 5).payload(ARP, &request[14..]).build();
    // The stack's own protocols take no frame with a tag that belongs to no VLAN device.
    audience.expect("wire", &tagged, marker, &all_but("host"));
}

#[test]
fn a_request_of_the_host_goes_to_the_child_and_to_the_wire() {
    needs!(require::lab, require::binary);
    let lab = Lab::new();
    let mut audience = Audience::of(&lab, ARP);
    let attached = Attached::new(&lab, &[]);
    for owner in ["b1", "b2", "p1"] {
        let before = attached.stats();
        let target = audience.station(owner).ip;
        audience.asks("host", target, &[owner, "wire"]);
        let gained = &attached.stats() - &before;
        assert_eq!(gained.rx(owner, Path::Host), Count { packets: 1, bytes: 60 });
        assert_eq!(gained.flood(FloodOrigin::Host), Count { packets: 1, bytes: 60 });
    }
    let others = ["b1", "b2", "p1", "v1", "wire"];
    let vepa = audience.station("v1").ip;
    audience.asks("host", vepa, &others);
    audience.asks("host", UNKNOWN, &others);
    audience.asks("host", lab.host.ip, &others);
    lab.ctl(&["child", "set", &lab.host.dev, "b2,host-access=off"]).succeeded();
    let closed = audience.station("b2").ip;
    audience.asks("host", closed, &others);
}

#[test]
fn solicitations_are_directed_as_arp_is() {
    needs!(require::lab, require::binary);
    let lab = Lab::with().ipv6().build();
    let mut audience = Audience::of(&lab, IPV6);
    let _attached = Attached::new(&lab, &[]);
    for owner in EVERYBODY {
        let target = audience.station(owner).ip6;
        audience.solicits("wire", lab.wire.ip6, target, &[owner]);
        audience.solicits("wire", Ipv6Addr::UNSPECIFIED, target, &[owner]);
    }
    for owner in ["b1", "p1"] {
        let target = audience.station(owner).ip6;
        audience.solicits("host", lab.host.ip6, target, &[owner, "wire"]);
        audience.solicits("host", Ipv6Addr::UNSPECIFIED, target, &[owner, "wire"]);
    }
    let unknown = Ipv6Addr::new(0xfd09, 0, 0, 0, 0, 0, 0, 0x999);
    audience.solicits("wire", lab.wire.ip6, unknown, &EVERYBODY);
}

#[test]
fn what_a_child_says_is_believed_until_another_contradicts() {
    needs!(require::lab, require::binary);
    let lab = Lab::new();
    let mut audience = Audience::of(&lab, ARP);
    let _attached = Attached::new(&lab, &[]);
    let (fresh, own, hosts) = (Ipv4Addr::new(10, 9, 0, 77), audience.station("b2").ip, lab.host.ip);
    audience.asks("wire", fresh, &EVERYBODY);

    audience.tells("b1", fresh);
    audience.asks("wire", fresh, &["b1"]);
    // No child is to answer the host alone.
    audience.asks("host", fresh, &["b1", "wire"]);

    // Against netlink and the host as well: the address may have moved.
    audience.tells("b1", own);
    audience.asks("wire", own, &EVERYBODY);
    audience.tells("b1", hosts);
    audience.asks("wire", hosts, &EVERYBODY);

    audience.tells("p1", fresh);
    audience.asks("wire", fresh, &EVERYBODY);
    audience.tells("b1", fresh);
    audience.asks("wire", fresh, &EVERYBODY);

    // A frame with the host's MAC takes no address from its owner either.
    let other = Ipv4Addr::new(10, 9, 0, 78);
    audience.tells("b1", other);
    audience.asks("wire", other, &["b1"]);
    audience.tells("host", other);
    audience.asks("wire", other, &EVERYBODY);
}

#[test]
fn what_the_wire_announces_contests_and_what_it_asks_does_not() {
    needs!(require::lab, require::binary);
    let lab = Lab::new();
    let mut audience = Audience::of(&lab, ARP);
    let _attached = Attached::new(&lab, &[]);
    for owner in ["b1", "host"] {
        let own = audience.station(owner).ip;
        audience.asks_as("wire", (lab.wire.mac, own), UNKNOWN, &EVERYBODY);
        audience.asks("wire", own, &[owner]);
        audience.tells("wire", own);
        audience.settle();
        audience.asks("wire", own, &EVERYBODY);
    }
}

#[test]
fn a_child_teaches_no_more_than_it_has_places_for() {
    needs!(require::lab, require::binary);
    let lab = Lab::new();
    let mut audience = Audience::of(&lab, ARP);
    let _attached = Attached::new(&lab, &[]);
    let claimed = (0..=255).map(|last| Ipv4Addr::new(10, 9, 3, last));
    claimed.clone().for_each(|address| audience.tells("b1", address));
    audience.settle();
    let (asked, wire) = (Marker::new(), (lab.wire.mac, lab.wire.ip));
    for address in claimed {
        let request = frames::arp(Mac::BROADCAST, ArpOperation::Request, wire, (NONE, address), asked);
        Injector::new(&lab.wire.ns, &lab.wire.dev).send(&request);
    }
    audience.settle();
    let heard = |audience: &mut Audience<'_>, name: &str| {
        let (_, tap) = audience.taps.iter_mut().find(|(known, _)| *known == name).expect("a tap");
        tap.came_in(asked)
    };
    assert_eq!(heard(&mut audience, "b1"), 256);
    let directed = 256 - heard(&mut audience, "b2");
    assert!((33..=64).contains(&directed), "{directed} addresses of one child were believed");
}

#[test]
fn a_stranger_with_the_address_of_a_child_has_requests_go_to_all() {
    needs!(require::lab, require::binary);
    let lab = Lab::new();
    let mut audience = Audience::of(&lab, ARP);
    let _attached = Attached::new(&lab, &[]);
    let target = audience.station("b1").ip;
    audience.asks("wire", target, &["b1"]);
    // A container in its place, of which nobody has told us: it probes, as it begins.
    let newcomer = lab.child("b9", Mode::Bridge);
    let probe = frames::arp(
        Mac::BROADCAST,
        ArpOperation::Request,
        (newcomer.mac, ANYBODY),
        (NONE, target),
        Marker::new(),
    );
    Injector::new(&newcomer.ns, &newcomer.dev).send(&probe);
    audience.asks("wire", target, &EVERYBODY);
}

#[test]
fn switched_off_every_request_goes_to_all() {
    needs!(require::lab, require::binary);
    let lab = Lab::new();
    let mut audience = Audience::of(&lab, ARP);
    let attached = Attached::new(&lab, &["--no-directed-neigh"]);
    assert_eq!(attached.status()["directed_neigh"], false);
    let target = audience.station("b1").ip;
    audience.asks("wire", target, &EVERYBODY);
    audience.tells("b1", UNKNOWN);
    audience.asks("wire", UNKNOWN, &EVERYBODY);

    lab.ctl(&["attach", &lab.host.dev, "--directed-neigh=on"]).succeeded();
    assert_eq!(attached.status()["directed_neigh"], true);
    audience.asks("wire", target, &["b1"]);
    let again = lab.ctl(&["attach", &lab.host.dev, "--no-directed-neigh", "--dry-run"]).succeeded();
    assert!(again.stdout.contains("send requests for a known address on"), "{}", again.report());
}

#[test]
fn a_follower_knows_addresses_as_they_come_and_go() {
    needs!(require::lab, require::binary);
    let lab = Lab::new();
    let mut audience = Audience::of(&lab, ARP);
    let _following = Following::start(&lab, &[&lab.host.dev]);
    let (fresh, dev) = (Ipv4Addr::new(10, 9, 0, 77), "b1");
    audience.asks("wire", fresh, &EVERYBODY);
    audience.station(dev).ns.ip(&format!("addr add {fresh}/24 dev {dev}"));
    wait_until_directed(&mut audience, fresh, true);
    audience.asks("wire", fresh, &[dev]);
    audience.asks("host", fresh, &[dev, "wire"]);
    audience.station(dev).ns.ip(&format!("addr del {fresh}/24 dev {dev}"));
    wait_until_directed(&mut audience, fresh, false);
    audience.asks("wire", fresh, &EVERYBODY);
}

/// Asks from the wire until `b2`, which does not have the address, hears of it no more, or again.
#[track_caller]
fn wait_until_directed(audience: &mut Audience<'_>, target: Ipv4Addr, directed: bool) {
    let wire = (audience.lab.wire.mac, audience.lab.wire.ip);
    wait_for(format_args!("requests for {target} to be directed: {directed}"), || {
        let marker = Marker::new();
        let request = frames::arp(Mac::BROADCAST, ArpOperation::Request, wire, (NONE, target), marker);
        Injector::new(&audience.lab.wire.ns, &audience.lab.wire.dev).send(&request);
        audience.settle();
        let (_, tap) = audience.taps.iter_mut().find(|(name, _)| *name == "b2").expect("a tap");
        ((tap.came_in(marker) == 0) == directed).then_some(())
    });
}

#[test]
fn everybody_finds_everybody() {
    needs!(require::lab, require::binary);
    for args in [&[][..], &["--xdp", "native"], &["--xdp", "generic"]] {
        let lab = Lab::with().ipv6().build();
        let audience = Audience::of(&lab, ARP);
        let _attached = Attached::new(&lab, args);
        let (host, wire) = (&lab.host, &lab.wire);
        let [b1, b2, p1] = ["b1", "b2", "p1"].map(|name| audience.station(name));
        for (from, to) in
            [(wire, host), (wire, b1), (wire, p1), (host, b1), (host, p1), (b1, host), (b1, b2), (p1, wire)]
        {
            for target in [to.ip.into(), to.ip6.into()] {
                assert!(ping(from, target), "{args:?}: {} to {target} of {}", from.dev, to.dev);
            }
        }
    }
}
