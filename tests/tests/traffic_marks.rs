//! What a sender may set on a packet beside its bytes (`skb->mark`, priority, time of departure):
//! it tells nobody anything across the hairpin, and nobody can pass for a frame that we turned.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use aya::maps::{Array, Map, MapData};
use macvlan_common::{
    child::Mode,
    config::Config,
    counters::{Count, DropReason, Path},
    mac::Mac,
    names,
    tag::HAIRPINS,
};
use macvlan_tests::{
    attached::Attached,
    crowd::{ALL_HOSTS, Crowd, LEN},
    departure::Departures,
    fail::OrFail as _,
    frames::{EXPERIMENTAL, Marker, marked},
    lab::{Lab, Station},
    leak::Traces,
    needs, require,
    sniff::{Injector, Kind, Tap},
};

const DEMULTIPLEXERS: [&[&str]; 3] = [&[], &["--xdp", "native"], &["--xdp", "generic"]];

/// As a container or the host may choose it.
const MARK: u32 = 0xdead_beef;
const PRIORITY: u32 = 6;

#[test]
fn marks_and_priorities_do_not_cross_the_hairpin() {
    needs!(require::lab, require::binary, require::receive_priority);
    for args in DEMULTIPLEXERS {
        for mode in [Mode::Bridge, Mode::Private] {
            let lab = Lab::new();
            let child = lab.child("c1", mode);
            let _attached = Attached::new(&lab, args);
            for (from, to) in [(&child, &lab.host), (&lab.host, &child)] {
                let sender = sender(from).with_mark(MARK).with_priority(PRIORITY);
                let mut receiver = Tap::on_protocol(&to.ns, &to.dev, EXPERIMENTAL).with_priority();
                for dst in [to.mac, Mac::BROADCAST, ALL_HOSTS] {
                    let marker = Marker::new();
                    sender.send(&marked(dst, from.mac, marker));
                    receiver.wait_for(marker, 1);
                    let came: Vec<_> =
                        receiver.marked(marker).iter().map(|seen| (seen.mark, seen.priority)).collect();
                    assert_eq!(came, [(0, 0)], "{args:?} {mode:?}: {} to {dst}", from.dev);
                }
            }
        }
    }
}

#[test]
fn a_time_of_departure_does_not_pass_for_a_time_of_arrival() {
    needs!(require::lab, require::binary);
    const HOUR: Duration = Duration::from_secs(3600);
    for args in DEMULTIPLEXERS {
        let lab = Lab::new();
        let (bridge, private) = (lab.child("b1", Mode::Bridge), lab.child("p1", Mode::Private));
        let _attached = Attached::new(&lab, args);
        let pairs =
            [(&bridge, &lab.host), (&private, &lab.host), (&lab.host, &bridge), (&lab.host, &private)];
        for (from, to) in pairs {
            let sender = Departures::new(sender(from));
            let mut receiver = Tap::on_protocol(&to.ns, &to.dev, EXPERIMENTAL).with_times();
            for dst in [to.mac, Mac::BROADCAST] {
                let marker = Marker::new();
                let sent = now();
                sender.send_at(&marked(dst, from.mac, marker), sent + 24 * HOUR);
                receiver.wait_for(marker, 1);
                let came = receiver.marked(marker);
                let arrived = came[0].arrived.or_fail("read the time of arrival");
                assert!(arrived < sent + HOUR, "{args:?}: {} to {dst} arrived at {arrived:?}", from.dev);
            }
        }
    }
}

#[test]
fn marks_of_frames_to_the_wire_are_left_alone() {
    needs!(require::lab, require::binary);
    for args in DEMULTIPLEXERS {
        let lab = Lab::new();
        let child = lab.child("b1", Mode::Bridge);
        let _attached = Attached::new(&lab, args);
        // What leaves is seen behind TC egress.
        let mut leaving = Tap::on_device(&lab.host.ns, &lab.host.dev);
        for from in [&lab.host, &child] {
            let sender = sender(from).with_mark(MARK);
            for dst in [lab.wire.mac, Mac::BROADCAST, ALL_HOSTS] {
                let marker = Marker::new();
                sender.send(&marked(dst, from.mac, marker));
                let marks: Vec<_> = outgoing(&mut leaving, marker);
                assert_eq!(marks, [MARK], "{args:?}: {} to {dst}", from.dev);
            }
        }
    }
}

#[test]
fn a_capture_on_the_master_sees_no_mark() {
    needs!(require::lab, require::binary);
    for args in DEMULTIPLEXERS {
        let lab = Lab::new();
        // The host's broadcast comes back up for such a child.
        let child = lab.child("p1", Mode::Private);
        let _attached = Attached::new(&lab, args);
        let mut capture = Tap::on_device(&lab.host.ns, &lab.host.dev);
        for (from, to) in [(&child, &lab.host), (&lab.host, &child)] {
            for dst in [to.mac, Mac::BROADCAST] {
                let marker = Marker::new();
                sender(from).with_mark(MARK).send(&marked(dst, from.mac, marker));
                capture.wait_for(marker, 1);
                let came: Vec<_> =
                    capture.marked(marker).into_iter().filter(|seen| seen.kind != Kind::Outgoing).collect();
                assert!(
                    !came.is_empty() && came.iter().all(|seen| seen.mark == 0),
                    "{args:?}: {} to {dst}: {came:x?}",
                    from.dev
                );
            }
        }
    }
}

