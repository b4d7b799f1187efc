//! Small datagrams, both ends on one processor: what a frame costs, without wake-ups between processors.

use std::{
    net::{Ipv4Addr, UdpSocket},
    time::{Duration, Instant},
};

use macvlan_bench::lab::{cpu::Cpus, traffic::turns::turns};
use macvlan_common::child::Mode;
use macvlan_tests::{
    attached::Attached,
    claim::{Claim, hold, said},
    fail::OrFail as _,
    handwritten::{bare_hairpin, empty_at_ingress},
    lab::{Lab, Station},
    measure::{rounds, spread, spread_of_ratios},
    needs, require,
    talk::ping,
};

use super::{PORT, ROUNDS};

/// Datagrams per measurement: some 30 ms.
const DATAGRAMS: u32 = 15_000;

/// How long questions are asked.
const TURNS_TIME: Duration = Duration::from_millis(60);

/// The host's address on its shim.
const SHIM: Ipv4Addr = Ipv4Addr::new(10, 9, 0, 250);

/// What carries it: plain macvlan or a shim, the least that there can be instead, ours, and ours with no program at ingress.
const CONTENDERS: usize = 4;

#[test]
fn small_datagrams_cost_little_more_than_by_a_shim_or_plain() {
    needs!(require::lab, require::binary, require::tcx);
    let labs = [(); CONTENDERS].map(|()| Lab::new());
    let children = labs.each_ref().map(|lab| ["web", "db"].map(|name| lab.child(name, Mode::Bridge)));
    let shim = &labs[0].host;
    shim.ns.ip(&format!("link add shim link {} type macvlan mode bridge", shim.dev));
    shim.ns.ip("link set shim up");
    shim.ns.ip(&format!("addr add {SHIM}/32 dev shim"));
    shim.ns.ip(&format!("route add {}/32 dev shim src {SHIM}", children[0][0].ip));
    let bare = &labs[1].host;
    let _least = (
        empty_at_ingress(&bare.ns, &bare.dev),
        bare_hairpin(&bare.ns, &bare.dev, [bare.mac, children[1][0].mac]),
    );
    permanent_neighbours(bare, &children[1][0]);
    let _ours = [(2, &[][..]), (3, &["--ingress", "off"])].map(|(lab, args)| Attached::new(&labs[lab], args));
    let host = [SHIM, labs[1].host.ip, labs[2].host.ip, labs[3].host.ip];
    for ((host, [one, two]), address) in labs.iter().map(|lab| &lab.host).zip(&children).zip(host) {
        assert!(ping(one, two.ip.into()) && ping(host, one.ip.into()) && ping(one, address.into()));
    }
    let _sinks: Vec<UdpSocket> =
        labs.iter().map(|lab| &lab.host).chain(children.iter().flatten()).map(sink).collect();
    let report = |way: &str, of_what: &str, measure: &dyn Fn(usize) -> f64| {
        let what = format!("{way}, of {of_what}");
        let claim = Claim::at_least(said("docs/performance.md", &format!("{way} |"), 1).0, (2, 0), &what);
        let [base, bare, ours, lean] = hold(&[claim], || rounds(ROUNDS, measure));
        let of = |contender: &[f64]| spread_of_ratios(contender, &base);
        let (bare, ours, lean, base) = (of(&bare), of(&ours), of(&lean), spread(&base));
        println!(
            "{what}, both ends on one processor, {ROUNDS} rounds: ours {ours}, with no program at ingress {lean}, \
             bare {bare} of {:.3e} a second",
            base.median
        );
    };
    let roads = |road: &dyn Fn(usize) -> Road| -> Vec<Road> { (0..CONTENDERS).map(road).collect() };
    let between = roads(&|lab| Road::new(&children[lab][1], children[lab][0].ip));
    report("sibling to sibling", "plain", &|lab| between[lab].sent_per_second());
    let down = roads(&|lab| Road::new(&labs[lab].host, children[lab][0].ip));
    report("host to child, datagrams of 64 bytes", "a shim", &|lab| down[lab].sent_per_second());
    let up = roads(&|lab| Road::new(&children[lab][0], host[lab]));
    report("child to host", "a shim", &|lab| up[lab].sent_per_second());
    report("host to child and back, TCP, round trips a second", "a shim", &|lab| {
        turns_per_second(&labs[lab].host, &children[lab][0])
    });
}

/// Questions that are answered in a second, both ends on one processor.
#[track_caller]
fn turns_per_second(from: &Station, to: &Station) -> f64 {
    let cpus = Cpus::allowed().or_fail("tell the processors").only_one();
    1.0 / turns(&cpus, from.endpoint(), to.endpoint(), TURNS_TIME).or_fail("take turns").median
}

/// No broadcast of one reaches the other.
fn permanent_neighbours(host: &Station, child: &Station) {
    for (here, there) in [(host, child), (child, host)] {
        here.ns
            .ip(&format!("neigh replace {} lladdr {} dev {} nud permanent", there.ip, there.mac, here.dev));
    }
}

/// Takes what comes and never reads it.
#[track_caller]
pub fn sink(station: &Station) -> UdpSocket {
    station.ns.enter(|| UdpSocket::bind((Ipv4Addr::UNSPECIFIED, PORT)).or_fail("bind a UDP socket"))
}

/// From one to another.
pub struct Road(UdpSocket);

impl Road {
    #[track_caller]
    pub fn new(from: &Station, to: Ipv4Addr) -> Self {
        Self(from.ns.enter(|| {
            let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).or_fail("bind a UDP socket");
            socket.connect((to, PORT)).or_fail("choose whom to send to");
            socket
        }))
    }

    /// Datagrams per second that sending them takes: what receives is run before a call returns.
    pub fn sent_per_second(&self) -> f64 {
        let cpus = Cpus::allowed().or_fail("tell the processors");
        std::thread::scope(|scope| {
            let sender = scope.spawn(|| {
                cpus.take_one().or_fail("stay on a processor");
                let start = Instant::now();
                for _ in 0..DATAGRAMS {
                    self.0.send(&[0; 64]).or_fail("send a datagram");
                }
                f64::from(DATAGRAMS) / start.elapsed().as_secs_f64()
            });
            sender.join().unwrap_or_else(|cause| std::panic::resume_unwind(cause))
        })
    }
}
