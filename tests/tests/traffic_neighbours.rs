//! Other masters, and programs of others on the same master: each goes on as if alone.

use std::sync::Arc;

use macvlan_common::{
    child::Mode,
    counters::{Count, Path},
    mac::Mac,
};
use macvlan_tests::{
    attached::Attached,
    cli,
    crowd::{Crowd, LEN, TIMES},
    fail::wait_for,
    foreign::{Foreign, Order, Place},
    frames::{EXPERIMENTAL, Marker, marked},
    lab::{Lab, Station},
    leak::Traces,
    mounts::Mounts,
    needs,
    netns::Netns,
    require,
    sniff::{Injector, Tap},
    talk::{is_silent, ping},
};

const SENT: Count = Count { packets: TIMES as u64, bytes: (TIMES * LEN) as u64 };

#[test]
fn two_masters_of_one_name_and_index_in_two_namespaces_are_apart() {
    needs!(require::lab, require::tc, require::binary);
    let mounts = Arc::new(Mounts::new());
    let labs = [Lab::with().build_in(mounts.clone()), Lab::with().build_in(mounts)];
    let indices = labs.each_ref().map(|lab| lab.host.ns.ifindex(&lab.host.dev));
    assert_eq!(indices[0], indices[1], "the test has no equal indices");
    let children = labs.each_ref().map(|lab| lab.child("b1", Mode::Bridge));
    let before = Traces::of(&labs[0]);
    let [one, other] = labs.each_ref().map(|lab| Attached::new(lab, &[]));
    let between = other.stats();

    assert_eq!(exchange(&labs[0].host, &children[0]), TIMES);

    assert_eq!(one.stats().rx("b1", Path::Host), SENT);
    assert_eq!((&other.stats() - &between).all(), [], "the other master counted");

    other.detach(&[]).succeeded();
    assert_eq!(exchange(&labs[0].host, &children[0]), TIMES, "after the other's detach");
    assert!(is_silent(&labs[1].host, children[1].ip.into()));
    one.detach(&[]).succeeded();
    assert_eq!(Traces::of(&labs[0]), before);
}

#[test]
fn two_masters_in_one_namespace_are_apart() {
    needs!(require::lab, require::binary);
    let lab = Lab::new();
    let child = lab.child("b1", Mode::Bridge);
    let (second, far, stranger) = second_master(&lab);
    let attached = Attached::new(&lab, &[]);
    lab.ctl(&["attach", &second.dev, "--require-bpf"]).succeeded();
    let stats =
        || macvlan_tests::stats::Stats::of(&lab.ctl(&["-j", "stats", &second.dev]).succeeded().json());
    let before = (attached.stats(), stats());

    assert_eq!(exchange(&lab.host, &child), TIMES);
    assert_eq!(exchange(&second, &stranger), TIMES);
    assert_eq!(exchange(&stranger, &second), TIMES);
    // A child of the other master is a stranger on this one.
    assert_eq!(arrivals(&lab.host, stranger.mac, &lab.wire), TIMES);
    assert_eq!(arrivals(&second, child.mac, &far), TIMES);

    let row = |name: &str, direction| (name.to_owned(), Path::Host.as_str(), direction, SENT);
    assert_eq!((&attached.stats() - &before.0).all(), [row("b1", "rx")]);
    assert_eq!((&stats() - &before.1).all(), [row("c2", "rx"), row("c2", "tx")]);

    attached.detach(&[]).succeeded();
    assert_eq!(arrivals(&lab.host, child.mac, &lab.wire), TIMES, "after detach: to the wire");
    assert_eq!(exchange(&second, &stranger), TIMES, "after the other's detach");
}

#[test]
fn tcx_programs_of_others_before_and_behind_ours_go_on() {
    needs!(require::lab, require::tc, require::tcx, require::binary);
    let lab = Lab::new();
    let child = lab.child("b1", Mode::Bridge);
    let (ns, dev) = (&lab.host.ns, lab.host.dev.as_str());
    let (first_in, first_out) = (
        Foreign::counter(ns, dev, Place::Ingress, Order::Last),
        Foreign::counter(ns, dev, Place::Egress, Order::Last),
    );
    let before = Traces::of(&lab);
    let attached = Attached::new(&lab, &[]);
    let (last_in, last_out) = (
        Foreign::counter(ns, dev, Place::Ingress, Order::Last),
        Foreign::counter(ns, dev, Place::Egress, Order::Last),
    );

    assert_eq!(exchange(&lab.host, &child), TIMES);
    assert_eq!(arrivals(&lab.wire, child.mac, &child), TIMES);
    assert_eq!(arrivals(&lab.host, lab.wire.mac, &lab.wire), TIMES);

    let times = TIMES as u64;
    // Turned frames come in as well; what is turned around does not go out.
    let seen = [&first_in, &last_in, &first_out, &last_out].map(Foreign::seen);
    assert_eq!(seen, [2 * times, 2 * times, 2 * times, times]);

    drop((last_in, last_out));
    attached.detach(&[]).succeeded();
    assert_eq!(Traces::of(&lab), before);
    assert_eq!(arrivals(&lab.host, child.mac, &lab.wire), TIMES);
    assert_eq!(first_out.seen(), 3 * times, "after detach");
}

