//! Rates in the programs: who is refused, what a frame costs, when it leaves.

use macvlan_common::{
    cases::{HOST, OUTSIDE, World, WorldChild},
    child::{Mode, Policy},
    counters::{Count, DROP_REASONS, DropReason, Path},
    mac::Mac,
    names,
    rate::{Meter, Meters},
};
use macvlan_tests::{
    fail::OrFail as _,
    frames::{self, Frame, Marker},
    needs,
    progs::{Skb, SkbRun},
    require,
};

use crate::bench::{Bench, XDP_PASS, in_bench};

// `XDP_DROP`, and `TC_ACT_*`.
const XDP_DROP: u32 = 1;
const TC_ACT_UNSPEC: i32 = -1;
const TC_ACT_SHOT: i32 = 2;
const TC_ACT_REDIRECT: i32 = 7;

const WEB: Mac = Mac::new([0x02, 0, 0, 0, 1, 1]);
const DB: Mac = Mac::new([0x02, 0, 0, 0, 1, 2]);

/// One bit a second, in nanoseconds for each.
const SLOW: u64 = 1_000_000_000;

/// Two bridge children, `web` at slot 0 with this policy and `db` at slot 1 likewise limited.
fn world(web: Policy) -> World {
    let child = |name, mac, policy| WorldChild::new(name, mac, policy);
    World::new(vec![child("web", WEB, web), child("db", DB, limited())])
}

fn limited() -> Policy {
    Policy::new(Mode::Bridge, true).with_limit(true)
}

/// One bit a second with the least of bursts: one frame, then none for minutes.
fn one_frame() -> Meter {
    Meter::new(1, 1, 0, 0)
}

fn tc(bench: &Bench<'_>, program: &str, dst: Mac, src: Mac, skb: Skb<'_>) -> SkbRun {
    let frame = frames::marked(dst, src, Marker::new());
    let ifindex = bench.ns.ifindex(crate::bench::DEVICE);
    bench.programs.run_tc(program, &Skb { frame: &frame, ifindex, ..skb }).or_fail("run a TC program")
}

fn dropped(bench: &Bench<'_>, child: usize) -> u64 {
    bench.programs.counters().children[child].drops[DropReason::Rate as usize].packets
}

#[test]
fn what_is_beyond_a_rate_is_dropped_and_counted_once_at_every_hook() {
    needs!(require::lab);
    in_bench(|bench| {
        // Program, from, to, the child that is refused, who is charged before, and on which path.
        for (program, src, dst, meters, child, path, passes) in [
            (
                names::INGRESS,
                OUTSIDE,
                WEB,
                Meters { rx: one_frame(), ..Meters::default() },
                0,
                Path::Wire,
                TC_ACT_UNSPEC,
            ),
            (
                names::INGRESS,
                DB,
                WEB,
                Meters { rx: one_frame(), ..Meters::default() },
                0,
                Path::Sibling,
                TC_ACT_UNSPEC,
            ),
            (
                names::INGRESS,
                WEB,
                DB,
                Meters { tx: one_frame(), ..Meters::default() },
                0,
                Path::Sibling,
                TC_ACT_UNSPEC,
            ),
            (
                names::EGRESS,
                WEB,
                OUTSIDE,
                Meters { tx: one_frame(), ..Meters::default() },
                0,
                Path::Wire,
                TC_ACT_UNSPEC,
            ),
            (
                names::EGRESS,
                WEB,
                HOST,
                Meters { tx: one_frame(), ..Meters::default() },
                0,
                Path::Host,
                TC_ACT_REDIRECT,
            ),
            (
                names::EGRESS,
                HOST,
                WEB,
                Meters { rx: one_frame(), ..Meters::default() },
                0,
                Path::Host,
                TC_ACT_REDIRECT,
            ),
            (
                names::EGRESS,
                WEB,
                Mac::BROADCAST,
                Meters { tx: one_frame(), ..Meters::default() },
                0,
                Path::Wire,
                TC_ACT_UNSPEC,
            ),
        ] {
            bench.programs.set_world(&world(limited()));
            bench.programs.set_meters(0, &meters);
            let case = format!("{program}, {src} to {dst}");
            assert_eq!(tc(bench, program, dst, src, Skb::default()).action, passes, "{case}");
            let once = bench.programs.counters();
            let counters = once.children[child];
            let counts = [counters.rx[path as usize].packets, counters.tx[path as usize].packets];
            assert_eq!(counts.iter().sum::<u64>(), 1, "{case}: {counters:?}");
            assert_eq!(dropped(bench, child), 0, "{case}");
            for times in 1..=3 {
                assert_eq!(tc(bench, program, dst, src, Skb::default()).action, TC_ACT_SHOT, "{case}");
                assert_eq!(dropped(bench, child), times, "{case}");
            }
            let after = bench.programs.counters();
            assert_eq!((after.children[0].rx, after.children[0].tx), (counters.rx, counters.tx), "{case}");
            assert_eq!(after.totals, once.totals, "{case}");
        }
    });
}

