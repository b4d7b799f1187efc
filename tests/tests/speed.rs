//! What the data path costs, beside plain kernel macvlan in the same run.
//!
//! Every figure is a median of ratios: in each round all contenders run one after the other, so
//! that a machine that gets slower or faster meanwhile does so for all. What is asserted is coarser
//! than what is aimed at: equal contenders differ by a tenth from run to run on a shared virtual
//! machine, and a check must not fail for that;
//! `MACVLAN_TESTS_AIMS=1` asserts the aims. Run alone:
//! `cargo test --release -p macvlan-tests --test speed -- --test-threads=1 --nocapture`.

#[path = "speed/cni.rs"]
mod cni;

use std::{
    io::{Read as _, Write as _},
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket},
    sync::atomic::{AtomicBool, Ordering},
    thread,
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
    fail::OrFail as _,
    frames::{self, Frame},
    generator::Generator,
    lab::{Lab, Station},
    measure::{Spread, bound},
    needs,
    progs::Programs,
    require,
    syscall::empty_at_ingress,
};

const ROUNDS: usize = 15;

/// Frames per measurement: about a fifth of a second.
const FRAMES: u32 = 300_000;

#[test]
fn wire_to_child_costs_little_over_plain_macvlan() {
    needs!(require::lab, require::binary);
    let lab = Lab::new();
    let child = lab.child("web", Mode::Bridge);
    let sink = udp_sink(&child);
    let frame = udp_frame(&lab, &child);
    lab.host.ns.command("ethtool").args(["-K", &lab.host.dev, "gro", "on"]).status().or_fail("run ethtool");
    let generator = Generator::new(&lab.wire.ns, &lab.wire.dev);

    // What is on the master: nothing, an empty program at TC ingress, or our data path.
    const CONTENDERS: [Contender; 5] = [
        Contender::Plain,
        Contender::EmptyProgram,
        Contender::Ours(&[]),
        Contender::Ours(&["--xdp", "native"]),
        Contender::Ours(&["--xdp", "generic"]),
    ];
    let mut rates = [const { Vec::new() }; CONTENDERS.len()];
    for round in 0..=ROUNDS {
        let mut now = [0.0; CONTENDERS.len()];
        // Each in its turn is first, second, ...: whatever a predecessor leaves behind hits all.
        for place in 0..CONTENDERS.len() {
            let contender = (place + round) % CONTENDERS.len();
            now[contender] =
                CONTENDERS[contender].with(&lab, || delivered_per_second(&generator, &frame, &child));
        }
        // The first round warms up.
        if round > 0 {
            (0..CONTENDERS.len()).for_each(|contender| rates[contender].push(now[contender]));
        }
    }
    drop(sink);
    let of = |contender: usize, base: usize| {
        let pairs = rates[contender].iter().zip(&rates[base]);
        Spread::of(pairs.map(|(rate, base)| rate / base).collect())
    };
    let plain = Spread::of(rates[0].clone());
    println!("wire to child, 60-octet UDP, {ROUNDS} rounds: plain {:.2} Mpps", plain.median / 1e6);
    println!("  of plain: tc {}, xdp-native {}, xdp-generic {}", of(2, 0), of(3, 0), of(4, 0));
    println!("  of plain: an empty program at TC ingress {}; of that: tc {}", of(1, 0), of(2, 1));
    // Any program at TC ingress costs what an empty one does: the bound is on what ours adds.
    assert!(of(2, 1).median >= 0.70, "TC demux delivers {} of an empty program", of(2, 1));
    assert!(of(2, 0).median >= bound(0.95, 0.0), "TC demux delivers {} of plain", of(2, 0));
    assert!(of(3, 0).median >= bound(0.90, 0.70), "native XDP delivers {} of plain", of(3, 0));
}

/// What is on the master while frames come in.
#[derive(Clone, Copy)]
enum Contender {
    Plain,
    EmptyProgram,
    Ours(&'static [&'static str]),
}

impl Contender {
    fn with<T>(self, lab: &Lab, measure: impl FnOnce() -> T) -> T {
        match self {
            Self::Plain => measure(),
            Self::EmptyProgram => {
                let _program = empty_at_ingress(&lab.host.ns, &lab.host.dev);
                measure()
            }
            Self::Ours(args) => {
                let attached = Attached::new(lab, args);
                let measured = measure();
                attached.detach(&[]).succeeded();
                measured
            }
        }
    }
}

