//! What the data path costs, beside plain kernel macvlan in the same run.
//!
//! Every figure is a median of ratios: in each round all contenders run one after the other, so
//! that a machine that gets slower or faster meanwhile does so for all. What README.md and docs/ say of
//! them is read there and held (`macvlan_tests::claim`). Run alone:
//! `cargo test --release -p macvlan-tests --test speed -- --test-threads=1 --nocapture`.

#[path = "speed/cni.rs"]
mod cni;
#[path = "speed/datagrams.rs"]
mod datagrams;
#[path = "speed/multicast.rs"]
mod multicast;
#[path = "speed/single_mac.rs"]
mod single_mac;
#[path = "speed/strict.rs"]
mod strict;
#[path = "speed/user_space.rs"]
mod user_space;

use std::{
    net::{Ipv4Addr, UdpSocket},
    time::{Duration, Instant},
};

use macvlan_common::{
    cases::{OUTSIDE, World, WorldChild},
    child::{Mode, Policy},
    mac::Mac,
    names,
};
use macvlan_tests::{
    attached::Attached,
    claim::{Claim, hold, said},
    fail::OrFail as _,
    frames::{self, Frame},
    generator::Generator,
    handwritten::empty_at_ingress,
    lab::{Lab, Station},
    measure::{
        rounds, spread, spread_of_ratios, tcp_bytes_per_second_on_one_cpu, undisturbed_tcp_bytes_per_second,
    },
    needs,
    progs::Programs,
    require,
};

/// Rounds of what takes some tens of milliseconds: many short ones, as a shared machine is slower for
/// longer than one takes.
const ROUNDS: usize = 41;

/// Where most of what is held is said.
const README: &str = "README.md";

/// Frames per measurement: some 30 ms.
const FRAMES: u32 = 60_000;

#[test]
fn wire_to_child_costs_little_over_plain_macvlan() {
    needs!(require::lab, require::binary);
    // What is on the master: nothing, an empty program at TC ingress, or our data path.
    let roads = [(); 7].map(|()| Road::new());
    let _empty = empty_at_ingress(&roads[1].lab.host.ns, &roads[1].lab.host.dev);
    let _ours = [
        (2, &[][..]),
        (3, &["--xdp", "native"]),
        (4, &["--xdp", "generic"]),
        (5, &["--ingress", "off"]),
        (6, &["--ingress", "off", "--xdp", "native"]),
    ]
    .map(|(road, args)| Attached::new(&roads[road].lab, args));
    let claims = [
        ("Wire to child, 60-byte UDP, delivered", (2, 0), "TC demux, of plain"),
        ("... native XDP", (3, 0), "native XDP, of plain"),
        ("... generic XDP", (4, 0), "generic XDP, of plain"),
        ("... no program there", (5, 0), "no program at ingress, of plain"),
        ("... native XDP alone", (6, 0), "native XDP alone, of plain"),
        // Any program at TC ingress costs what an empty one does: this is what ours adds.
        ("TC demux against that empty program", (2, 1), "TC demux, of an empty program"),
    ];
    let claims = claims.map(|(row, of, what)| Claim::at_least(said(README, row, 1).0, of, what));
    let rates: [Vec<f64>; 7] =
        hold(&claims, || rounds(ROUNDS, |contender| roads[contender].delivered_per_second()));
    let of = |contender: usize, base: usize| spread_of_ratios(&rates[contender], &rates[base]);
    let plain = spread(&rates[0]);
    println!("wire to child, 60-byte UDP, {ROUNDS} rounds: plain {:.2} Mpps", plain.median / 1e6);
    println!("  of plain: tc {}, xdp-native {}, xdp-generic {}", of(2, 0), of(3, 0), of(4, 0));
    println!("  of plain: no program at ingress {}, xdp-native alone {}", of(5, 0), of(6, 0));
    println!("  of plain: an empty program at TC ingress {}; of that: tc {}", of(1, 0), of(2, 1));
}

/// A wire with a generator of frames for a child.
struct Road {
    lab: Lab,
    child: Station,
    frame: Vec<u8>,
    _sink: UdpSocket,
}

impl Road {
    fn new() -> Self {
        let lab = Lab::new();
        let child = lab.child("web", Mode::Bridge);
        Self { frame: udp_frame(&lab, &child, child.mac), _sink: udp_sink(&child), child, lab }
    }

