//! One MAC on the wire: the contract's rows and random frames on the programs, and the same in memory.

use std::collections::BTreeSet;

use aya::maps::{HashMap, LpmTrie, MapData, lpm_trie::Key as Prefix};
use macvlan_common::{
    cases::{World, WorldChild},
    child::{Mode, Policy},
    counters::DropReason,
    l3::Address,
    mac::Mac,
    names,
    single_mac::{
        Holder, Key, Whose,
        cases::{CHILD, Case, Fate, MASTER, Memory, OTHER, PEER, Way, cases, frame_checksums_hold},
    },
};
use macvlan_tests::{
    fail::OrFail as _,
    needs,
    progs::{Programs, Skb},
    require,
    rng::{self, Rng},
};

use crate::bench::{Bench, DEVICE, TC_ACT_SHOT, TC_ACT_UNSPEC, in_bench};

/// Random frames of each test.
const FRAMES: usize = 200_000;

/// The programs, with the world of the cases in their maps.
struct Wire<'a> {
    programs: &'a mut Programs,
    ifindex: u32,
    holders: HashMap<MapData, Key, Holder>,
    probers: HashMap<MapData, Key, u64>,
    on_link: LpmTrie<MapData, Key, u32>,
}

impl<'a> Wire<'a> {
    #[track_caller]
    fn new(bench: &'a mut Bench<'_>) -> Self {
        let ifindex = bench.ns.ifindex(DEVICE);
        let programs = &mut bench.programs;
        let policy = Policy::new(Mode::Bridge, false);
        let children = [("b1", CHILD), ("b2", OTHER)].map(|(name, mac)| WorldChild::new(name, mac, policy));
        programs.set_world(&World::new(children.to_vec()));
        let mut map = |name: &str| programs.ebpf.take_map(name).or_fail(format!("find map {name}"));
        let mut wire = Self {
            holders: map(names::HOLDERS).try_into().or_fail("open the holders"),
            probers: map(names::PROBERS).try_into().or_fail("open the probers"),
            on_link: map(names::ON_LINK).try_into().or_fail("open the networks"),
            programs,
            ifindex,
        };
        wire.put(&Memory::of_cases(Vec::new()));
        wire
    }

    #[track_caller]
    fn put(&mut self, world: &Memory) {
        for ((vlan, address), whose) in &world.holders {
            let holder = match *whose {
                Whose::HOST => Holder { kind: Holder::HOST, ..Holder::default() },
                Whose::ALL => Holder { kind: Holder::BROADCAST, ..Holder::default() },
                Whose(mac) => Holder { mac, seen: 0, kind: Holder::TOLD },
            };
            let key = Key { vlan: *vlan, address: *address };
            self.holders.insert(key, holder, 0).or_fail("set a holder");
        }
        for ((vlan, address), mac) in &world.probers {
            let key = Key { vlan: *vlan, address: *address };
            self.probers.insert(key, mac, 0).or_fail("set a prober");
        }
    }

    /// Whether the kernel takes a frame for a test run: not one of IP that ends before its header
    /// (`bpf_prog_test_run_skb` in net/bpf/test_run.c).
    fn is_runnable(frame: &[u8]) -> bool {
        let header = match frame.get(12..14) {
            Some([8, 0]) => 20,
            Some([0x86, 0xdd]) => 40,
            _ => 1,
        };
        frame.len() >= 14 + header
    }

    /// What becomes of a frame.
    #[track_caller]
    fn judge(&self, way: Way, frame: &[u8]) -> Option<Vec<u8>> {
        let name = if way == Way::Out { names::SINGLE_EGRESS } else { names::SINGLE_INGRESS };
        let skb = Skb { frame, ifindex: self.ifindex, ..Skb::default() };
        let run = self.programs.run_tc(name, &skb).or_fail(format!("run {name}"));
        match run.action {
            TC_ACT_SHOT => None,
            TC_ACT_UNSPEC => Some(run.frame),
            other => panic!("{name} gave {other} of {frame:02x?}"),
        }
    }

    fn drops(&self) -> Vec<u64> {
        let counters = self.programs.counters();
        let master = counters.totals.drops;
        let all = counters.children.iter().map(|child| child.drops).chain([master]);
        all.fold(vec![0; master.len()], |sums, drops| {
            sums.iter().zip(drops).map(|(sum, drop)| sum + drop.packets).collect()
        })
    }
}

fn bytes(fate: &Fate) -> Option<&[u8]> {
    match fate {
        Fate::Frame(frame) => Some(frame),
        Fate::Drop(_) => None,
    }
}

#[test]
fn every_row_of_the_contract_holds_in_the_programs() {
    needs!(require::lab);
    in_bench(|bench| {
        let mut wire = Wire::new(bench);
        wire.on_link.insert(&Prefix::new(0, Key::default()), 1, 0).or_fail("let all be taught");
        for Case { name, way, frame, fate, taught } in cases() {
            if !Wire::is_runnable(&frame) {
                assert!(name.contains("cut short"), "{name}");
                continue;
            }
            let before = wire.drops();
            assert_eq!(wire.judge(way, &frame).as_deref(), bytes(&fate), "{name}");
            let reason = |reason: DropReason| (reason as usize, 1);
            let counted: Vec<(usize, u64)> = wire
                .drops()
                .iter()
                .zip(before)
                .map(|(now, before)| now - before)
                .enumerate()
                .filter(|(_, count)| *count > 0)
                .collect();
            let expected: Vec<(usize, u64)> = match fate {
                Fate::Frame(_) => Vec::new(),
                Fate::Drop(why) => vec![reason(why)],
            };
            assert_eq!(counted, expected, "{name}: drops");
            for (vlan, address, mac, kind) in taught {
                let held =
                    wire.holders.get(&Key { vlan, address }, 0).or_fail(format!("{name}: find a holder"));
                assert!(held.mac == mac && held.kind >= kind, "{name}: {held:?}");
            }
        }
    });
}

