//! What the maps of neighbours and storms hold, beside a world: drawn at random, written, read back.

use std::collections::BTreeMap;

use aya::maps::{Array, HashMap, MapData};
use macvlan_common::{
    cases::{HOST, MULTICAST, World},
    config::Config,
    l3::Address,
    limit::Pace,
    mac::Mac,
    names,
    neigh::{LIFETIME, Owner, PATIENCE, place},
};
use macvlan_tests::{
    fail::OrFail as _,
    frames::{self, ARP, Frame, IPV6},
    progs::Programs,
    rng::Rng,
};

use crate::{
    bench::now,
    model::{Model, settled_pace},
    random::{random_mac, world},
};

const SECOND: u64 = 1_000_000_000;

/// Neighbours' maps of loaded programs.
pub struct Neighbourhood {
    owners: HashMap<MapData, Address, Owner>,
    places: HashMap<MapData, u64, Address>,
    pace: Array<MapData, Pace>,
    buckets: Array<MapData, u64>,
}

impl Neighbourhood {
    /// Takes the maps out of `programs`.
    #[track_caller]
    pub fn of(programs: &mut Programs) -> Self {
        let mut map = |name: &str| programs.ebpf.take_map(name).or_fail(format!("find map {name}"));
        Self {
            owners: map(names::OWNERS).try_into().or_fail("open the owners"),
            places: map(names::PLACES).try_into().or_fail("open the places"),
            pace: map(names::PACE).try_into().or_fail("open the pace"),
            buckets: map(names::STORM).try_into().or_fail("open the buckets"),
        }
    }

    /// Makes the maps hold what `model` knows, every bucket full.
    #[track_caller]
    pub fn set(&mut self, model: &Model) {
        let stale: Vec<Address> = self.owners.keys().flatten().collect();
        stale.iter().for_each(|address| self.owners.remove(address).or_fail("forget an owner"));
        let stale: Vec<u64> = self.places.keys().flatten().collect();
        stale.iter().for_each(|place| self.places.remove(place).or_fail("forget a place"));
        for (address, owner) in &model.owners {
            self.owners.insert(address, owner, 0).or_fail("write an owner");
        }
        for (place, address) in &model.places {
            self.places.insert(place, address, 0).or_fail("write a place");
        }
        let pace = model.allowances.as_ref().map_or(Pace::default(), |left| settled_pace(left[0]));
        self.pace.set(0, pace, 0).or_fail("write the pace");
        for bucket in 0..=model.world.children.len() as u32 {
            self.buckets.set(bucket, 0, 0).or_fail("fill a bucket");
        }
    }

    /// What the model has just written bears the programs' own clock, a little later.
    pub fn adopt_times(&self, model: &mut Model) {
        let now = model.now;
        let is_written = |owner: &Owner| [owner.seen, owner.contested, owner.asked].contains(&now);
        for (address, owner) in model.owners.iter_mut().filter(|(_, owner)| is_written(owner)) {
            let Ok(written) = self.owners.get(address, 0) else { continue };
            let times = [&mut owner.seen, &mut owner.contested, &mut owner.asked];
            for (time, written) in times.into_iter().zip([written.seen, written.contested, written.asked]) {
                if *time == now && written.wrapping_sub(now) <= STALL {
                    *time = written;
                }
            }
        }
    }

    /// Says where the maps differ from what `model` has come to.
    pub fn compare(&self, model: &Model) -> Result<(), String> {
        let owners: BTreeMap<Address, Owner> = self.owners.iter().flatten().collect();
        let places: BTreeMap<u64, Address> = self.places.iter().flatten().collect();
        if owners == model.owners && places == model.places {
            return Ok(());
        }
        let expected = (&model.owners, &model.places);
        Err(format!(
            "neighbours differ at {}\n    seen: {owners:x?} {places:x?}\nexpected: {expected:x?}",
            model.now
        ))
    }
}

/// This world, where nobody has an address yet.
#[track_caller]
pub fn without_neighbours(world: World) -> Model {
    Model { owners: BTreeMap::new(), places: BTreeMap::new(), allowances: None, now: now(), world }
}

/// How much later than the model the programs may judge a frame.
pub const STALL: u64 = SECOND / 500;