    /// Frames that arrived at the child, per second that sending and receiving them took.
    fn delivered_per_second(&self) -> f64 {
        let before = self.child.ns.received(&self.child.dev);
        let took = Generator::on_wire(&self.lab).send(&self.frame, FRAMES).busy;
        let delivered = self.child.ns.received(&self.child.dev) - before;
        assert!(delivered > 0, "nothing arrived");
        delivered as f64 / took.as_secs_f64()
    }
}

#[test]
fn host_to_child_tcp_is_as_fast_as_a_shim() {
    needs!(require::lab, require::binary);
    const TIME: Duration = Duration::from_millis(150);
    let labs = [(); 2].map(|()| Lab::new());
    let children = labs.each_ref().map(|lab| lab.child("web", Mode::Bridge));
    let _ours = Attached::new(&labs[0], &[]);
    let shim_address = Ipv4Addr::new(10, 9, 0, 250);
    let host = &labs[1].host;
    host.ns.ip(&format!("link add shim link {} type macvlan mode bridge", host.dev));
    host.ns.ip("link set shim up");
    host.ns.ip(&format!("addr add {shim_address}/32 dev shim"));
    host.ns.ip(&format!("route add {}/32 dev shim src {shim_address}", children[1].ip));
    // Both sides on one processor: all the work on a stream, without how two processors keep up with each other.
    let claims = [
        ("Host to child, one TCP stream, against", (0, 1), "the hairpin, of the shim"),
        ("... both ends on one processor", (2, 3), "the hairpin, of the shim, on one processor"),
    ];
    let claims = claims.map(|(row, of, what)| Claim::at_least(said(README, row, 1).0, of, what));
    let rates: [Vec<f64>; 4] = hold(&claims, || {
        rounds(ROUNDS, |contender| {
            let (host, child) = (&labs[contender % 2].host, &children[contender % 2]);
            match contender {
                0 | 1 => undisturbed_tcp_bytes_per_second(host, child, TIME),
                _ => tcp_bytes_per_second_on_one_cpu(host, child, TIME),
            }
        })
    });
    for (ours, shim, place) in [(0, 1, "each side on a processor"), (2, 3, "both on one")] {
        let ratio = spread_of_ratios(&rates[ours], &rates[shim]);
        let [ours, shim] = [ours, shim].map(|contender| spread(&rates[contender]).median * 8e-9);
        println!(
            "host to child, one TCP stream, {place}, {ROUNDS} rounds: hairpin {ours:.1} Gbit/s, shim {shim:.1} \
             Gbit/s, ratio {ratio}"
        );
    }
}

#[test]
fn attach_adopts_a_thousand_children_faster_than_ip_makes_them() {
    needs!(require::lab, require::binary);
    let lab = Lab::new();
    let home = macvlan_tests::netns::Netns::new();
    let adopt = || {
        let mut times = [Vec::new(), Vec::new()];
        for round in 0..9 {
            let make = (0..1000).flat_map(|number| {
                let (name, home) = (format!("m{round}x{number}"), home.path());
                [format!(
                    "link add link {} name {name} netns {} type macvlan mode bridge",
                    lab.host.dev,
                    home.display()
                )]
            });
            let start = Instant::now();
            lab.host.ns.ip_batch(make);
            home.ip_batch((0..1000).map(|number| format!("link set m{round}x{number} up group 77")));
            times[0].push(start.elapsed().as_secs_f64());
            let start = Instant::now();
            let attached = Attached::new(&lab, &[]);
            times[1].push(start.elapsed().as_secs_f64());
            assert_eq!(attached.status()["children"].as_array().map(Vec::len), Some(1000));
            attached.detach(&[]).succeeded();
            home.ip("link del group 77");
        }
        times
    };
    let most = said(README, "Adopting 1,000 children", 1).1;
    let times = hold(&[Claim::at_most(most, (1, 0), "adopting, of ip -batch making")], adopt);
    let ratio = spread_of_ratios(&times[1], &times[0]);
    let [ip, attach] = times.map(|times| spread(&times));
    println!(
        "1,000 children: ip -batch makes them in {:.3} s, attach adopts them in {:.3} s, ratio {ratio}",
        ip.median, attach.median
    );
}

