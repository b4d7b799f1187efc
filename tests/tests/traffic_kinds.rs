//! Children that are not the usual ones: macvtap, passthru, source mode, without host access.

use macvlan_common::{
    child::Mode,
    counters::{Count, FloodOrigin, Path},
    mac::Mac,
};
use macvlan_tests::{
    attached::Attached,
    crowd::{ALL_HOSTS, Arrivals, Crowd, LEN, TIMES},
    fail::wait_for,
    frames::{self, ETH_HLEN, EXPERIMENTAL, Frame, IPV4, Marker, marked},
    lab::{Lab, Station},
    needs, require,
    sniff::{Injector, Tap},
    tap::TapFile,
};

const SENT: Count = Count { packets: TIMES as u64, bytes: (TIMES * LEN) as u64 };
const DEMULTIPLEXERS: [&[&str]; 3] = [&[], &["--xdp", "native"], &["--xdp", "generic"]];

#[test]
fn a_macvtap_child_pings_the_host() {
    needs!(require::lab, require::binary);
    for args in DEMULTIPLEXERS {
        for mode in [Mode::Bridge, Mode::Private] {
            let lab = Lab::new();
            let child = lab.macvtap("vm1", mode);
            lab.introduce(&[&lab.host, &lab.wire, &child]);
            let mut machine = TapFile::open(&lab, &child);
            let attached = Attached::new(&lab, args);
            for (to, path) in [(&lab.host, Path::Host), (&lab.wire, Path::Wire)] {
                let before = attached.stats();
                let request = echo_request(&child, to);

                machine.send(&request);

                let answer = machine.wait_for("an echo reply", is_echo_reply);
                assert_eq!((&answer[..6], &answer[6..12]), (&child.mac.octets()[..], &to.mac.octets()[..]));
                let one = Count { packets: 1, bytes: request.len() as u64 };
                let gained = (&attached.stats() - &before).all();
                let both = ["rx", "tx"].map(|direction| ("vm1".to_owned(), path.as_str(), direction, one));
                assert_eq!(gained, both, "{args:?} {mode:?} {}", to.dev);
            }
        }
    }
}

#[test]
fn a_macvtap_child_and_the_host_hear_each_others_broadcasts_once() {
    needs!(require::lab, require::binary);
    for args in DEMULTIPLEXERS {
        for mode in [Mode::Bridge, Mode::Private] {
            let lab = Lab::new();
            let child = lab.macvtap("vm1", mode);
            let mut machine = TapFile::open(&lab, &child);
            let mut host = Tap::on_protocol(&lab.host.ns, &lab.host.dev, EXPERIMENTAL);
            let _attached = Attached::new(&lab, args);
            for dst in [Mac::BROADCAST, ALL_HOSTS] {
                let (down, up, fence) = (Marker::new(), Marker::new(), Marker::new());
                let broadcast = marked(dst, lab.host.mac, down);

                Injector::new(&lab.host.ns, &lab.host.dev).send(&broadcast);
                machine.send(&marked(dst, child.mac, up));
                Injector::new(&lab.wire.ns, &lab.wire.dev).send(&marked(dst, lab.wire.mac, fence));

                let mut came = Vec::new();
                wait_for("everything to arrive", || {
                    came.extend(machine.take());
                    came.iter().any(|frame| fence.is_in(frame)).then_some(())
                });
                host.wait_for(fence, 1);
                came.retain(|frame| down.is_in(frame) || up.is_in(frame));
                assert_eq!(came, [broadcast], "{args:?} {mode:?}");
                assert_eq!((host.received(up), host.received(down)), (1, 0), "{args:?} {mode:?}");
            }
        }
    }
}