/// A random world with random neighbours, the settings of both among its flags.
#[track_caller]
pub fn model(rng: &mut Rng) -> Model {
    let mut world = world(rng);
    for flag in [Config::DIRECTS, Config::STORM_GUARD] {
        if rng.one_in(2) {
            world.config.flags |= flag;
        }
    }
    if !world.config.xdp_is_generic() && rng.one_in(3) {
        world.config.flags |= Config::XDP_NATIVE;
    }
    // A guard whose rate is not set lets everything through.
    let allowance = (!rng.one_in(8)).then(|| 1 + rng.below(60) as u64);
    let allowances = allowance.map(|frames| vec![frames; 1 + world.children.len()]);
    let mut model = Model { allowances, ..without_neighbours(world) };
    let now = model.now;
    for address in addresses() {
        if rng.one_in(3) {
            continue;
        }
        let kind =
            rng.pick(&[Owner::BARE, Owner::CLAIM, Owner::TOLD, Owner::TOLD, Owner::OWN, Owner::GATEWAY]);
        let mac = if kind >= Owner::OWN { 0 } else { random_mac(rng, &model.world).key() };
        // Fresh until the end, to be refreshed when heard of, forgotten long ago.
        let (ever, never) = (now + 3600 * SECOND, now.wrapping_sub(2 * LIFETIME));
        let seen = rng.pick(&[ever, now - 100 * SECOND, never]);
        let contested = if rng.one_in(6) && kind != Owner::GATEWAY { rng.pick(&[ever, never]) } else { 0 };
        // Asked in vain just now, or so long ago that the owner has had its time.
        let (asked, asks) = rng.pick(&[(0, 0), (ever, 1), (ever, 40), (now - 2 * PATIENCE, 1)]);
        model.owners.insert(address, Owner { mac, seen, contested, asked, asks, kind });
        if kind <= Owner::CLAIM {
            model.places.insert(place(mac, address, 0), address);
        }
    }
    model
}

/// Last bytes of the addresses in use.
const LAST: u8 = 12;

fn v4(last: u8) -> [u8; 4] {
    [10, 9, 0, last]
}

fn v6(last: u8) -> [u8; 16] {
    [0xfd, 9, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, last]
}

fn addresses() -> impl Iterator<Item = Address> {
    (0..LAST).flat_map(|last| [Address::v4(v4(last)), Address::v6(v6(last))])
}

/// A frame of neighbours, mostly sound, mostly of addresses that somebody has.
pub fn neighbour_frame(rng: &mut Rng, world: &World) -> Vec<u8> {
    let group = rng.pick(&[Mac::BROADCAST, Mac::BROADCAST, MULTICAST]);
    let dst = if rng.one_in(6) { random_mac(rng, world) } else { group };
    let src = if rng.one_in(3) { HOST } else { random_mac(rng, world) };
    let mut start = Frame::new(dst, src);
    if rng.one_in(8) {
        start = start.tag(rng.pick(&[frames::VLAN, frames::SERVICE_VLAN]), rng.next() as u16);
    }
    let (ethertype, mut packet) = if rng.one_in(2) { (ARP, arp(rng, src)) } else { (IPV6, discovery(rng)) };
    if rng.one_in(12) {
        packet.truncate(rng.below(packet.len()));
    }
    if rng.one_in(12) && !packet.is_empty() {
        let at = rng.below(packet.len());
        packet[at] = rng.next() as u8;
    }
    // Long enough for a test run whatever was cut off.
    start.payload(ethertype, &packet).padded(if ethertype == ARP { 20 } else { 58 })
}

fn arp(rng: &mut Rng, src: Mac) -> Vec<u8> {
    let address = |rng: &mut Rng| match rng.below(12) {
        0 => [0; 4],
        1 => [224, 0, 0, 1],
        _ => v4(rng.below(usize::from(LAST)) as u8),
    };
    let (sender, target) = (address(rng), address(rng));
    let target = if rng.one_in(8) { sender } else { target };
    let hardware = if rng.one_in(8) { Mac::BROADCAST } else { src };
    let mut packet = vec![0, 1, 8, 0, 6, 4, 0, rng.pick(&[1, 1, 1, 2, 3])];
    packet.extend(hardware.octets());
    packet.extend(sender);
    packet.extend([0; 6]);
    packet.extend(target);
    packet
}

fn discovery(rng: &mut Rng) -> Vec<u8> {
    let address = |rng: &mut Rng| match rng.below(8) {
        0 => [0; 16],
        _ => v6(rng.below(usize::from(LAST)) as u8),
    };
    let (source, target) = (address(rng), address(rng));
    let mut packet = vec![0x60, 0, 0, 0, 0, 24, 58, if rng.one_in(12) { 64 } else { 255 }];
    packet.extend(source);
    packet.extend([
        if rng.one_in(6) { 0xfe } else { 0xff },
        2,
        0,
        0,
        0,
        0,
        0,
        0,
        0,
        0,
        0,
        1,
        0xff,
        0,
        0,
        target[15],
    ]);
    packet.extend([rng.pick(&[135, 135, 136, 134]), 0, 0, 0, 0, 0, 0, 0]);
    packet.extend(target);
    packet
}
