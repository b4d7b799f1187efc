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
    l3::{self, ARP_LEN, Address, ND_LEN, Neighbours, Word},
    limit::Pace,
    mac::{Mac, is_group},
    neigh::{
        Claim, Owner, Place, Speaker, TRIES, judge_claim, judge_place, judge_request, place, takes_from_wire,
    },
    tag::{Hairpin, Sender},
    verdict::{Action, Fate, Verdict},
};
use macvlan_tests::frames::{ARP, ETH_HLEN, IPV6};

use crate::bench::{frame_at, judge};

/// A pace at which no bucket fills up again while a test runs: a frame in 18 minutes.
const SETTLED: u64 = 1 << 40;

/// A pace that lets so many frames through each bucket, and then none.
pub const fn settled_pace(frames: u64) -> Pace {
    // Half an interval of play: the clock moves on meanwhile.
    Pace { interval: SETTLED, ahead: frames.saturating_sub(1) * SETTLED + SETTLED / 2 }
}

/// What is left of a frame when a hook is done with it.
#[derive(Debug, Clone, Copy)]
pub struct FrameResult {
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
    pub fn judge(&mut self, (hook, sender): (Hook, Sender), bytes: &[u8]) -> FrameResult {
        let frame = frame_at(hook, sender, bytes);
        // Nobody has an address of his own: who is held to his may send none.
        let verdict = judge(hook, frame, &mut self.world, &MemoryPacket { frame: bytes, own: &[] });
        if matches!(verdict.action.drop_reason(), Some(DropReason::RaGuard | DropReason::DhcpGuard)) {
            return FrameResult::of(verdict);
        }
        if verdict.action == Action::End {
            return FrameResult::of(verdict);
        }
        let sender = if hook == Hook::Egress { verdict.tx } else { None };
        if verdict.may_be_storm() && self.is_too_much(sender) {
            return FrameResult::of(Verdict::storm(sender));
        }
        let mut outcome = FrameResult::of(verdict);
        let directs = self.world.config.directs();
        match hook {
            Hook::Ingress | Hook::AfterXdp if directs && verdict.action == Action::Pass => {
                self.direct_from_wire(frame, bytes, &mut outcome);
            }
            Hook::Egress if directs => {
                let is_dropped = verdict.action.drop_reason().is_some();
                if !is_dropped && self.hear(frame, bytes) {
                    outcome.keep_from_host(frame.dst == self.world.config.master);
                // Only what the host itself asks: a child's request is no business of the hairpin.
                } else if verdict.action == Action::CopyToChildren && frame.src == self.world.config.master {
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

    fn direct_from_wire(&mut self, frame: Frame, bytes: &[u8], outcome: &mut FrameResult) {
        let is_local = frame.src == self.world.config.master || self.world.may_be_child(frame.src);
        if !is_group(frame.dst) || is_local {
            return;
        }
        let said = read(bytes);
        if !said.asked.is_some() && said.word == Word::Announced {
            let mac = if said.hardware == 0 { frame.src } else { said.hardware };
            self.learn(Speaker::Wire, &said, mac, said.claimed);
        }
        let Some(mac) = self.owner_of(&said) else { return };
        let world = &self.world;
        if mac == world.config.master {
            outcome.destination = Some(Mac::from_key(mac));
        } else if let Some(child) = world.child(mac)
            && takes_from_wire(world.policy(child))
        {
            outcome.destination = Some(Mac::from_key(mac));
            outcome.directed = Some((child, Path::Wire));
        }
    }

    fn direct_from_host(&mut self, bytes: &[u8], outcome: &mut FrameResult) {
        let said = read(bytes);
        if self.owners.get(&said.asked).is_some_and(Owner::is_for_wire) {
            (outcome.hairpin, outcome.is_copied) = (None, false);
            return;
        }
        let Some(mac) = self.owner_of(&said) else { return };
        let Some(child) = self.world.child(mac).filter(|child| self.world.policy(*child).reaches_host())
        else {
            return;
        };
        outcome.destination = Some(Mac::from_key(mac));
        outcome.directed = Some((child, Path::Host));
        outcome.hairpin = Some(Hairpin::Unicast);
    }

    /// Key of the MAC that a request goes to alone.
    fn owner_of(&mut self, said: &Neighbours) -> Option<u64> {
        let owner = self.owners.get_mut(&said.asked)?;
        let request = judge_request(owner, said.word, self.now);
        if let Some(counted) = request.counted {
            (owner.asked, owner.asks) = counted;
        }
        request.is_directed.then_some(owner.mac)
    }

    /// Learns from a frame; tells whether it claims the address of a gateway of the host's.
    fn hear(&mut self, frame: Frame, bytes: &[u8]) -> bool {
        const ICMPV6: u8 = 58;
        let may_tell = match ethertype(bytes) {
            ARP => true,
            IPV6 => is_group(frame.dst) || bytes.get(ETH_HLEN + 6) == Some(&ICMPV6),
            _ => false,
        };
        let said = read(bytes);
        if !may_tell {
            return false;
        }
        let speaker = if frame.src == self.world.config.master {
            Speaker::Host
        } else if self.world.child(frame.src).is_some() {
            Speaker::Child
        } else {
            Speaker::Stranger
        };
        let address = if said.word == Word::Probe { said.asked } else { said.claimed };
        let is_gateways = self.owners.get(&address).is_some_and(|owner| owner.kind == Owner::GATEWAY);
        if said.hardware == 0 || said.hardware == frame.src {
            self.learn(speaker, &said, frame.src, address);
        }
        is_gateways && speaker != Speaker::Host && said.word != Word::Probe
    }

    fn learn(&mut self, speaker: Speaker, said: &Neighbours, mac: u64, address: Address) {
        // A frame without a source has nothing to say either.
        if !address.is_some() || mac == 0 {
            return;
        }
        let kind = if said.word == Word::Announced { Owner::CLAIM } else { Owner::BARE };
        let held = self.owners.get_mut(&address);
        match (judge_claim(speaker, said.word, mac, held.as_deref(), self.now), held) {
            (Claim::Refresh, Some(held)) => (held.seen, held.kind) = (self.now, held.kind.max(kind)),
            (Claim::Contest, Some(held)) => held.contested = self.now,
            (Claim::Take, _) => self.take(mac, address, kind),
            _ => {}
        }
    }

    fn take(&mut self, mac: u64, address: Address, kind: u64) {
        for place in (0..TRIES).map(|attempt| place(mac, address, attempt)) {
            if let Some(before) = self.places.get(&place).filter(|before| **before != address) {
                match judge_place(self.owners.get(before), mac, kind, self.now) {
                    Place::Keep => continue,
                    Place::Use => {}
                    Place::Evict => drop(self.owners.remove(before)),
                }
            }
            self.places.insert(place, address);
            self.owners.insert(address, Owner { mac, seen: self.now, kind, ..Owner::default() });
            return;
        }
    }
}

impl FrameResult {
    fn of(verdict: Verdict<usize>) -> Self {
        let hairpin = verdict.action.hairpin();
        let is_copied = verdict.action.fate() == Fate::Copy;
        Self { verdict, directed: None, destination: None, hairpin, is_copied }
    }

    /// The host does not get the frame, everybody else does.
    fn keep_from_host(&mut self, is_for_host: bool) {
        (self.hairpin, self.is_copied) = match self.verdict.action {
            Action::Turn if !is_for_host => (self.hairpin, self.is_copied),
            Action::CopyToAll | Action::CopyToChildren => (Some(Hairpin::Flood), true),
            _ => (None, false),
        };
    }
}

fn ethertype(bytes: &[u8]) -> u16 {
    u16::from_be_bytes([bytes[12], bytes[13]])
}

/// Whether a frame says anything of neighbours, so that the time decides what comes of it.
pub fn is_of_neighbours(bytes: &[u8]) -> bool {
    read(bytes) != Neighbours::default()
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