#[test]
fn host_to_child_tcp_is_as_fast_as_a_shim() {
    needs!(require::lab, require::binary);
    let lab = Lab::new();
    let child = lab.child("web", Mode::Bridge);
    let shim_address = Ipv4Addr::new(10, 9, 0, 250);
    let mut ratios = Vec::new();
    let mut rates = [Vec::new(), Vec::new()];
    for round in 0..=ROUNDS {
        let attached = Attached::new(&lab, &[]);
        let ours = tcp_octets_per_second(&lab.host, &child);
        attached.detach(&[]).succeeded();

        let host = &lab.host;
        host.ns.ip(&format!("link add shim link {} type macvlan mode bridge", host.dev));
        host.ns.ip("link set shim up");
        host.ns.ip(&format!("addr add {shim_address}/32 dev shim"));
        host.ns.ip(&format!("route add {}/32 dev shim src {shim_address}", child.ip));
        let shim = tcp_octets_per_second(host, &child);
        host.ns.ip("link del shim");
        if round > 0 {
            ratios.push(ours / shim);
            rates[0].push(ours);
            rates[1].push(shim);
        }
    }
    let [ours, shim] = rates.map(Spread::of);
    let ratio = Spread::of(ratios);
    println!(
        "host to child, one TCP stream, {ROUNDS} rounds: hairpin {:.1} Gbit/s, shim {:.1} Gbit/s, ratio {ratio}",
        ours.median * 8e-9,
        shim.median * 8e-9
    );
    assert!(ratio.median >= bound(0.97, 0.80), "the hairpin carries {ratio} of the shim");
}

#[test]
fn attach_adopts_a_thousand_children_faster_than_ip_makes_them() {
    needs!(require::lab, require::binary);
    let lab = Lab::new();
    let home = macvlan_tests::netns::Netns::new();
    let mut times = [Vec::new(), Vec::new()];
    for round in 0..3 {
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
    let [ip, attach] = times.map(Spread::of);
    println!(
        "1,000 children: ip -batch makes them in {:.3} s, attach adopts them in {:.3} s",
        ip.median, attach.median
    );
    assert!(attach.least <= ip.median, "attach takes {:.3} s, ip {:.3} s", attach.least, ip.least);
}

#[test]
fn a_frame_costs_the_same_with_1_and_4000_children() {
    needs!(require::lab);
    let few = WithChildren::new(1);
    let many = WithChildren::new(4000);
    for program in [names::INGRESS, names::XDP_FRAGS] {
        let mut ratios = Vec::new();
        let mut costs = Vec::new();
        for _ in 0..ROUNDS {
            let (one, all) = (few.nanoseconds(program), many.nanoseconds(program));
            ratios.push(all / one);
            costs.push(one);
        }
        let (ratio, cost) = (Spread::of(ratios), Spread::of(costs));
        println!(
            "{program}: {:.1} ns a frame to the only child, with 4,000 children {ratio} of it",
            cost.median
        );
        assert!(ratio.median <= 1.25, "{program} costs {ratio} of what it does with one child");
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
        let children = macs.iter().map(|mac| WorldChild { name: "", mac: *mac, policy });
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

fn udp_frame(lab: &Lab, child: &Station) -> Vec<u8> {
    const ETH_P_IP: u16 = 0x0800;
    const IPPROTO_UDP: u8 = 17;
    let datagram = frames::udp(PORT, PORT, &[0; 18]);
    let packet = frames::ipv4(lab.wire.ip, child.ip, IPPROTO_UDP, &datagram);
    Frame::new(child.mac, lab.wire.mac).payload(ETH_P_IP, &packet).build()
}

/// Frames that arrived at a child, per second of sending them: the best of several bursts, as
/// whatever else the machine does can only slow one down.
fn delivered_per_second(generator: &Generator<'_>, frame: &[u8], child: &Station) -> f64 {
    const BURSTS: u32 = 6;
    let rates = (0..BURSTS).map(|_| {
        let before = received(child);
        let took = generator.send(frame, FRAMES / BURSTS);
        (received(child) - before) as f64 / took.as_secs_f64()
    });
    let best = rates.fold(0.0, f64::max);
    assert!(best > 0.0, "nothing arrived");
    best
}

fn received(child: &Station) -> u64 {
    let links = child.ns.ip_json(&format!("-s link show dev {}", child.dev));
    links[0]["stats64"]["rx"]["packets"].as_u64().or_fail("read a counter")
}

/// Octets that one TCP stream carries in a second.
fn tcp_octets_per_second(from: &Station, to: &Station) -> f64 {
    const TIME: Duration = Duration::from_millis(300);
    let listener = to.ns.enter(|| TcpListener::bind((to.ip, 0)).or_fail("listen"));
    let address: SocketAddr = listener.local_addr().or_fail("tell the port");
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        let reader = scope.spawn(|| {
            let (mut stream, _) = listener.accept().or_fail("accept");
            let mut buffer = vec![0; 1 << 18];
            let (mut octets, start) = (0, Instant::now());
            loop {
                match stream.read(&mut buffer).or_fail("read") {
                    0 => return octets as f64 / start.elapsed().as_secs_f64(),
                    some => octets += some,
                }
            }
        });
        let mut stream = from.ns.enter(|| TcpStream::connect(address).or_fail("connect"));
        let buffer = vec![0; 1 << 18];
        let start = Instant::now();
        while start.elapsed() < TIME && !stop.load(Ordering::Relaxed) {
            stream.write_all(&buffer).or_fail("write");
        }
        drop(stream);
        reader.join().or_fail_join()
    })
}

trait OrFailJoin<T> {
    fn or_fail_join(self) -> T;
}

impl<T> OrFailJoin<T> for thread::Result<T> {
    fn or_fail_join(self) -> T {
        self.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    }
}
