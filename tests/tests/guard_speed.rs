//! What the guard holds off and what it costs, beside plain kernel macvlan or the same programs with
//! nothing asked of them, in the same run.
//!
//! As in `speed.rs`: medians of rounds in which all contenders take their turn, held against what docs/guard.md
//! says. Run alone:
//! `cargo test --release -p macvlan-tests --test guard_speed -- --test-threads=1 --nocapture`. What
//! a directed request costs with few and many children is in `guard_neigh_storm.rs`.

use std::{
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    thread,
    time::Duration,
};

use macvlan_common::{
    cases::{HOST, OUTSIDE, STRANGER, World, WorldChild},
    child::{AntiSpoof, Mode, Policy},
    config::Config,
    mac::Mac,
    names,
};
use macvlan_tests::{
    attached::Attached,
    claim::{Claim, hold, said},
    frames::{self, Frame},
    generator::Generator,
    handwritten::dropping_in_xdp,
    lab::{Lab, Station},
    measure::{rounds, spread, spread_of_ratios, undisturbed_tcp_bytes_per_second},
    needs,
    progs::Programs,
    require,
};

/// Where what is held is said.
const GUARD: &str = "docs/guard.md";

const ROUNDS: usize = 21;

/// A host with a child, and what the wire sends to nobody there, as a switch does that forgot where
/// somebody is.
struct Place {
    lab: Lab,
    child: Station,
    frame: Vec<u8>,
}

impl Place {
    fn new() -> Self {
        let lab = Lab::new();
        let child = lab.child("web", Mode::Bridge);
        let wire = &lab.wire;
        let datagram = frames::udp(9000, 9000, &[0; 18]);
        let packet = frames::ipv4(wire.ip, [10, 9, 0, 99].into(), 17, &datagram);
        let frame = Frame::new(STRANGER, wire.mac).payload(frames::IPV4, &packet).build();
        Self { child, frame, lab }
    }

    /// Frames that the host's device has taken from the wire, whatever became of them.
    fn came_in(&self) -> u64 {
        self.lab.host.ns.received(&self.lab.host.dev)
    }

    fn generator(&self) -> Generator<'_> {
        Generator::on_wire(&self.lab)
    }
}

#[test]
fn unknown_unicast_is_absorbed_faster_than_by_plain_macvlan() {
    needs!(require::lab, require::binary);
    const FRAMES: u32 = 150_000;
    let places = [(); 4].map(|()| Place::new());
    let _native = Attached::new(&places[1].lab, &["--drop-unknown", "--xdp", "native"]);
    let _limit = dropping_in_xdp(&places[3].lab.host.ns, &places[3].lab.host.dev);
    let _tc = Attached::new(&places[2].lab, &["--drop-unknown", "--xdp", "off"]);
    let generators = places.each_ref().map(Place::generator);
    let claims = [
        ("Unknown unicast absorbed", (1, 0), "native XDP, of plain"),
        ("... of a program that drops everything", (1, 3), "native XDP, of a program that drops all"),
        ("... demultiplexed in TC", (2, 0), "TC, of plain"),
    ];
    let claims = claims.map(|(row, of, what)| Claim::at_least(said(GUARD, row, 1).0, of, what));
    let absorbed = |contender: usize| {
        let place = &places[contender];
        let before = place.came_in();
        let took = generators[contender].send(&place.frame, FRAMES).busy;
        (place.came_in() - before) as f64 / took.as_secs_f64()
    };
    let [plain, native, tc, limit] = hold(&claims, || rounds(ROUNDS, absorbed));
    let of_plain = [&native, &tc].map(|rates| spread_of_ratios(rates, &plain));
    let of_limit = spread_of_ratios(&native, &limit);
    let rate = |rates: &[f64]| spread(rates).median / 1e6;
    println!(
        "unknown unicast: plain {:.2} Mpps, native XDP {:.2}, TC {:.2}, a program that drops all {:.2}; \
         of plain: {}, {}; native of a program that drops all: {of_limit}",
        rate(&plain),
        rate(&native),
        rate(&tc),
        rate(&limit),
        of_plain[0],
        of_plain[1],
    );
}

#[test]
fn a_flood_of_unknown_unicast_hurts_tcp_no_more_than_on_plain_macvlan() {
    needs!(require::lab, require::binary);
    let places = [Place::new(), Place::new(), Place::new()];
    let _auto = Attached::new(&places[1].lab, &["--drop-unknown"]);
    let _native = Attached::new(&places[2].lab, &["--drop-unknown", "--xdp", "native"]);
    let generators = places.each_ref().map(Place::generator);
    let rate = AtomicU64::new(0);
    let least = said(GUARD, "A child's TCP under up to 1 Mpps", 1).0;
    let claim = Claim::at_least(least, (1, 0), "under a flood, dropped as chosen, of plain");
    let carried = |contender: usize| {
        let Place { lab, child, frame } = &places[contender];
        under_flood(&generators[contender], frame, &rate, &lab.wire, child)
    };
    let [plain, auto, native] = hold(&[claim], || rounds(ROUNDS, carried));
    let of_plain = [&auto, &native].map(|rates| spread_of_ratios(rates, &plain));
    let gbits = |rates: &[f64]| spread(rates).median * 8e-9;
    println!(
        "TCP from the wire to a child under {:.2} Mpps of unknown unicast: plain {:.2} Gbit/s, \
         dropped as chosen {:.2}, in native XDP {:.2}; of plain: {}, {}",
        rate.load(Ordering::Relaxed) as f64 / 1e6,
        gbits(&plain),
        gbits(&auto),
        gbits(&native),
        of_plain[0],
        of_plain[1],
    );
}