#[test]
fn a_filter_of_others_on_a_clsact_qdisc_goes_on() {
    needs!(require::lab, require::tc, require::binary);
    for args in [&[][..], &["--tc", "clsact"]] {
        let lab = Lab::new();
        let child = lab.child("b1", Mode::Bridge);
        let mut monitor = mirror_to_a_monitor(&lab);
        let before = Traces::of(&lab);
        let attached = Attached::new(&lab, args);

        let marker = Marker::new();
        let frame = marked(lab.wire.mac, lab.host.mac, marker);
        Injector::new(&lab.host.ns, &lab.host.dev).send_times(&frame, TIMES);
        monitor.wait_for(marker, TIMES);
        assert_eq!(exchange(&lab.host, &child), TIMES, "{args:?}");

        attached.detach(&[]).succeeded();
        assert_eq!(Traces::of(&lab), before, "{args:?}");
        let marker = Marker::new();
        let frame = marked(lab.wire.mac, lab.host.mac, marker);
        Injector::new(&lab.host.ns, &lab.host.dev).send(&frame);
        monitor.wait_for(marker, 1);
    }
}

#[test]
fn where_another_program_holds_xdp_the_demultiplexer_is_tc_and_status_says_why() {
    needs!(require::lab, require::tc, require::binary);
    for place in [Place::XdpNative, Place::XdpGeneric] {
        for wish in ["native", "generic"] {
            let lab = Lab::new();
            let child = lab.child("b1", Mode::Bridge);
            let other = Foreign::counter(&lab.host.ns, &lab.host.dev, place, Order::Last);
            let before = Traces::of(&lab);

            let attached = Attached::new(&lab, &["--xdp", wish]);

            let status = attached.status();
            assert_eq!(status["demux"], "tc", "{place:?} {wish}: {status:#}");
            let reasons = status["degraded"].as_array().map_or(&[][..], Vec::as_slice);
            let why = reasons.iter().find(|degraded| degraded["feature"] == "demux");
            let why = why.and_then(|why| why["reason"].as_str()).unwrap_or_default();
            assert!(why.contains("another XDP program"), "{place:?} {wish}: {status:#}");
            assert_eq!(arrivals(&lab.wire, child.mac, &child), TIMES);
            assert_eq!(exchange(&lab.host, &child), TIMES);
            assert_eq!(attached.stats().rx("b1", Path::Wire), SENT, "{place:?} {wish}");
            let seen = other.seen();
            assert!(seen >= TIMES as u64, "{place:?} {wish}: {seen}");

            attached.detach(&[]).succeeded();
            assert_eq!(Traces::of(&lab), before, "{place:?} {wish}");
            assert_eq!(arrivals(&lab.wire, child.mac, &child), TIMES);
            assert_eq!(other.seen(), seen + TIMES as u64, "{place:?} {wish}: after detach");
        }
    }
}

