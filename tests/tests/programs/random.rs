//! Random worlds, and frames that meet them.

use std::{
    collections::HashMap,
    sync::{LazyLock, Mutex},
};

use macvlan_common::{
    cases::{self, HOST, MULTICAST, World, WorldChild},
    child::{ANTI_SPOOFS, Mode, Policy},
    config::Config,
    filter,
    frame::Hook,
    mac::Mac,
    presence::Presence,
    tag::{HAIRPINS, Sender},
};
use macvlan_tests::{
    fail::OrFail as _,
    frames::{self, Frame},
    rng::Rng,
};

use crate::bench::{ONE_BUFFER, Offload};

/// The kernel loses a shorter frame on its way up when it bears a VLAN tag (`skb_vlan_untag` in
/// net/core/skbuff.c), so no copy of it would be seen.
const SHORTEST: usize = 20;

/// Up to six children of all modes but passthru; or now and then a passthru child, which bears the
/// host's own MAC.
pub fn world(rng: &mut Rng) -> World {
    const MODES: [Mode; 4] = [Mode::Bridge, Mode::Private, Mode::Vepa, Mode::Source];
    let mut children = Vec::new();
    for number in 0..rng.below(7) as u8 {
        let passthru = rng.one_in(20);
        let mode = if passthru { Mode::Passthru } else { rng.pick(&MODES) };
        children.push(WorldChild {
            name: "",
            mac: if passthru { HOST } else { Mac::new([0x02, 0, 0, 0, 1, number]) },
            policy: policy(rng, mode).with_hosts(!passthru && rng.one_in(10)),
            presence: if passthru { cases::JUST_SPOKE } else { presence(rng) },
        });
        if passthru {
            break;
        }
    }
    let mut world = World::new(children);
    for flag in [Config::DROP_UNKNOWN, Config::VEPA_SWITCH, Config::STRICT] {
        if rng.one_in(3) {
            world.config.flags |= flag;
        }
    }
    world.config.secret = rng.next();
    world.config.meta = rng.next() as u32;
    if rng.one_in(4) {
        world.config.flags |= Config::XDP_GENERIC;
    }
    world
}

/// Here, elsewhere or absent; what is heard on the wire next is an echo or not.
fn presence(rng: &mut Rng) -> Presence {
    let away = rng.pick(&[Presence::HERE, Presence::HERE, Presence::ABSENT, Presence::ABSENT + 1]);
    Presence { away, spoke: rng.pick(&[0, cases::JUST_SPOKE.spoke]) }
}

/// Everything that can be set for a child, each now and then.
fn policy(rng: &mut Rng, mode: Mode) -> Policy {
    let policy = Policy::new(mode, !rng.one_in(4))
        .with_sibling_access(!rng.one_in(6))
        .with_reflection(rng.one_in(3))
        .with_ra(!rng.one_in(6))
        .with_dhcp_server(!rng.one_in(6))
        .with_host_control(rng.one_in(3))
        .with_group(if rng.one_in(3) { rng.below(3) as u16 } else { 0 })
        // Without a rate, that changes nothing.
        .with_limit(rng.one_in(6));
    let policy = if rng.one_in(6) { policy.with_anti_spoof(rng.pick(&ANTI_SPOOFS)) } else { policy };
    policy.with_vouched(policy.wants_vouching() && rng.one_in(2))
}

/// What is known of who sent a frame that is met at `hook`.
pub fn sender(rng: &mut Rng, world: &World, hook: Hook) -> Sender {
    let can_be_told = matches!(hook, Hook::Ingress | Hook::AfterXdp | Hook::Egress);
    if world.config.asks_senders() && can_be_told && rng.one_in(2) {
        Sender::Vouched
    } else if hook == Hook::Egress && rng.one_in(4) {
        Sender::Flooded
    } else if hook == Hook::Egress && world.config.is_strict() && rng.one_in(2) {
        Sender::Macvlan
    } else {
        Sender::Unknown
    }
}

/// One of the hooks that frames pass in `world`.
pub fn hook(rng: &mut Rng, world: &World) -> Hook {
    match rng.below(4) {
        0 => Hook::Xdp,
        1 => Hook::Egress,
        2 => Hook::Turned(rng.pick(&HAIRPINS)),
        _ if world.config.xdp_is_generic() => Hook::AfterXdp,
        _ => Hook::Ingress,
    }
}

/// A frame of [`SHORTEST`] bytes or more, often one that concerns somebody in `world`.
pub fn frame(rng: &mut Rng, world: &World) -> Vec<u8> {
    let (dst, src) = (random_mac(rng, world), random_mac(rng, world));
    let mut frame = Frame::new(dst, src);
    for _ in 0..rng.below(3) {
        frame = frame.tag(rng.pick(&[frames::VLAN, frames::SERVICE_VLAN]), rng.next() as u16);
    }
    let ethertypes = [frames::IPV4, frames::IPV6, frames::ARP, frames::EXPERIMENTAL, 38, rng.next() as u16];
    let len = if rng.one_in(10) { rng.below(ONE_BUFFER) } else { rng.below(100) };
    let mut payload = rng.bytes(len);
    if let Some(first) = payload.first_mut() {
        // Often enough a plausible packet: version and header length, TCP or UDP.
        *first = rng.pick(&[0x45, 0x46, 0x60, *first]);
    }
    for at in [6, 9] {
        if let Some(protocol) = payload.get_mut(at) {
            *protocol = rng.pick(&[6, 17, *protocol]);
        }
    }
    frame.payload(rng.pick(&ethertypes), &payload).padded(if rng.one_in(3) { SHORTEST } else { 60 })
}

/// Mostly one that somebody in `world` has.
pub fn random_mac(rng: &mut Rng, world: &World) -> Mac {
    let known = match rng.below(world.children.len() + 1) {
        0 => HOST,
        number => world.children[number - 1].mac,
    };
    match rng.below(13) {
        0 => Mac::BROADCAST,
        6 => cases::LLDP,
        1 => MULTICAST,
        2 => Mac::new([0; 6]),
        3 => cases::OUTSIDE,
        4 => Mac::from_key(rng.next()),
        5 => looks_like(known),
        _ => known,
    }
}

/// Another MAC with the same bit in the filter.
fn looks_like(mac: Mac) -> Mac {
    static FOUND: LazyLock<Mutex<HashMap<u64, u64>>> = LazyLock::new(Mutex::default);
    let key = mac.key();
    let mut found = FOUND.lock().or_fail("remember a collision");
    Mac::from_key(*found.entry(key).or_insert_with(|| {
        let wanted = filter::position(key);
        let mut others = (0..1_u64 << 40).map(|n| n << 8 | 0x02).filter(|other| *other != key);
        others.find(|other| filter::position(*other) == wanted).or_fail("find a collision")
    }))
}

/// Now and then a frame that stands for many.
pub fn offload(rng: &mut Rng) -> Offload {
    if rng.one_in(4) {
        Offload::Segments { count: 2 + rng.below(60) as u32, size: 1 + rng.below(1448) as u32 }
    } else {
        Offload::None
    }
}