#[test]
fn an_address_that_is_not_on_the_link_is_not_learnt() {
    needs!(require::lab);
    in_bench(|bench| {
        let mut wire = Wire::new(bench);
        let network = |bits, address| Prefix::new(bits, Key { vlan: 0, address });
        let v4 = Address::v4([0; 4]);
        for (prefix, may) in [
            (network(0, Address::NONE), 1),
            (network(Key::VLAN_BITS + 96, v4), 0),
            (network(Key::VLAN_BITS + 96 + 24, Address::v4([10, 9, 0, 0])), 1),
        ] {
            wire.on_link.insert(&prefix, may, 0).or_fail("set a network");
        }
        let says = |ip: [u8; 4]| {
            let mut frame =
                cases().into_iter().find(|case| case.name == "gratuitous ARP").or_fail("find").frame;
            frame[28..32].copy_from_slice(&ip);
            frame[38..42].copy_from_slice(&ip);
            frame
        };
        for (ip, is_learnt) in [([10, 9, 0, 50], true), ([10, 9, 1, 50], false), ([8, 8, 8, 8], false)] {
            wire.judge(Way::Out, &says(ip)).or_fail("send");
            let held = wire.holders.get(&Key { vlan: 0, address: Address::v4(ip) }, 0);
            assert_eq!(held.is_ok(), is_learnt, "{ip:?}");
        }
    });
}

#[test]
fn a_child_that_invents_addresses_fills_its_own_ring_alone() {
    needs!(require::lab);
    in_bench(|bench| {
        let mut wire = Wire::new(bench);
        wire.on_link.insert(&Prefix::new(0, Key::default()), 1, 0).or_fail("let all be taught");
        let find =
            |name| cases().into_iter().find(|case: &Case| case.name == name).or_fail("find a case").frame;
        let (mut claim, mut bare) = (find("gratuitous ARP"), find("IPv4"));
        let at = |number: u16| [10, 8, (number >> 8) as u8, number as u8];
        claim[6..12].copy_from_slice(&OTHER.octets());
        claim[28..32].copy_from_slice(&[10, 9, 0, 12]);
        claim[38..42].copy_from_slice(&[10, 9, 0, 12]);
        wire.judge(Way::Out, &claim).or_fail("claim an address");
        for number in 0..3000 {
            bare[26..30].copy_from_slice(&at(number));
            wire.judge(Way::Out, &bare).or_fail("use an address");
        }
        let of = |mac: Mac| {
            let all = wire.holders.iter().map(|item| item.or_fail("read the holders").1);
            all.filter(|holder| holder.mac == mac.key() && holder.is_learnt()).count()
        };
        assert!(of(CHILD) <= 64, "{} addresses of one child", of(CHILD));
        assert_eq!(of(OTHER), 1);
    });
}

#[test]
fn random_frames_come_to_the_same_in_memory_and_in_the_programs() {
    needs!(require::lab);
    let mut rng = Rng::new(rng::seed());
    in_bench(|bench| {
        let mut wire = Wire::new(bench);
        let rows = cases();
        let base = Memory::of_cases(Vec::new());
        let macs = [CHILD, OTHER, MASTER, PEER];
        let mut changed = 0;
        for number in 0..FRAMES {
            let row = &rows[rng.below(rows.len())];
            let mut frame = row.frame.clone();
            for _ in 0..rng.below(4) {
                let at = 12 + rng.below(frame.len() - 12);
                frame[at] = rng.bytes(1)[0];
            }
            if rng.below(4) == 0 {
                let to = if row.way == Way::Out { 6 } else { 0 };
                frame[to..to + 6].copy_from_slice(&macs[rng.below(macs.len())].octets());
            }
            if rng.below(4) == 0 {
                frame.truncate(34.max(rng.below(frame.len())));
            }
            let mut memory = Memory { frame: frame.clone(), ..base.clone() };
            // A sibling's MAC, or the host's, leads around, not to the wire.
            let dst = &frame[..6];
            if !Wire::is_runnable(&frame) {
                continue;
            }
            if row.way == Way::Out && (dst == MASTER.octets() || dst == OTHER.octets()) {
                continue;
            }
            let fate = memory.judge(row.way, MASTER);
            let judged = wire.judge(row.way, &frame);
            assert_eq!(judged.as_deref(), bytes(&fate), "frame {number}, {}: {frame:02x?}", row.name);
            if let Some(after) = judged {
                changed += usize::from(after != frame);
                assert!(
                    !frame_checksums_hold(&frame) || frame_checksums_hold(&after),
                    "frame {number}: {frame:02x?} became {after:02x?}"
                );
            }
            for ((vlan, address), _) in
                memory.probers.iter().filter(|(key, mac)| base.probers.get(*key) != Some(*mac))
            {
                let _ = wire.probers.remove(&Key { vlan: *vlan, address: *address });
            }
            if memory.probers != base.probers {
                wire.put(&base);
            }
        }
        assert!(changed > FRAMES / 4, "{changed} frames were rewritten");
        let known: BTreeSet<Key> =
            base.holders.keys().map(|(vlan, address)| Key { vlan: *vlan, address: *address }).collect();
        let now: BTreeSet<Key> = wire.holders.keys().map(|key| key.or_fail("read the holders")).collect();
        assert_eq!(now, known, "nothing is learnt where nothing is on the link");
    });
}