/// Beside `ip -batch`, which makes the same devices and brings them up; `attach` attaches besides.
#[test]
fn attach_makes_a_thousand_children_in_little_more_time_than_ip() {
    needs!(require::lab, require::binary);
    const ROUNDS: usize = 7;
    let lab = Lab::new();
    let home = macvlan_tests::netns::Netns::new();
    let (dev, path) = (lab.host.dev.as_str(), home.path());
    let names: Vec<String> = (0..1000).map(|number| format!("m{number}")).collect();
    let specs: Vec<String> = names.iter().map(|name| format!("{name},netns={}", path.display())).collect();
    let args: Vec<&str> = specs.iter().flat_map(|spec| ["--child", spec]).collect();
    let most = said(README, "Making 1,000 children", 1).1;
    let make = |contender| {
        let start = Instant::now();
        if contender == 0 {
            let netns = path.display();
            let make =
                |name| format!("link add link {dev} name {name} netns {netns} type macvlan mode bridge");
            lab.host.ns.ip_batch(names.iter().map(make));
            home.ip_batch(names.iter().map(|name| format!("link set {name} up group 77")));
            let took = start.elapsed();
            home.ip("link del group 77");
            return took.as_secs_f64();
        }
        let attached = Attached::new(&lab, &args);
        let took = start.elapsed();
        attached.detach(&["--delete-children"]).succeeded();
        took.as_secs_f64()
    };
    let claim = Claim::at_most(most, (1, 0), "making, of ip -batch");
    let [ip, attach] = hold(&[claim], || rounds(ROUNDS, make));
    let ratio = spread_of_ratios(&attach, &ip);
    let [ip, attach] = [&ip, &attach].map(|times| spread(times));
    println!(
        "1,000 children made, {ROUNDS} rounds: ip -batch {:.3} s, attach {:.3} s, ratio {ratio}",
        ip.median, attach.median
    );
}

#[test]
fn a_frame_costs_the_same_with_1_and_4000_children() {
    needs!(require::lab);
    let few = WithChildren::new(1);
    let many = WithChildren::new(4000);
    for (program, most) in [
        (names::INGRESS, said(README, "The TC program's own time per frame", 1).1),
        (names::XDP_FRAGS, said("docs/performance.md", "the same, native XDP |", 5).1),
    ] {
        let claim = Claim::at_most(most, (1, 0), program);
        let [one, all] = hold(&[claim], || rounds(15, |which| [&few, &many][which].nanoseconds(program)));
        let (ratio, cost) = (spread_of_ratios(&all, &one), spread(&one));
        println!(
            "{program}: {:.1} ns a frame to the only child, with 4,000 children {ratio} of it",
            cost.median
        );
    }
}

/// The programs, with so many children in their maps.
struct WithChildren {
    programs: Programs,
    macs: Vec<Mac>,
}

impl WithChildren {
    fn new(count: u16) -> Self {
        let macs: Vec<Mac> = (0..count)
            .map(|number| {
                let [high, low] = number.to_be_bytes();
                Mac::new([0x02, 0x42, 0xac, 0x11, high, low])
            })
            .collect();
        let policy = Policy::new(Mode::Bridge, true);
        let children = macs.iter().map(|mac| WorldChild::new("", *mac, policy));
        let mut programs = Programs::load();
        programs.set_world(&World::new(children.collect()));
        Self { programs, macs }
    }

    /// Mean time of the program on a frame from the wire to a child.
    fn nanoseconds(&self, program: &str) -> f64 {
        const TARGETS: usize = 8;
        const REPEAT: u32 = 200_000;
        let step = self.macs.len().div_ceil(TARGETS);
        let targets: Vec<&Mac> = self.macs.iter().step_by(step).cycle().take(TARGETS).collect();
        let times = targets.into_iter().map(|mac| {
            let frame = Frame::new(*mac, OUTSIDE).payload(0x0800, &[0; 46]).build();
            self.programs.time(program, &frame, REPEAT).as_nanos() as f64
        });
        times.sum::<f64>() / TARGETS as f64
    }
}

const PORT: u16 = 9000;

/// A socket that takes what comes and never reads it.
fn udp_sink(child: &Station) -> UdpSocket {
    child.ns.enter(|| UdpSocket::bind((child.ip, PORT)).or_fail("bind a UDP socket"))
}

/// A datagram from the wire to a child, by this MAC.
fn udp_frame(lab: &Lab, child: &Station, to: Mac) -> Vec<u8> {
    const ETH_P_IP: u16 = 0x0800;
    const IPPROTO_UDP: u8 = 17;
    let datagram = frames::udp(PORT, PORT, &[0; 18]);
    let packet = frames::ipv4(lab.wire.ip, child.ip, IPPROTO_UDP, &datagram);
    Frame::new(to, lab.wire.mac).payload(ETH_P_IP, &packet).build()
}
