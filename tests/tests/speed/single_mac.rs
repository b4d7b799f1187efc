//! One MAC on the wire, beside the hairpin without it.

use std::{
    net::UdpSocket,
    time::{Duration, Instant},
};

use macvlan_common::child::Mode;
use macvlan_tests::{
    attached::Attached,
    claim::{Claim, hold, said},
    fail::OrFail as _,
    generator::Generator,
    lab::{Lab, Station},
    measure::{rounds, spread, spread_of_ratios, tcp_bytes_per_second_on_one_cpu},
    needs, require,
    talk::ping,
};

use super::{FRAMES, PORT, ROUNDS, udp_frame, udp_sink};

/// Datagrams that a child sends per measurement: some 30 ms.
const DATAGRAMS: u32 = 15_000;

/// How long a TCP stream is measured.
const TIME: Duration = Duration::from_millis(150);

#[test]
fn one_mac_on_the_wire_costs_little_over_the_hairpin() {
    needs!(require::lab, require::binary);
    let roads = [false, true].map(Road::new);
    let _ours = [(0, &[][..]), (1, &["--single-mac"])].map(|(road, args)| {
        let attached = Attached::new(&roads[road].lab, args);
        assert_eq!(attached.status()["single_mac"], road == 1);
        attached
    });
    roads.iter().for_each(Road::introduce);
    let report = |what: &str, measure: fn(&Road) -> f64| {
        let claim = Claim::at_least(said("docs/single-mac.md", what, 1).0, (1, 0), what);
        let [many, one] = hold(&[claim], || rounds(ROUNDS, |contender| measure(&roads[contender])));
        let (ratio, many) = (spread_of_ratios(&one, &many), spread(&many));
        println!("one MAC, {what}, {ROUNDS} rounds: {ratio} of the hairpin ({:.3e} a second)", many.median);
    };
    report("wire to child, 60-byte UDP", Road::delivered_per_second);
    report("child to wire, 64-byte UDP", Road::sent_per_second);
    report("wire to child, one TCP stream", |road| road.tcp_from(&road.lab.wire));
    report("host to child, one TCP stream", |road| road.tcp_from(&road.lab.host));
}

/// A wire, a host and a child.
struct Road {
    lab: Lab,
    child: Station,
    /// From the wire to the child.
    frame: Vec<u8>,
    /// From the child to the wire.
    socket: UdpSocket,
    _sinks: [UdpSocket; 2],
}

impl Road {
    fn new(is_one_mac: bool) -> Self {
        let lab = Lab::new();
        let child = lab.child("web", Mode::Bridge);
        let to = if is_one_mac { lab.host.mac } else { child.mac };
        let socket = child.ns.enter(|| {
            let socket = UdpSocket::bind((child.ip, 0)).or_fail("bind a UDP socket");
            socket.connect((lab.wire.ip, PORT)).or_fail("choose whom to send to");
            socket
        });
        let sinks = [&child, &lab.wire].map(udp_sink);
        Self { frame: udp_frame(&lab, &child, to), socket, _sinks: sinks, child, lab }
    }

    /// Nobody asks for a MAC while it is measured.
    fn introduce(&self) {
        for from in [&self.lab.wire, &self.lab.host] {
            assert!(ping(from, self.child.ip.into()) && ping(&self.child, from.ip.into()));
        }
    }

    /// Frames that arrived at the child, per second that sending and receiving them took.
    fn delivered_per_second(&self) -> f64 {
        let before = self.child.ns.received(&self.child.dev);
        let took = Generator::on_wire(&self.lab).send(&self.frame, FRAMES).busy;
        let delivered = self.child.ns.received(&self.child.dev) - before;
        assert!(delivered > 0, "nothing arrived");
        delivered as f64 / took.as_secs_f64()
    }

    /// Datagrams that the child sends per second.
    fn sent_per_second(&self) -> f64 {
        let start = Instant::now();
        for _ in 0..DATAGRAMS {
            self.socket.send(&[0; 64]).or_fail("send a datagram");
        }
        f64::from(DATAGRAMS) / start.elapsed().as_secs_f64()
    }

    fn tcp_from(&self, from: &Station) -> f64 {
        tcp_bytes_per_second_on_one_cpu(from, &self.child, TIME)
    }
}
