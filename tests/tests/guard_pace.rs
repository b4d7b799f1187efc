//! A rate where the master's qdisc is fq: what a child sends to the wire leaves at the rate, frame by frame,
//! instead of being dropped beyond it.
//!
//! Run on several kernels by `cargo xtask vm-test`.

use std::time::Duration;

use macvlan_common::{
    child::Mode,
    counters::{Count, DropReason, Path},
};
use macvlan_tests::{
    attached::Attached,
    cli::run,
    frames::{EXPERIMENTAL, Frame, Marker},
    lab::{Lab, Station},
    needs, require,
    sniff::{Injector, Tap},
    stream::{Stream, TOLERANCE, come_to_the_rate},
};

/// Bits a second: little, as the machine may be emulated.
const RATE: f64 = 2e6;

/// A rate of that, and a burst that is never used up here: a frame waits or goes, none is dropped.
const SPEC: &str = "web,rate-tx=2mbit/1m";

/// Frames of a volley, of this length: one and a half seconds' worth.
const FRAMES: usize = 250;
const LEN: usize = 1514;

/// A volley during which the machine was busy elsewhere is fired again.
const VOLLEYS: usize = 5;

fn put_fq(lab: &Lab) {
    let add = "qdisc add dev eth0 root fq flow_limit 1000";
    run(lab.host.ns.command("tc").args(add.split_whitespace()));
}

/// How long the wire takes to hear a volley that the child sends at once.
#[track_caller]
fn fire(lab: &Lab, child: &Station) -> Duration {
    let marker = Marker::new();
    let mut wire = Tap::on_device(&lab.wire.ns, &lab.port).with_times();
    let frame = Frame::new(lab.wire.mac, child.mac).payload(EXPERIMENTAL, &marker.octets()).padded(LEN);
    Injector::new(&child.ns, &child.dev).send_times(&frame, FRAMES);
    wire.wait_for(marker, FRAMES);
    let mut times: Vec<Duration> = wire.marked(marker).iter().filter_map(|seen| seen.arrived).collect();
    times.sort();
    assert_eq!(times.len(), FRAMES);
    times[FRAMES - 1] - times[0]
}

#[test]
fn a_volley_to_the_wire_leaves_at_the_rate_where_there_is_fq_and_at_once_where_not() {
    needs!(require::lab, require::fq, require::binary);
    let lab = Lab::new();
    let child = lab.child("web", Mode::Bridge);
    let attached = Attached::new(&lab, &[]);
    lab.ctl(&["child", "set", "eth0", SPEC]).succeeded();
    let before = attached.stats();

    let at_once = fire(&lab, &child);

    put_fq(&lab);
    let wanted = ((FRAMES - 1) * LEN * 8) as f64 / RATE;
    let off = |took: Duration| (took.as_secs_f64() / wanted - 1.0).abs();
    let mut volleys = vec![fire(&lab, &child)];
    while volleys.iter().all(|took| off(*took) > TOLERANCE) && volleys.len() < VOLLEYS {
        volleys.push(fire(&lab, &child));
    }
    println!("{FRAMES} frames in {at_once:?}, with fq in {volleys:?}; at the rate it is {wanted:.3} s");
    let paced = volleys[volleys.len() - 1];
    assert!(off(paced) <= TOLERANCE, "{volleys:?} instead of {wanted:.3} s");
    assert!(at_once < paced / 2, "{at_once:?} without fq, {paced:?} with it");
    let gained = &attached.stats() - &before;
    assert_eq!(gained.dropped("web", DropReason::Rate), Count::default());
    let sent = FRAMES * (1 + volleys.len());
    assert_eq!(gained.tx("web", Path::Wire).packets, sent as u64);
}

#[test]
fn tcp_to_the_wire_comes_to_the_rate_and_loses_nothing_where_there_is_fq() {
    needs!(require::lab, require::fq, require::binary);
    let lab = Lab::new();
    let child = lab.child("web", Mode::Bridge);
    put_fq(&lab);
    let attached = Attached::new(&lab, &[]);
    lab.introduce(&[&lab.wire, &child]);
    lab.ctl(&["child", "set", "eth0", SPEC]).succeeded();
    let before = attached.stats();
    let stream = Stream::tcp(&child, &lab.wire);
    come_to_the_rate(&[("TCP, child to wire".to_owned(), stream)], RATE);
    let gained = &attached.stats() - &before;
    assert_eq!(gained.dropped("web", DropReason::Rate), Count::default());
}
