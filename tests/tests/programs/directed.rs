//! Requests for an address, case by case: whom they go to, and who is charged.

use std::net::{Ipv4Addr, Ipv6Addr};

use macvlan_common::{
    cases::{HOST, OUTSIDE, World},
    config::Config,
    counters::Path,
    frame::Hook,
    l3::Address,
    mac::Mac,
    neigh::{LIFETIME, Owner, PATIENCE},
    tag::Hairpin,
};
use macvlan_tests::{
    frames::{self, ArpOperation, Frame, Marker},
    needs, require,
};

use crate::{
    bench::{Bench, in_bench},
    differential::check,
    model::{FrameResult, Model},
    neighbourhood::{Neighbourhood, STALL, without_neighbours},
};

const ASKED: Ipv4Addr = Ipv4Addr::new(10, 9, 0, 8);
const ASKED_6: Ipv6Addr = Ipv6Addr::new(0xfd09, 0, 0, 0, 0, 0, 0, 8);
const SECOND: u64 = 1_000_000_000;
const NONE: Mac = Mac::new([0; 6]);

fn arp(src: Mac) -> Vec<u8> {
    let sender = (src, Ipv4Addr::new(10, 9, 0, 99));
    frames::arp(Mac::BROADCAST, ArpOperation::Request, sender, (NONE, ASKED), Marker::new())
}

fn solicitation(src: Mac) -> Vec<u8> {
    let packet = frames::neighbour_solicitation(Ipv6Addr::new(0xfd09, 0, 0, 0, 0, 0, 0, 0x99), ASKED_6);
    Frame::new(Mac::new([0x33, 0x33, 0xff, 0, 0, 8]), src).payload(frames::IPV6, &packet).build()
}

fn tagged(frame: &[u8], tag: u16) -> Vec<u8> {
    let bytes = [&frame[..12], &tag.to_be_bytes(), &5_u16.to_be_bytes(), &frame[12..]];
    bytes.concat()
}

/// The programs, and what is asked of them.
struct Asked<'a, 'ns> {
    bench: &'a mut Bench<'ns>,
    neighbourhood: &'a mut Neighbourhood,
    world: World,
    owner: Owner,
}

impl Asked<'_, '_> {
    fn owned_by(&mut self, name: &str) -> Mac {
        let mac = if name == "host" { HOST } else { self.world.children[self.world.index(name)].mac };
        let Model { now, .. } = without_neighbours(self.world.clone());
        // Nobody has asked since it was heard of, a while ago.
        self.owner = Owner { mac: mac.key(), seen: now - SECOND, kind: Owner::TOLD, ..Owner::default() };
        mac
    }

    /// What becomes of a frame at a hook, in the programs as by the model.
    #[track_caller]
    fn at(&mut self, hook: Hook, bytes: &[u8]) -> FrameResult {
        // A busy machine may stop between the model's look at the clock and the programs': then it is tried anew.
        for _ in 0..20 {
            let mut model = without_neighbours(self.world.clone());
            model.owners.insert(Address::v4(ASKED.octets()), self.owner);
            model.owners.insert(Address::v6(ASKED_6.octets()), self.owner);
            let began = model.now;
            match check(self.bench, self.neighbourhood, &mut model, hook, bytes) {
                Ok(outcome) => return outcome,
                Err(_) if crate::bench::now() - began > STALL => {}
                Err(difference) => panic!("{hook:?}: {difference}"),
            }
        }
        panic!("{hook:?}: this machine stalls all the time")
    }
}

fn in_world(world: World, work: impl FnOnce(Asked<'_, '_>) + Send) {
    in_bench(|bench| {
        let mut neighbourhood = Neighbourhood::of(&mut bench.programs);
        let world = world.with_flags(Config::DIRECTS);
        work(Asked { bench, neighbourhood: &mut neighbourhood, world, owner: Owner::default() });
    });
}

#[test]
fn from_the_wire_a_request_gets_its_owners_address() {
    needs!(require::lab);
    in_world(World::mixed(), |mut asked| {
        for request in [arp(OUTSIDE), solicitation(OUTSIDE)] {
            for (name, is_directed) in
                [("b1", true), ("p1", true), ("v1", true), ("n1", true), ("host", true), ("s1", false)]
            {
                let mac = asked.owned_by(name);
                let outcome = asked.at(Hook::Ingress, &request);
                assert_eq!(outcome.destination, is_directed.then_some(mac), "{name}");
                let child = asked.world.children.iter().position(|child| child.name == name);
                let charged = child.filter(|_| is_directed).map(|child| (child, Path::Wire));
                assert_eq!(outcome.directed, charged, "{name}");
            }
            // XDP counts it and changes nothing; TC ingress behind it directs it all the same.
            let mac = asked.owned_by("b1");
            assert_eq!(asked.at(Hook::Xdp, &request).destination, None);
            asked.world.config.flags |= Config::XDP_GENERIC;
            assert_eq!(asked.at(Hook::Xdp, &request).destination, None);
            let behind = asked.at(Hook::AfterXdp, &request);
            assert_eq!((behind.destination, behind.verdict.counts()), (Some(mac), false));
            asked.world.config.flags &= !Config::XDP_GENERIC;
        }
    });
}

