//! What the programs make of a frame, written anew from the meaning of the tables: the verdict, and
//! what lies behind the MACs. Pure, so that a million frames can be asked for.

use std::collections::BTreeMap;

use macvlan_common::{
    cases::World,
    config::Config,
    counters::{DropReason, Path},
    decide::Tables as _,
    frame::{Frame, Hook},
    inspect::cases::MemoryPacket,
    l3::{self, ARP_LEN, Address, ND_LEN, Neighbours},
    limit::Pace,
    mac::{Mac, is_group},
    neigh::{Claim, Owner, Speaker, judge_claim, place, takes_from_wire},
    tag::{Hairpin, Sender},
    verdict::{Action, Fate, Verdict},
};
use macvlan_tests::frames::{ARP, ETH_HLEN, IPV6};

use crate::bench::judge;

/// A pace at which no bucket fills up again while a test runs: a frame in 18 minutes.
const SETTLED: u64 = 1 << 40;

/// A pace that lets so many frames through each bucket, and then none.
pub const fn settled_pace(frames: u64) -> Pace {
    // Half an interval of play: the clock moves on meanwhile.
    Pace { interval: SETTLED, ahead: frames.saturating_sub(1) * SETTLED + SETTLED / 2 }
}

/// What is left of a frame when a hook is done with it.
#[derive(Debug, Clone, Copy)]
pub struct Outcome {
    /// Who is charged, and what happens.
    pub verdict: Verdict<usize>,
    /// The child that a directed request is charged to besides.
    pub directed: Option<(usize, Path)>,
    /// Destination that the frame, or its copy, has afterwards, if it gets another one.
    pub destination: Option<Mac>,
    /// As what the frame itself, or a copy of it, comes back up.
    pub hairpin: Option<Hairpin>,
    /// Whether the frame itself goes on, and a copy comes back up.
    pub is_copied: bool,
}

/// Worlds with what they know of addresses and how much of each bucket is left.
#[derive(Debug, Clone)]
pub struct Model {
    /// Settings and children.
    pub world: World,
    /// Who has which address.
    pub owners: BTreeMap<Address, Owner>,
    /// What senders may have taught.
    pub places: BTreeMap<u64, Address>,
    /// Frames that each bucket still lets through: the wire's, then the children's. `None` is no limit.
    pub allowances: Option<Vec<u64>>,
    /// Nanoseconds of `CLOCK_MONOTONIC` by which owners are judged.
    pub now: u64,
}

impl Model {
    /// Judges a frame at a hook, and learns from it.
    pub fn judge(&mut self, (hook, sender): (Hook, Sender), bytes: &[u8]) -> Outcome {
        let frame = Frame { dst: key(&bytes[..6]), src: key(&bytes[6..12]), sender };
        // Nobody has an address of his own: who is held to his may send none.
        let verdict = judge(hook, frame, &self.world, &MemoryPacket { frame: bytes, own: &[] });
        if matches!(verdict.action.drop_reason(), Some(DropReason::RaGuard | DropReason::DhcpGuard)) {
            return Outcome::of(verdict);
        }
        let sender = if hook == Hook::Egress { verdict.tx } else { None };
        if verdict.may_be_storm() && self.is_too_much(sender) {
            return Outcome::of(Verdict::storm(sender));
        }
        let mut outcome = Outcome::of(verdict);
        let directs = self.world.config.directs();
        match hook {
            Hook::Ingress | Hook::AfterXdp if directs && verdict.action == Action::Pass => {
                self.direct_from_wire(frame, bytes, &mut outcome);
            }
            Hook::Egress if directs => {
                if verdict.action.drop_reason().is_none() {
                    self.hear(frame, bytes);
                }
                // Only what the host itself asks: a child's request is no business of the hairpin.
                if verdict.action == Action::CopyToChildren && frame.src == self.world.config.master {
                    self.direct_from_host(bytes, &mut outcome);
                }
            }
            _ => {}
        }
        if let Some(Hairpin::BroadcastToHost | Hairpin::MulticastToHost) = outcome.hairpin {
            outcome.destination = Some(Mac::from_key(self.world.config.master));
        }
        outcome
    }

    fn is_too_much(&mut self, sender: Option<usize>) -> bool {
        let guarded = self.world.config.flags & Config::STORM_GUARD != 0;
        let Some(allowances) = self.allowances.as_mut().filter(|_| guarded) else { return false };
        let left = &mut allowances[sender.map_or(0, |child| child + 1)];
        if *left == 0 {
            return true;
        }
        *left -= 1;
        false
    }