#[test]
fn with_clsact_the_core_of_the_contract_holds_and_no_qdisc_is_left() {
    needs!(require::lab, require::tc, require::binary);
    let (wire, host, sibling) = (Path::Wire.as_str(), Path::Host.as_str(), Path::Sibling.as_str());
    type Gain = (&'static str, &'static str, &'static str);
    let rows: [(&str, &str, &[&str], &[Gain]); 12] = [
        ("wire", "b1", &["b1"], &[("b1", wire, "rx")]),
        ("wire", "broadcast", &["b1", "b2", "p1", "p2", "v1", "v2", "host"], &[]),
        ("host", "b1", &["b1"], &[("b1", host, "rx")]),
        ("host", "p1", &["p1"], &[("p1", host, "rx")]),
        ("host", "v1", &["wire"], &[]),
        ("host", "broadcast", &["b1", "b2", "p1", "p2", "v1", "v2", "wire"], &[]),
        ("b1", "host", &["host"], &[("b1", host, "tx")]),
        ("b1", "b2", &["b2"], &[("b1", sibling, "tx"), ("b2", sibling, "rx")]),
        ("b1", "broadcast", &["b2", "host", "wire"], &[("b1", wire, "tx")]),
        ("p1", "broadcast", &["host", "wire"], &[("p1", wire, "tx")]),
        ("p1", "p2", &[], &[("p1", "drops", "isolated")]),
        ("v1", "host", &["wire"], &[("v1", wire, "tx")]),
    ];
    for args in [&["--tc", "clsact"][..], &["--tc", "clsact", "--xdp", "native"]] {
        let lab = Lab::new();
        let mut crowd = Crowd::new(&lab);
        let before = Traces::of(&lab);
        let attached = Attached::new(&lab, args);
        assert_eq!(attached.status()["hairpin"], "clsact", "{args:?}");
        for (from, to, arrives, gained) in rows {
            let before = attached.stats();
            crowd.expect(from, to, arrives);
            let expected: Vec<_> =
                gained.iter().map(|(child, path, way)| ((*child).to_owned(), *path, *way, SENT)).collect();
            assert_eq!((&attached.stats() - &before).all(), expected, "{args:?}: {from} to {to}");
        }
        attached.detach(&[]).succeeded();
        assert_eq!(Traces::of(&lab), before, "{args:?}");
    }
}

#[test]
fn a_clsact_qdisc_that_was_there_before_stays() {
    needs!(require::lab, require::tc, require::binary);
    for args in [&[][..], &["--tc", "clsact"]] {
        let lab = Lab::new();
        let child = lab.child("b1", Mode::Bridge);
        tc(&lab.host, &format!("qdisc add dev {} clsact", lab.host.dev));
        let before = Traces::of(&lab);
        let attached = Attached::new(&lab, args);
        assert!(ping(&lab.host, child.ip.into()), "{args:?}");
        attached.detach(&[]).succeeded();
        assert_eq!(Traces::of(&lab), before, "{args:?}");
    }
}

/// Another master in the host's namespace, what is behind it, and its bridge child `c2`.
fn second_master(lab: &Lab) -> (Station, Station, Station) {
    let [mut second, mut far, mut child] = [lab.newcomer("eth1"), lab.newcomer("far0"), lab.newcomer("c2")];
    for (station, last) in [(&mut second, 0xa1), (&mut far, 0xa2), (&mut child, 0xa3)] {
        station.mac = Mac::new([0x02, 0, 0, 0, 2, last]);
    }
    let (far_ns, child_ns) = (far.ns.path(), child.ns.path());
    lab.host.ns.ip_batch([
        format!(
            "link add eth1 address {} type veth peer name far0 address {} netns {}",
            second.mac,
            far.mac,
            far_ns.display()
        ),
        "link set eth1 up".into(),
        format!("link add link eth1 name c2 address {} type macvlan mode bridge", child.mac),
        format!("link set c2 netns {}", child_ns.display()),
    ]);
    far.ns.ip("link set far0 up");
    child.ns.ip("link set c2 up");
    // It lives beside the first master.
    second.ns = lab.host.ns.share();
    for station in [&second, &far, &child] {
        wait_until_up(&station.ns, &station.dev);
    }
    (second, far, child)
}

/// A foreign filter that shows what leaves the master to a monitor.
fn mirror_to_a_monitor(lab: &Lab) -> Tap {
    let ns = &lab.host.ns;
    ns.ip_batch(
        ["link add mon0 type veth peer name mon1", "link set mon0 up", "link set mon1 up"].map(Into::into),
    );
    wait_until_up(ns, "mon0");
    let dev = &lab.host.dev;
    tc(&lab.host, &format!("qdisc add dev {dev} clsact"));
    // Without "continue" its word is the last, and no filter behind it sees the frame.
    let mirror = "u32 match u32 0 0 action mirred egress mirror dev mon0 continue";
    tc(&lab.host, &format!("filter add dev {dev} egress protocol all prio 7 {mirror}"));
    Tap::on_device(ns, "mon1")
}

/// Until then a device drops what it is given.
#[track_caller]
fn wait_until_up(ns: &Netns, dev: &str) {
    wait_for(format_args!("{dev} to come up"), || {
        (ns.ip_json(&format!("link show dev {dev}"))[0]["operstate"] == "UP").then_some(())
    });
}

#[track_caller]
fn tc(station: &Station, line: &str) {
    cli::run(station.ns.command("tc").args(line.split_whitespace()));
}

/// How many of [`TIMES`] frames arrive.
#[track_caller]
fn exchange(from: &Station, to: &Station) -> usize {
    arrivals(from, to.mac, to)
}

/// How many of [`TIMES`] frames for this address come by at a listener, once some did.
#[track_caller]
fn arrivals(from: &Station, dst: Mac, listener: &Station) -> usize {
    let marker = Marker::new();
    let mut tap = Tap::on_protocol(&listener.ns, &listener.dev, EXPERIMENTAL);
    Injector::new(&from.ns, &from.dev).send_times(&marked(dst, from.mac, marker), TIMES);
    tap.wait_for(marker, TIMES);
    tap.came_in(marker)
}