#[test]
fn no_guessed_mark_passes_for_ours() {
    needs!(require::lab, require::binary);
    let marks: Vec<u32> = (0..=255).chain([u32::MAX]).collect();
    for args in DEMULTIPLEXERS {
        let lab = Lab::new();
        let mut crowd = Crowd::new(&lab);
        let attached = Attached::new(&lab, args);
        check_marks(&lab, &mut crowd, &attached, &marks);
    }
}

#[test]
fn not_even_our_own_secret_as_a_mark_passes_for_ours() {
    needs!(require::lab, require::binary);
    for args in DEMULTIPLEXERS {
        let lab = Lab::new();
        let mut crowd = Crowd::new(&lab);
        let attached = Attached::new(&lab, args);
        let config = settings(&lab);
        assert!(
            config.secret >> 32 != 0 && config.secret as u32 & !Config::TAG_KIND != 0,
            "no secret was drawn"
        );
        let marks: Vec<u32> =
            HAIRPINS.iter().flat_map(|kind| [config.tag_of(*kind).low, config.tag_of(*kind).high]).collect();
        check_marks(&lab, &mut crowd, &attached, &marks);
    }
}

/// Sends a frame with each mark between everybody: all of them fare as those without.
#[track_caller]
fn check_marks(lab: &Lab, crowd: &mut Crowd<'_>, attached: &Attached<'_>, marks: &[u32]) {
    let sent = Count { packets: marks.len() as u64, bytes: (marks.len() * LEN) as u64 };
    let isolated = DropReason::Isolated.as_str();
    let (wire, host, sibling) = (Path::Wire.as_str(), Path::Host.as_str(), Path::Sibling.as_str());
    type Gain = (&'static str, &'static str, &'static str);
    let rows: [(&str, &str, &[&str], &[Gain]); 12] = [
        ("b1", "host", &["host"], &[("b1", host, "tx")]),
        ("p1", "host", &["host"], &[("p1", host, "tx")]),
        ("b1", "b2", &["b2"], &[("b1", sibling, "tx"), ("b2", sibling, "rx")]),
        ("p1", "p2", &[], &[("p1", "drops", isolated)]),
        ("b1", "p1", &[], &[("b1", "drops", isolated)]),
        ("v1", "host", &["wire"], &[("v1", wire, "tx")]),
        ("b1", "broadcast", &["b2", "host", "wire"], &[("b1", wire, "tx")]),
        ("p1", "broadcast", &["host", "wire"], &[("p1", wire, "tx")]),
        ("host", "b1", &["b1"], &[("b1", host, "rx")]),
        ("host", "broadcast", &["b1", "b2", "p1", "p2", "v1", "v2", "wire"], &[]),
        ("wire", "p1", &["p1"], &[("p1", wire, "rx")]),
        ("wire", "host", &["host"], &[]),
    ];
    for (from, to, arrives, gained) in rows {
        let before = attached.stats();
        let marker = Marker::new();
        let frame = marked(crowd.mac(to), crowd.mac(from), marker);
        let sender = sender(match from {
            "host" => &lab.host,
            "wire" => &lab.wire,
            child => crowd.child(child),
        });
        for mark in marks {
            sender.set_mark(*mark);
            sender.send(&frame);
        }
        let arrivals = crowd.arrivals_of(marker, marks.len(), arrives);
        let mut expected: Vec<_> = arrives.iter().map(|name| (*name, marks.len())).collect();
        expected.sort_unstable();
        assert_eq!(arrivals.into_iter().collect::<Vec<_>>(), expected, "{from} to {to}");
        let expected: Vec<_> =
            gained.iter().map(|(child, path, way)| ((*child).to_owned(), *path, *way, sent)).collect();
        assert_eq!((&attached.stats() - &before).all(), expected, "counters, {from} to {to}");
    }
}

/// The settings of the programs on this lab's master, the secret among them.
fn settings(lab: &Lab) -> Config {
    let pins = Traces::of(lab).pins;
    let pin = pins.iter().find(|pin| pin.ends_with(names::CONFIG)).or_fail("find the pinned settings");
    lab.mounts().enter(|| {
        let map = Map::Array(MapData::from_pin(pin).or_fail("open the settings"));
        let map: Array<MapData, Config> = map.try_into().or_fail("open the settings");
        map.get(&0, 0).or_fail("read the settings")
    })
}

fn sender(station: &Station) -> Injector {
    Injector::new(&station.ns, &station.dev)
}

/// The marks of the frames with this marker that have left.
fn outgoing(tap: &mut Tap, marker: Marker) -> Vec<u32> {
    let seen = tap.marked(marker);
    seen.iter().filter(|seen| seen.kind == Kind::Outgoing).map(|seen| seen.mark).collect()
}

fn now() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).or_fail("read the clock")
}