    fn direct_from_wire(&self, frame: Frame, bytes: &[u8], outcome: &mut Outcome) {
        let world = &self.world;
        let is_local = frame.src == world.config.master || world.may_be_child(frame.src);
        if !is_group(frame.dst) || is_local {
            return;
        }
        let Some((mac, _)) = self.owner_of_asked(bytes) else { return };
        if mac == world.config.master {
            outcome.destination = Some(Mac::from_key(mac));
        } else if let Some(child) = world.child(mac)
            && takes_from_wire(world.policy(child))
        {
            outcome.destination = Some(Mac::from_key(mac));
            outcome.directed = Some((child, Path::Wire));
        }
    }

    fn direct_from_host(&self, bytes: &[u8], outcome: &mut Outcome) {
        let Some((mac, is_certain)) = self.owner_of_asked(bytes) else { return };
        let Some(child) = self.world.child(mac).filter(|child| self.world.policy(*child).reaches_host())
        else {
            return;
        };
        outcome.destination = Some(Mac::from_key(mac));
        outcome.directed = Some((child, Path::Host));
        outcome.hairpin = Some(Hairpin::Unicast);
        outcome.is_copied = !is_certain;
    }

    /// Key of the MAC that has the address asked for, and whether netlink says so.
    fn owner_of_asked(&self, bytes: &[u8]) -> Option<(u64, bool)> {
        let owner = self.owners.get(&read(bytes).asked)?;
        let mac = owner.mac_at(self.now);
        (mac != 0).then_some((mac, owner.source == Owner::NETLINK))
    }

    fn hear(&mut self, frame: Frame, bytes: &[u8]) {
        let may_tell = match ethertype(bytes) {
            ARP => true,
            IPV6 => is_group(frame.dst),
            _ => false,
        };
        let said = read(bytes);
        if !may_tell || (said.hardware != 0 && said.hardware != frame.src) {
            return;
        }
        let speaker = if frame.src == self.world.config.master {
            Speaker::Host
        } else if self.world.child(frame.src).is_some() {
            Speaker::Child
        } else {
            Speaker::Stranger
        };
        let is_contester = speaker == Speaker::Stranger && said.is_probe;
        let address = if is_contester { said.asked } else { said.claimed };
        if !address.is_some() {
            return;
        }
        let held = self.owners.get_mut(&address);
        match (judge_claim(speaker, frame.src, held.as_deref(), self.now), held) {
            (Claim::Refresh, Some(held)) => held.seen = self.now,
            (Claim::Contest, Some(held)) => (held.mac, held.seen) = (0, self.now),
            (Claim::Take, _) => self.take(frame.src, address),
            _ => {}
        }
    }

    fn take(&mut self, mac: u64, address: Address) {
        let place = place(mac, address);
        if let Some(before) = self.places.get(&place).filter(|before| **before != address)
            && let Some(owner) = self.owners.get(before)
        {
            if owner.mac_at(self.now) == mac {
                return;
            }
            if owner.is_stale(self.now) && owner.source == Owner::LEARNT {
                self.owners.remove(before);
            }
        }
        self.places.insert(place, address);
        self.owners.insert(address, Owner { mac, seen: self.now, source: Owner::LEARNT });
    }
}

impl Outcome {
    fn of(verdict: Verdict<usize>) -> Self {
        let hairpin = verdict.action.hairpin();
        let is_copied = verdict.action.fate() == Fate::Copy;
        Self { verdict, directed: None, destination: None, hairpin, is_copied }
    }
}

fn ethertype(bytes: &[u8]) -> u16 {
    u16::from_be_bytes([bytes[12], bytes[13]])
}

/// What an untagged frame says of neighbours.
fn read(bytes: &[u8]) -> Neighbours {
    let packet = &bytes[ETH_HLEN..];
    match ethertype(bytes) {
        ARP => packet.first_chunk::<ARP_LEN>().map(l3::read_arp),
        IPV6 => packet.first_chunk::<ND_LEN>().map(|bytes| {
            let mut words = [0; ND_LEN / 4];
            for (word, four) in words.iter_mut().zip(bytes.chunks_exact(4)) {
                *word = u32::from_ne_bytes([four[0], four[1], four[2], four[3]]);
            }
            l3::read_nd(&words)
        }),
        _ => None,
    }
    .unwrap_or_default()
}

/// The key of a MAC in a frame.
pub fn key(bytes: &[u8]) -> u64 {
    bytes.iter().rev().fold(0, |key, byte| key << 8 | u64::from(*byte))
}
