//! The forwarding contract on the programs in the kernel, one frame at a time.
//!
//! The same cases run against the decision function in `macvlan-common`; here they run through
//! `BPF_PROG_TEST_RUN` on the committed object, and every counter of every child is compared.

mod bench;
mod differential;
mod directed;
mod guards;
mod model;
mod neighbourhood;
mod random;
mod rates;
mod single_mac;

use std::{collections::BTreeSet, fs};

use aya::{
    Ebpf,
    programs::{Program, XdpMode},
};
use macvlan_common::{
    cases::{self, HOST, World},
    config::Config,
    counters::Count,
    decide::decide,
    frame::Hook,
    names,
    tag::Sender,
};
use macvlan_tests::{
    direct::Direct,
    fail::OrFail as _,
    frames::{self, Frame as FrameBuilder},
    handwritten::has_xdp_frags,
    needs,
    progs::{Programs, object},
    require,
    rng::{self, Rng},
};

use crate::bench::{
    DEVICE, ONE_BUFFER, Offload, XDP_PASS, charged, frame_at, in_bench, runs_as_skb, size_of_skb,
};

#[test]
fn every_program_loads() {
    needs!(require::lab);
    let plain = [
        names::XDP,
        names::XDP_FRAGS,
        names::INGRESS,
        names::EGRESS,
        names::SINGLE_INGRESS,
        names::SINGLE_EGRESS,
    ];
    let mut expected: BTreeSet<&str> = plain.into_iter().collect();
    expected.extend(plain.into_iter().filter_map(names::traced));
    expected.extend([
        names::CHILD_EGRESS,
        names::FLOOD_INGRESS,
        names::FLOOD_EGRESS,
        names::OWN_INGRESS,
        names::EAR,
        names::PORT_INGRESS,
        names::PORT_EGRESS,
    ]);
    let bytes = fs::read(object()).or_fail("read the BPF object");
    let mut object = Ebpf::load(&bytes).or_fail("load the BPF object");
    let named: BTreeSet<String> = object.programs().map(|(name, _)| name.to_owned()).collect();
    assert_eq!(named.iter().map(String::as_str).collect::<BTreeSet<_>>(), expected);
    let takes_frags = has_xdp_frags();
    for (name, program) in object.programs_mut() {
        let is_frags = [Some(names::XDP_FRAGS), names::traced(names::XDP_FRAGS)].contains(&Some(name));
        let loaded = match program {
            Program::Xdp(program) => program.load(),
            Program::SchedClassifier(program) => program.load(),
            other => panic!("{name} is a {:?}", other.prog_type()),
        };
        if is_frags && !takes_frags {
            assert!(loaded.is_err(), "{name} loads on a kernel without the flag");
        } else {
            loaded.or_fail(format!("load {name}"));
            check_effort(name, program);
        }
    }
}

/// The verifier looks at each instruction on every path that may matter, and every attach waits for
/// it: tens of thousands take tens of milliseconds. What stands out of line is judged once, in a
/// function of its own.
fn check_effort(name: &str, program: &Program) {
    const MOST: u32 = 50_000;
    let info = program.info().or_fail(format!("ask for {name}"));
    // Told since kernel 5.16.
    let Some(count) = info.verified_instruction_count() else { return };
    println!("{name}: {count} instructions verified, {:?} bytes", info.size_translated());
    assert!(count < MOST, "the verifier looks at {count} instructions of {name}");
}

#[test]
fn every_case_of_the_contract_holds_in_xdp() {
    needs!(require::lab);
    in_bench(|bench| bench.all_cases(|hook| hook == Hook::Xdp));
}

#[test]
fn every_case_of_the_contract_holds_in_tc_ingress() {
    needs!(require::lab);
    in_bench(|bench| bench.all_cases(|hook| matches!(hook, Hook::Ingress | Hook::Turned(_))));
}

#[test]
fn every_case_of_the_contract_holds_in_tc_ingress_behind_generic_xdp() {
    needs!(require::lab);
    in_bench(|bench| bench.all_cases(|hook| hook == Hook::AfterXdp));
}

#[test]
fn every_case_of_the_contract_holds_in_tc_egress() {
    needs!(require::lab);
    in_bench(|bench| bench.all_cases(|hook| hook == Hook::Egress));
}

/// Test runs of TC programs take no metadata; here the kernel carries the frame from XDP to TC.
#[test]
fn a_frame_judged_in_xdp_is_not_judged_again_in_tc_ingress() {
    needs!(require::lab);
    in_bench(|bench| {
        let mut programs = Direct::on(bench.ns, DEVICE, &World::empty(), Some(XdpMode::Driver));
        for mut case in cases::all().into_iter().filter(|case| case.hook == Hook::Xdp) {
            case.world.config.flags |= Config::XDP_NATIVE;
            // Native XDP drops some of what another demultiplexer leaves to TC ingress.
            case.verdict = decide(case.hook, case.frame, &case.world);
            programs.set_world(&case.world);
            for program in [names::XDP, names::XDP_FRAGS] {
                bench.check_both_hooks(&programs, program, &case);
            }
        }
    });
}