#[test]
fn native_xdp_refuses_before_there_is_a_buffer() {
    needs!(require::lab);
    in_bench(|bench| {
        let frame = frames::marked(WEB, OUTSIDE, Marker::new());
        for program in [names::XDP, names::XDP_FRAGS] {
            let mut world = world(limited());
            world.config.flags |= macvlan_common::config::Config::XDP_NATIVE;
            bench.programs.set_world(&world);
            bench.programs.set_meters(0, &Meters { rx: one_frame(), ..Meters::default() });
            let actions = [(); 3].map(|()| bench.programs.run_xdp(program, &frame, frame.len()).action);
            assert_eq!(actions, [XDP_PASS, XDP_DROP, XDP_DROP], "{program}");
            let web = bench.programs.counters().children[0];
            assert_eq!((web.rx[Path::Wire as usize].packets, dropped(bench, 0)), (1, 2), "{program}");
        }
    });
}

#[test]
fn a_frame_leaves_when_those_before_it_are_paid_for_in_bytes_on_the_wire() {
    needs!(require::lab);
    in_bench(|bench| {
        let ifindex = bench.ns.ifindex(crate::bench::DEVICE);
        let mut tcp = vec![0; 32 + 1500];
        tcp[12] = 8 << 4;
        let ip = std::net::Ipv4Addr::LOCALHOST;
        let packet = frames::ipv4(ip, ip, 6, &tcp);
        let big = Frame::new(OUTSIDE, WEB).payload(frames::IPV4, &packet).build();
        let small = frames::marked(OUTSIDE, WEB, Marker::new());
        let run = |bench: &Bench<'_>, frame: &[u8], segments, tstamp| {
            let (gso_segs, gso_size) = if segments > 1 { (segments, 500) } else { (0, 0) };
            let skb = Skb { frame, ifindex, gso_segs, gso_size, tstamp, ..Skb::default() };
            let run = bench.programs.run_tc(names::EGRESS, &skb).or_fail("run a TC program");
            assert_eq!(run.action, TC_ACT_UNSPEC);
            run.tstamp
        };
        bench.programs.set_world(&world(limited()));
        let roomy = Meter::new(1, 1 << 20, 0, 0);
        bench.programs.set_meters(0, &Meters { tx: roomy, ..Meters::default() });
        let first = run(bench, &small, 1, 0);
        assert!(first > 0, "the first leaves now");
        let second = run(bench, &big, 3, 0);
        assert_eq!(second - first, small.len() as u64 * 8 * SLOW);
        let third = run(bench, &small, 1, 0);
        // Three segments: the headers appear three times on the wire.
        assert_eq!(third - second, (big.len() as u64 + 2 * (14 + 20 + 32)) * 8 * SLOW);
        // Whoever wants to leave later still does.
        let later = third + (1 << 50);
        assert_eq!(run(bench, &small, 1, later), later);

        // Frames, not bits: three for one.
        let by_frames = Meter::new(0, 0, 1, 1000);
        bench.programs.set_meters(0, &Meters { tx: by_frames, ..Meters::default() });
        let first = run(bench, &big, 3, 0);
        let second = run(bench, &small, 1, 0);
        assert_eq!(second - first, 3 * SLOW);
        let third = run(bench, &small, 1, 0);
        assert_eq!(third - second, SLOW);
        // What is turned around has no time to leave at.
        assert_eq!(tc(bench, names::EGRESS, HOST, WEB, Skb::default()).tstamp, 0);
    });
}

#[test]
fn what_is_off_limits_nothing() {
    needs!(require::lab);
    in_bench(|bench| {
        let meters = Meters { rx: one_frame(), tx: one_frame() };
        let mut no_flag = world(limited());
        no_flag.config.flags &= !macvlan_common::config::Config::LIMITED;
        let wire_alone = world(limited().with_wire_scope(true));
        let not_limited = world(Policy::new(Mode::Bridge, true));
        for (world, dst, name) in [
            (&no_flag, OUTSIDE, "no flag"),
            (&not_limited, OUTSIDE, "no policy"),
            (&wire_alone, HOST, "the wire alone"),
        ] {
            bench.programs.set_world(world);
            bench.programs.set_meters(0, &meters);
            for _ in 0..3 {
                let run = tc(bench, names::EGRESS, dst, WEB, Skb::default());
                assert!(run.action != TC_ACT_SHOT && run.tstamp == 0, "{name}");
            }
            assert_eq!(dropped(bench, 0), 0, "{name}");
        }
        // On the wire, that one is limited; and who sends has sent, wherever it is refused.
        bench.programs.set_meters(1, &Meters { rx: one_frame(), ..Meters::default() });
        tc(bench, names::EGRESS, OUTSIDE, WEB, Skb::default());
        assert_eq!(tc(bench, names::EGRESS, OUTSIDE, WEB, Skb::default()).action, TC_ACT_SHOT);
        bench.programs.set_world(&world(limited()));
        bench.programs.set_meters(0, &Meters { tx: Meter::new(1, 1 << 20, 0, 0), ..Meters::default() });
        bench.programs.set_meters(1, &Meters { rx: one_frame(), ..Meters::default() });
        tc(bench, names::INGRESS, DB, WEB, Skb::default());
        assert_eq!(tc(bench, names::INGRESS, DB, WEB, Skb::default()).action, TC_ACT_SHOT);
        let counters = bench.programs.counters();
        assert_eq!((dropped(bench, 0), dropped(bench, 1)), (0, 1), "the receiver's rate");
        assert_eq!(counters.totals.drops, [Count::default(); DROP_REASONS.len()]);
    });
}