#[test]
fn beside_a_passthru_child_nothing_is_hairpinned_and_all_is_counted() {
    needs!(require::lab, require::binary);
    for args in DEMULTIPLEXERS {
        let lab = Lab::new();
        let child = lab.child("t1", Mode::Passthru);
        let mut taps = [
            Tap::on_protocol(&child.ns, &child.dev, EXPERIMENTAL),
            Tap::on_device(&lab.wire.ns, &lab.port),
            Tap::on_protocol(&lab.host.ns, &lab.host.dev, EXPERIMENTAL),
        ];
        let attached = Attached::new(&lab, args);
        let status = attached.status();
        assert_eq!(status["hairpin"], "off", "{args:?}: {status:#}");
        let reasons = status["degraded"].as_array().map_or(&[][..], Vec::as_slice);
        let why = reasons.iter().find(|degraded| degraded["feature"] == "hairpin");
        assert!(why.is_some_and(|why| why["got"] == "off" && why["reason"] != ""), "{args:?}: {status:#}");

        let stranger = Mac::new([0x02, 0, 0, 0, 9, 9]);
        let sent_by_child = ("t1".to_owned(), Path::Wire.as_str(), "tx", SENT);
        let received_by_child = ("t1".to_owned(), Path::Wire.as_str(), "rx", SENT);
        // Sender, destination, arrivals at the child, the wire and the host, counters.
        let rows = [
            (&lab.wire, child.mac, [TIMES, 0, 0], Some(received_by_child.clone())),
            (&lab.wire, stranger, [TIMES, 0, 0], Some(received_by_child)),
            // Broadcasts alone the driver leaves to the host as well.
            (&lab.wire, Mac::BROADCAST, [TIMES, 0, TIMES], None),
            (&child, lab.wire.mac, [0, TIMES, 0], Some(sent_by_child.clone())),
            (&child, Mac::BROADCAST, [0, TIMES, 0], Some(sent_by_child)),
        ];
        for (from, dst, expected, counted) in rows {
            let (marker, fence, before) = (Marker::new(), Marker::new(), attached.stats());
            Injector::new(&from.ns, &from.dev).send_times(&marked(dst, from.mac, marker), TIMES);
            Injector::new(&lab.wire.ns, &lab.wire.dev).send(&marked(Mac::BROADCAST, lab.wire.mac, fence));
            taps[0].wait_for(fence, 1);
            let came = taps.each_mut().map(|tap| tap.came_in(marker));
            assert_eq!(came, expected, "{args:?}: {} to {dst}", from.dev);
            let gained = (&attached.stats() - &before).all();
            assert_eq!(gained, counted.as_slice(), "{args:?}: {} to {dst}", from.dev);
        }
    }
}

#[test]
fn the_hosts_broadcast_beside_a_passthru_child_goes_to_the_wire_alone() {
    needs!(require::lab, require::binary);
    let lab = Lab::new();
    let child = lab.child("t1", Mode::Passthru);
    let _attached = Attached::new(&lab, &[]);
    let mut wire = Tap::on_device(&lab.wire.ns, &lab.port);
    let mut deaf = Tap::on_protocol(&child.ns, &child.dev, EXPERIMENTAL);
    let (marker, fence) = (Marker::new(), Marker::new());
    Injector::new(&lab.host.ns, &lab.host.dev).send(&marked(Mac::BROADCAST, lab.host.mac, marker));
    wire.wait_for(marker, 1);
    Injector::new(&lab.wire.ns, &lab.wire.dev).send(&marked(Mac::BROADCAST, lab.wire.mac, fence));
    deaf.wait_for(fence, 1);
    assert_eq!((wire.came_in(marker), deaf.came_in(marker)), (1, 0));
}

#[test]
fn what_the_host_sends_beside_a_passthru_child_is_not_counted_as_the_childs() {
    needs!(require::lab, require::binary);
    let lab = Lab::new();
    let _child = lab.child("t1", Mode::Passthru);
    let attached = Attached::new(&lab, &[]);
    let mut wire = Tap::on_device(&lab.wire.ns, &lab.port);
    let marker = Marker::new();
    let frame = marked(lab.wire.mac, lab.host.mac, marker);
    Injector::new(&lab.host.ns, &lab.host.dev).send_times(&frame, TIMES);
    wire.wait_for(marker, TIMES);
    assert_eq!(attached.stats().tx("t1", Path::Wire), Count::default());
}

