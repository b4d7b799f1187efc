//! What strict isolation costs, beside the same without it.

use std::time::Duration;

use macvlan_common::child::Mode;
use macvlan_tests::{
    attached::Attached,
    claim::{Claim, hold, said},
    generator::Generator,
    lab::{Lab, Station},
    measure::{rounds, spread, spread_of_ratios, tcp_bytes_per_second_on_one_cpu},
    needs, require,
    talk::ping,
};

use super::{
    FRAMES, ROUNDS,
    datagrams::{Road, sink},
    udp_frame,
};

const GUARD: &str = "docs/guard.md";

/// How long a TCP stream is measured.
const TIME: Duration = Duration::from_millis(100);

/// A host and two children.
struct Place {
    lab: Lab,
    children: [Station; 2],
}

/// The last two are strict: the master, by the sockets of frames; and the children.
#[test]
fn strict_isolation_costs_what_is_said() {
    needs!(require::lab, require::binary, require::tcx, require::telling_sockets);
    let places = [(); 3].map(|()| {
        let lab = Lab::new();
        lab.mounts().hide("/sys/kernel/btf");
        let children = ["web", "db"].map(|name| lab.child(name, Mode::Bridge));
        Place { lab, children }
    });
    let options = [&[][..], &["--isolation", "strict"], &[]];
    let _ours = [0, 1, 2].map(|place| Attached::new(&places[place].lab, options[place]));
    for Station { ns, dev, .. } in &places[2].children {
        ns.ip(&format!("link set {dev} type macvlan mode vepa"));
        places[2].lab.ctl(&["child", "set", "eth0", &format!("{dev},isolation=strict")]).succeeded();
    }
    let _sinks: Vec<_> = places
        .iter()
        .flat_map(|Place { lab, children: [one, other] }| [&lab.host, &lab.wire, one, other])
        .map(sink)
        .collect();
    for Place { lab, children: [one, other] } in &places {
        let ends = [&lab.host, &lab.wire, other];
        assert!(ends.iter().all(|end| ping(one, end.ip.into()) && ping(end, one.ip.into())));
    }
    let report = |way: &str, measure: &dyn Fn(&Place) -> f64| {
        let row = format!("Strict: {way}");
        let claims = [1, 2].map(|strict| {
            let what = format!("{row}, {}", ["the master", "the children"][strict - 1]);
            Claim::at_least(said(GUARD, &row, strict).0, (strict, 0), &what)
        });
        let [off, master, children] = hold(&claims, || rounds(ROUNDS, |place| measure(&places[place])));
        let of_off = |figures: &[f64]| spread_of_ratios(figures, &off);
        println!(
            "{row}, {ROUNDS} rounds: master {}, children {} of {:.3e} a second",
            of_off(&master),
            of_off(&children),
            spread(&off).median
        );
    };
    let road = |from: &Station, to: &Station| Road::new(from, to.ip).sent_per_second();
    report("host to child, datagrams", &|Place { lab, children }| road(&lab.host, &children[0]));
    report("child to host, datagrams", &|Place { lab, children }| road(&children[0], &lab.host));
    report("sibling to sibling, datagrams", &|Place { children: [one, other], .. }| road(one, other));
    report("child to wire, datagrams", &|Place { lab, children }| road(&children[0], &lab.wire));
    report("wire to child, frames", &|Place { lab, children: [one, _] }| {
        let before = one.ns.received(&one.dev);
        let took = Generator::on_wire(lab).send(&udp_frame(lab, one, one.mac), FRAMES).busy;
        (one.ns.received(&one.dev) - before) as f64 / took.as_secs_f64()
    });
    let tcp = |from: &Station, to: &Station| tcp_bytes_per_second_on_one_cpu(from, to, TIME);
    report("host to child, one TCP stream", &|Place { lab, children }| tcp(&lab.host, &children[0]));
    report("sibling to sibling, one TCP stream", &|Place { children: [one, other], .. }| tcp(one, other));
}