/// Bytes per second that one TCP stream carries while a million frames a second, or as many as there
/// can be, come in for nobody, ten times a second. Its receiver shares their processor.
fn under_flood(
    generator: &Generator<'_>,
    frame: &[u8],
    rate: &AtomicU64,
    from: &Station,
    to: &Station,
) -> f64 {
    const TIME: Duration = Duration::from_millis(400);
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| rate.store(generator.flood(frame, 1_000_000, &over) as u64, Ordering::Relaxed));
        let carried = undisturbed_tcp_bytes_per_second(from, to, TIME);
        over.store(true, Ordering::Relaxed);
        carried
    })
}

const WEB: Mac = Mac::new([2, 0, 0, 0, 1, 1]);
const OTHER: Mac = Mac::new([2, 0, 0, 0, 1, 2]);

/// What can be asked of the guard, as it shows where a child has nothing to do with it.
const FEATURES: [(&str, u64); 9] = [
    ("nothing", 0),
    ("drop-unknown", Config::DROP_UNKNOWN),
    ("vepa-switch", Config::VEPA_SWITCH),
    ("directed neighbours", Config::DIRECTS),
    ("storm guard", Config::STORM_GUARD),
    ("another child's group", 0),
    ("another child held to its MAC", 0),
    ("another child reflected", 0),
    ("all of them", Config::DROP_UNKNOWN | Config::DIRECTS | Config::STORM_GUARD),
];

fn world_with(feature: usize) -> World {
    let usual = Policy::new(Mode::Bridge, true);
    let (grouped, held) = (usual.with_group(1), usual.with_anti_spoof(AntiSpoof::Mac));
    let reflected = Policy::new(Mode::Vepa, true).with_reflection(true);
    let other = match FEATURES[feature].0 {
        "another child's group" => grouped,
        "another child held to its MAC" => held,
        "another child reflected" => reflected,
        "all of them" => reflected.with_group(1).with_anti_spoof(AntiSpoof::Mac),
        _ => usual,
    };
    let child = |mac, policy| WorldChild::new("", mac, policy);
    World::new(vec![child(WEB, usual), child(OTHER, other)]).with_flags(FEATURES[feature].1)
}

#[test]
fn what_is_asked_of_the_guard_costs_a_child_that_has_nothing_to_do_with_it_nothing() {
    needs!(require::lab);
    const REPEAT: u32 = 100_000;
    let mut programs = Programs::load();
    let payload = |dst, src| Frame::new(dst, src).payload(frames::IPV4, &[0x45; 46]).build();
    for (what, row, program, frame) in [
        ("wire to child in XDP", "A frame from the wire in XDP", names::XDP_FRAGS, payload(WEB, OUTSIDE)),
        (
            "wire to child at TC ingress",
            "A frame from the wire at TC ingress",
            names::INGRESS,
            payload(WEB, OUTSIDE),
        ),
        ("host to child at TC egress", "A frame of the host at TC egress", names::EGRESS, payload(WEB, HOST)),
        (
            "child to wire at TC egress",
            "A frame of a child at TC egress",
            names::EGRESS,
            payload(OUTSIDE, WEB),
        ),
    ] {
        let most = said(GUARD, row, 1).1;
        let claims = FEATURES.iter().enumerate().skip(1);
        let claims = claims
            .map(|(number, (name, _))| Claim::at_most(most, (number, 0), &format!("{what} with {name}")));
        let claims: Vec<Claim> = claims.collect();
        let mut cost = |feature: usize| {
            let mut world = world_with(feature);
            if program == names::XDP_FRAGS {
                // In native mode each run leaves its word before the frame, until there is no room
                // for more: only the first 63 of a test run would be judged.
                world.config.flags |= Config::XDP_GENERIC;
            }
            programs.set_world(&world);
            programs.time(program, &frame, REPEAT).as_nanos() as f64
        };
        let figures: [Vec<f64>; FEATURES.len()] = hold(&claims, || rounds(11, &mut cost));
        let nothing = spread(&figures[0]).median;
        println!("{what}: {nothing:.1} ns; with");
        for ((name, _), times) in FEATURES.iter().zip(&figures).skip(1) {
            let of_nothing = spread_of_ratios(times, &figures[0]);
            println!("  {name:<30} {:.1} ns, {of_nothing}", spread(times).median);
        }
    }
}