#[test]
fn behind_a_tag_from_a_local_sender_or_for_nobody_a_request_goes_to_all() {
    needs!(require::lab);
    in_world(World::mixed(), |mut asked| {
        asked.owned_by("b1");
        let local = asked.world.children[asked.world.index("b2")].mac;
        for request in [arp(OUTSIDE), solicitation(OUTSIDE)] {
            for tag in [frames::VLAN, frames::SERVICE_VLAN] {
                for hook in [Hook::Ingress, Hook::Xdp] {
                    assert_eq!(asked.at(hook, &tagged(&request, tag)).destination, None, "{tag:#x}");
                }
            }
        }
        for request in [tagged(&arp(HOST), frames::VLAN), tagged(&solicitation(HOST), frames::VLAN)] {
            let outcome = asked.at(Hook::Egress, &request);
            assert_eq!((outcome.destination, outcome.hairpin), (None, Some(Hairpin::Flood)));
        }
        assert_eq!(asked.at(Hook::Ingress, &arp(local)).destination, None, "sent back by a switch");
        let owner = asked.owner;
        for nobody in [
            Owner { mac: 0, kind: Owner::OWN, ..owner },
            Owner { mac: 0, kind: Owner::GATEWAY, ..owner },
            Owner { contested: owner.seen, ..owner },
            Owner { seen: owner.seen.wrapping_sub(2 * LIFETIME), ..owner },
            Owner { asked: owner.seen + SECOND - 2 * PATIENCE + 1, asks: 1, ..owner },
        ] {
            asked.owner = nobody;
            assert_eq!(asked.at(Hook::Ingress, &arp(OUTSIDE)).destination, None, "{nobody:?}");
        }
        asked.owner = owner;
        asked.world.config.flags &= !Config::DIRECTS;
        assert_eq!(asked.at(Hook::Ingress, &arp(OUTSIDE)).destination, None, "switched off");
    });
}

#[test]
fn what_the_host_asks_leaves_for_the_wire_and_goes_to_the_owner() {
    needs!(require::lab);
    in_world(World::mixed(), |mut asked| {
        for request in [arp(HOST), solicitation(HOST)] {
            let mac = asked.owned_by("b1");
            let child = asked.world.index("b1");
            for kind in [Owner::TOLD, Owner::CLAIM, Owner::BARE] {
                asked.owner.kind = kind;
                let outcome = asked.at(Hook::Egress, &request);
                assert_eq!((outcome.destination, outcome.is_copied), (Some(mac), true));
                assert_eq!(outcome.directed, Some((child, Path::Host)));
                assert_eq!(outcome.hairpin, Some(Hairpin::Unicast));
            }
            // No way there for the host.
            for name in ["n1", "v1", "host"] {
                asked.owned_by(name);
                let outcome = asked.at(Hook::Egress, &request);
                assert_eq!((outcome.destination, outcome.hairpin), (None, Some(Hairpin::Flood)), "{name}");
            }
            // Its gateway, and its own address where another device of its would answer.
            for kind in [Owner::GATEWAY, Owner::OWN] {
                asked.owner = Owner { mac: 0, kind, ..asked.owner };
                let outcome = asked.at(Hook::Egress, &request);
                assert_eq!((outcome.destination, outcome.hairpin, outcome.is_copied), (None, None, false));
            }
        }
    });
}

/// What the switch says of its gateway, the host is to hear from no child.
#[test]
fn a_child_with_the_address_of_the_hosts_gateway_is_heard_by_all_but_the_host() {
    needs!(require::lab);
    in_world(World::reflecting(), |mut asked| {
        let host = HOST.octets();
        for (name, copied) in [("b1", Some(Hairpin::Flood)), ("p1", None)] {
            let mac = asked.owned_by(name);
            let claim = frames::arp(
                Mac::BROADCAST,
                ArpOperation::Request,
                (mac, ASKED),
                (NONE, Ipv4Addr::new(10, 9, 0, 99)),
                Marker::new(),
            );
            let outcome = asked.at(Hook::Egress, &claim);
            assert!(outcome.is_copied, "{name}: {outcome:?}");
            asked.owner = Owner { mac: 0, kind: Owner::GATEWAY, ..asked.owner };
            let outcome = asked.at(Hook::Egress, &claim);
            assert_eq!((outcome.hairpin, outcome.is_copied), (copied, copied.is_some()), "{name}");
            let outcome = asked.at(Hook::Egress, &[&host[..], &claim[6..]].concat());
            assert_eq!((outcome.hairpin, outcome.is_copied), (None, false), "{name}");
        }
    });
}

/// A private child would get a sibling's request, which the switch and the kernel keep from it.
#[test]
fn what_a_child_asks_is_not_taken_for_the_hosts() {
    needs!(require::lab);
    in_world(World::reflecting(), |mut asked| {
        let sender = asked.world.children[asked.world.index("rn")].mac;
        for name in ["p1", "b1", "r1"] {
            asked.owned_by(name);
            for request in [arp(sender), solicitation(sender)] {
                let outcome = asked.at(Hook::Egress, &request);
                assert_eq!((outcome.destination, outcome.directed), (None, None), "{name}");
                assert_eq!((outcome.hairpin, outcome.is_copied), (Some(Hairpin::Flood), true), "{name}");
            }
        }
    });
}