#[test]
fn frames_of_any_length_and_with_any_tags_are_judged_by_their_addresses() {
    needs!(require::lab);
    in_bench(|bench| {
        let mut world = World::mixed();
        bench.programs.set_world(&world);
        let (child, outside) = (world.children[0].mac, cases::OUTSIDE);
        for (hook, dst, src) in
            [(Hook::Xdp, child, outside), (Hook::Ingress, child, outside), (Hook::Egress, child, HOST)]
        {
            for tags in [&[][..], &[frames::VLAN], &[frames::SERVICE_VLAN, frames::VLAN]] {
                let start = FrameBuilder::new(dst, src);
                let tagged = tags.iter().fold(start, |frame, tag| frame.tag(*tag, 5));
                for ethertype in [frames::IPV4, frames::IPV6, frames::ARP, 0x0026, 0xffff] {
                    for len in [0, 14, 15, 16, 17, 18, 20, 22, 33, 34, 54, 60, 64, 1500, 1514] {
                        let frame = tagged.clone().payload(ethertype, &[]).padded(len);
                        if hook != Hook::Xdp && !runs_as_skb(&frame) {
                            continue;
                        }
                        bench.check(&mut world, hook, Sender::Unknown, &frame, Offload::None).unwrap();
                    }
                }
            }
            let jumbo = FrameBuilder::new(dst, src).payload(frames::IPV4, &[0x45]).padded(ONE_BUFFER);
            bench.check(&mut world, hook, Sender::Unknown, &jumbo, Offload::None).unwrap();
        }
    });
}

#[test]
fn a_jumbo_frame_in_several_buffers_is_judged_in_xdp() {
    needs!(require::lab);
    let mut programs = Programs::load();
    let world = World::mixed();
    programs.set_world(&world);
    let child = world.children[0].mac;
    for len in [4096, 9014, 20_000] {
        let before = programs.counters();
        let frame = FrameBuilder::new(child, cases::OUTSIDE).payload(frames::IPV4, &[]).padded(len);

        let run = programs.run_xdp(names::XDP_FRAGS, &frame, ONE_BUFFER);

        assert_eq!((run.action, run.frame.len()), (XDP_PASS, len));
        let verdict = decide(Hook::Xdp, frame_at(Hook::Xdp, Sender::Unknown, &frame), &world);
        let size = Count { packets: 1, bytes: len as u64 };
        assert_eq!(programs.counters(), charged(&before, &verdict, size));
    }
}

#[test]
fn an_offloaded_frame_counts_as_the_frames_it_stands_for() {
    needs!(require::lab);
    in_bench(|bench| {
        let mut world = World::mixed();
        bench.programs.set_world(&world);
        let (child, outside) = (world.children[0].mac, cases::OUTSIDE);
        for (hook, dst, src) in [(Hook::Ingress, child, outside), (Hook::Egress, child, HOST)] {
            for tags in 0..=2 {
                let start = FrameBuilder::new(dst, src);
                let tagged = (0..tags).fold(start, |frame, _| frame.tag(frames::VLAN, 5));
                for (headers, frame) in offloaded(tagged) {
                    let offload = Offload::Segments { count: 3, size: 500 };
                    bench.check(&mut world, hook, Sender::Unknown, &frame, offload).unwrap();
                    assert_eq!(
                        size_of_skb(&frame, offload),
                        Count { packets: 3, bytes: (frame.len() + 2 * (14 + 4 * tags + headers)) as u64 },
                    );
                }
            }
        }
    });
}

#[test]
fn programs_and_decision_function_agree_on_any_frame_in_any_world() {
    needs!(require::lab);
    const WORLDS: usize = 320;
    const FRAMES: usize = 80;
    let seed = rng::seed();
    in_bench(|bench| {
        let mut rng = Rng::new(seed);
        for number in 0..WORLDS {
            let mut world = random::world(&mut rng);
            bench.programs.set_world(&world);
            for _ in 0..FRAMES {
                let hook = random::hook(&mut rng, &world);
                let sender = random::sender(&mut rng, &world, hook);
                let mut frame = random::frame(&mut rng, &world);
                if hook != Hook::Xdp && !runs_as_skb(&frame) {
                    frame.resize(60, 0);
                }
                let offload = random::offload(&mut rng);
                if let Err(difference) = bench.check(&mut world, hook, sender, &frame, offload) {
                    let (config, children) = (world.config, &world.children);
                    panic!(
                        "world {number}, MACVLAN_TESTS_SEED={seed}: {difference}\n{config:?} {children:?}"
                    );
                }
            }
        }
    });
}

/// Also with what lies behind the addresses: neighbours and storms.
#[test]
fn a_million_frames_come_out_as_the_decision_function_says() {
    needs!(require::lab);
    differential::run(rng::seed(), 1_000_000);
}

/// TCP and UDP over IPv4 and IPv6: bytes of their headers, and the frame.
fn offloaded(start: FrameBuilder) -> Vec<(usize, Vec<u8>)> {
    use std::net::{Ipv4Addr, Ipv6Addr};
    let (ip, ip6) = (Ipv4Addr::LOCALHOST, Ipv6Addr::LOCALHOST);
    let mut tcp = vec![0; 32 + 1500];
    tcp[12] = 8 << 4;
    let udp = frames::udp(1, 2, &[0; 1500]);
    let packets = [
        (20 + 32, frames::IPV4, frames::ipv4(ip, ip, 6, &tcp)),
        (20 + 8, frames::IPV4, frames::ipv4(ip, ip, 17, &udp)),
        (40 + 32, frames::IPV6, frames::ipv6(ip6, ip6, 6, &tcp)),
        (40 + 8, frames::IPV6, frames::ipv6(ip6, ip6, 17, &udp)),
    ];
    packets.map(|(headers, kind, packet)| (headers, start.clone().payload(kind, &packet).build())).into()
}