#[test]
fn a_source_mode_child_is_counted_and_otherwise_left_to_the_kernel() {
    needs!(require::lab, require::binary);
    const PAIRS: [(&str, &str); 9] = [
        ("wire", "s1"),
        ("wire", "b1"),
        ("wire", "broadcast"),
        ("s1", "wire"),
        ("s1", "host"),
        ("s1", "b1"),
        ("s1", "broadcast"),
        ("host", "s1"),
        ("b1", "s1"),
    ];
    for args in DEMULTIPLEXERS {
        let lab = Lab::new();
        let mut crowd = Crowd::of(&lab, &[("s1", Mode::Source), ("b1", Mode::Bridge)]);
        let child = crowd.child("s1");
        child.ns.ip(&format!("link set {} type macvlan macaddr add {}", child.dev, lab.wire.mac));
        let plain: Vec<Arrivals> = PAIRS.iter().map(|(from, to)| crowd.send(from, to, &[])).collect();
        assert_eq!(plain[0], Arrivals::from([("s1", TIMES)]), "the test has no source mode");

        let attached = Attached::new(&lab, args);

        for ((from, to), plain) in PAIRS.into_iter().zip(plain) {
            let before = attached.stats();
            assert_eq!(crowd.send(from, to, &[]), plain, "{args:?}: {from} to {to}");
            let gained = (&attached.stats() - &before).all();
            let of_child: Vec<_> = gained.iter().filter(|(name, ..)| name == "s1").collect();
            let wire = Path::Wire.as_str();
            let expected = match (from, to) {
                ("s1", _) => vec![("s1".to_owned(), wire, "tx", SENT)],
                ("wire", "s1") => vec![("s1".to_owned(), wire, "rx", SENT)],
                _ => Vec::new(),
            };
            assert_eq!(of_child, expected.iter().collect::<Vec<_>>(), "{args:?}: {from} to {to}");
        }
    }
}

#[test]
fn children_without_host_access_are_as_without_the_data_path() {
    needs!(require::lab, require::binary);
    for args in DEMULTIPLEXERS {
        let lab = Lab::new();
        let mut crowd = Crowd::of(&lab, &[("b1", Mode::Bridge), ("p1", Mode::Private)]);
        let attached = Attached::new(&lab, args);
        deny_host_access(&lab, &attached, &["b1", "p1"]);
        let before = attached.stats();
        for child in ["b1", "p1"] {
            crowd.expect("host", child, &["wire"]);
            crowd.expect(child, "host", &["wire"]);
            crowd.expect(child, "broadcast", &["wire"]);
        }
        let gained = &attached.stats() - &before;
        let twice = Count { packets: 2 * SENT.packets, bytes: 2 * SENT.bytes };
        let wire = |child: &str| (child.to_owned(), Path::Wire.as_str(), "tx", twice);
        assert_eq!(gained.all(), [wire("b1"), wire("p1")], "{args:?}");
        assert_eq!(gained.flood(FloodOrigin::Child), twice, "{args:?}");
    }
}

#[test]
fn the_hosts_broadcasts_stay_off_children_when_none_has_host_access() {
    needs!(require::lab, require::binary);
    for args in DEMULTIPLEXERS {
        let lab = Lab::new();
        let mut crowd = Crowd::of(&lab, &[("b1", Mode::Bridge), ("p1", Mode::Private)]);
        let attached = Attached::new(&lab, args);
        deny_host_access(&lab, &attached, &["b1", "p1"]);
        for group in ["broadcast", "multicast"] {
            crowd.expect("host", group, &["wire"]);
        }
    }
}

#[track_caller]
fn deny_host_access(lab: &Lab, attached: &Attached<'_>, names: &[&str]) {
    for name in names {
        lab.ctl(&["child", "set", &lab.host.dev, &format!("{name},host-access=off")]).succeeded();
    }
    let children = attached.status()["children"].clone();
    let off = children.as_array().is_some_and(|all| all.iter().all(|child| child["host_access"] == false));
    assert!(off, "{children:#}");
}

/// An ICMP echo request, from Ethernet up.
fn echo_request(from: &Station, to: &Station) -> Vec<u8> {
    const ICMP: u8 = 1;
    let mut message = vec![8, 0, 0, 0, 0, 1, 0, 1];
    let sum = frames::checksum(&message);
    message[2..4].copy_from_slice(&sum.to_be_bytes());
    Frame::new(to.mac, from.mac).payload(IPV4, &frames::ipv4(from.ip, to.ip, ICMP, &message)).build()
}

fn is_echo_reply(frame: &[u8]) -> bool {
    const PROTOCOL: usize = ETH_HLEN + 9;
    const KIND: usize = ETH_HLEN + 20;
    frame.get(12..ETH_HLEN) == Some(&IPV4.to_be_bytes())
        && frame.get(PROTOCOL) == Some(&1)
        && frame.get(KIND) == Some(&0)
}
