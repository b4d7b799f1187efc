//! A topology built of devices, and what is delivered in it.

use std::{
    collections::BTreeMap,
    net::Ipv4Addr,
    thread,
    time::{Duration, Instant},
};

use macvlan_common::mac::Mac;
use macvlan_tests::{
    frames::{self, ARP, EXPERIMENTAL, Marker, Party},
    lab::{Lab, Station},
    sniff::{Injector, Tap},
};

use crate::topology::{Member, Topology};

/// Somebody who sends or hears.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Who {
    /// The stack that owns the master.
    Host,
    /// Who is beyond the wire.
    Wire,
    /// A child, by number.
    Child(usize),
    /// The station beyond the wire with a child's MAC.
    Twin,
}

/// What is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum What {
    /// Unicast to a MAC: the child's and its twin's are one.
    To(Who),
    /// Unicast to a MAC that nobody has.
    ToNobody,
    /// A broadcast.
    ToAll,
    /// A request for the address of this number; its answers are counted, by who gives them.
    Asking(usize),
}

/// How often each frame came to each receiver.
pub type Delivered = BTreeMap<(Who, What, Who), usize>;

/// Nothing came for so long: nothing will.
const QUIET: Duration = Duration::from_millis(20);

/// A child that has been silent for so long is elsewhere when its MAC speaks beyond the wire.
const SILENCE: Duration = Duration::from_millis(1200);

const NOBODY: Mac = Mac::new([0x02, 0, 0, 0, 9, 9]);

/// The last byte of the address that is asked from, the first one's.
const ASKER: u8 = 200;

/// A lab in the shape of a topology.
pub struct Scene<'lab> {
    lab: &'lab Lab,
    /// The children, by number; a host's own is in the host's namespace.
    stations: Vec<Station>,
    twin: Station,
    now: Topology,
}

impl<'lab> Scene<'lab> {
    /// Builds it of a lab without children.
    #[track_caller]
    pub fn new(lab: &'lab Lab, topology: &Topology) -> Self {
        let stations: Vec<Station> = (0..topology.members.len())
            .map(|number| {
                let mut station = lab.newcomer(&format!("m{number}"));
                if topology.members[number].is_hosts {
                    station.ns = lab.host.ns.share();
                }
                station
            })
            .collect();
        let twin = lab.newcomer("twin");
        for (station, Member { mode, is_hosts, .. }) in stations.iter().zip(&topology.members) {
            let Station { ns, dev, mac, .. } = station;
            lab.host.ns.ip(&format!(
                "link add link eth0 name {dev} address {mac} type macvlan mode {}",
                mode.as_str()
            ));
            if !is_hosts {
                lab.host.ns.ip(&format!("link set {dev} netns {}", ns.path().display()));
            }
        }
        let down = topology.members.iter().map(|member| Member { is_up: false, ..*member }).collect();
        let now = Topology { members: down, twin: None, addresses: vec![usize::MAX; topology.members.len()] };
        let mut scene = Self { lab, stations, twin, now };
        scene.become_like(topology);
        scene
    }

    /// The MAC of a child, by number.
    pub fn mac(&self, number: usize) -> Mac {
        self.stations[number].mac
    }

    /// Makes the changes between the topology it is in and `next`.
    #[track_caller]
    pub fn become_like(&mut self, next: &Topology) {
        for (number, station) in self.stations.iter().enumerate() {
            let (was, is) = (self.now.members[number], next.members[number]);
            let Station { ns, dev, .. } = station;
            if was.mode != is.mode {
                ns.ip(&format!("link set {dev} type macvlan mode {}", is.mode.as_str()));
            }
            if was.is_up && !is.is_up {
                ns.ip(&format!("link set {dev} down"));
            }
            if self.now.addresses[number] != next.addresses[number] {
                ns.ip(&format!("addr flush dev {dev}"));
            }
        }
        if self.now.twin.map(|twin| twin.of) != next.twin.map(|twin| twin.of) {
            if self.now.twin.is_some() {
                self.twin.ns.ip("link del twin");
            }
            if let Some(twin) = next.twin {
                let mac = self.stations[twin.of].mac;
                self.twin.mac = mac;
                let wire = &self.lab.wire;
                wire.ns.ip_batch([
                    format!("link add link {} name twin address {mac} type macvlan mode bridge", wire.dev),
                    format!("link set twin netns {}", self.twin.ns.path().display()),
                ]);
                self.twin.ns.ip("link set twin up");
            }
        }
        for (number, station) in self.stations.iter().enumerate() {
            let (was, is) = (self.now.members[number], next.members[number]);
            let Station { ns, dev, .. } = station;
            if self.now.addresses[number] != next.addresses[number] {
                ns.ip(&format!("addr add {} dev {dev}", self.address(next.addresses[number], is.is_hosts)));
            }
            if !was.is_up && is.is_up {
                ns.ip(&format!("link set {dev} up"));
            }
        }
        self.now = next.clone();
    }

    /// An address on the network of all or, for a device beside the master, on one of its own: the kernel
    /// answers for it all the same, and has no second route to the network.
    fn address(&self, number: usize, is_hosts: bool) -> String {
        format!("{}/{}", address_of(number), if is_hosts { 32 } else { 24 })
    }

    /// Who has an address says so, as `arping -U` does; of child and twin, the one that is to be the last.
    #[track_caller]
    pub fn announce(&self) {
        for (number, station) in self.stations.iter().enumerate() {
            if self.now.members[number].is_up && !self.now.is_elsewhere(number) {
                let party = Party { mac: station.mac, address: address_of(self.now.addresses[number]) };
                let frame = frames::arp_request(party, party.address);
                Injector::new(&station.ns, &station.dev).send(&frame);
            }
        }
        if self.now.twin.is_some_and(|twin| twin.spoke_last) {
            thread::sleep(SILENCE);
            let frame = frames::marked(Mac::BROADCAST, self.twin.mac, Marker::new());
            Injector::new(&self.twin.ns, "twin").send(&frame);
        }
    }

    fn everybody(&self) -> Vec<(Who, &Station)> {
        let mut all = vec![(Who::Host, &self.lab.host), (Who::Wire, &self.lab.wire)];
        let up = self.stations.iter().enumerate().filter(|(number, _)| self.now.members[*number].is_up);
        all.extend(up.map(|(number, station)| (Who::Child(number), station)));
        all.extend(self.now.twin.map(|_| (Who::Twin, &self.twin)));
        all
    }

    /// Sends every kind of frame from everybody who may send it, and counts what comes where.
    ///
    /// A MAC on both sides stays where it is: neither its child nor its twin sends a broadcast, and a child
    /// that is elsewhere sends nothing.
    #[track_caller]
    pub fn measure(&self) -> Delivered {
        let everybody = self.everybody();
        let contested = self.now.twin.map(|twin| twin.of);
        let mut taps: Vec<(Who, Tap)> = everybody
            .iter()
            .map(|(who, at)| (*who, Tap::on_protocol(&at.ns, &at.dev, EXPERIMENTAL)))
            .collect();
        let mut sent: Vec<(Who, What, Marker)> = Vec::new();
        for (who, from) in &everybody {
            let is_contested = *who == Who::Twin || contested.is_some_and(|child| *who == Who::Child(child));
            if matches!(who, Who::Child(child) if self.now.is_elsewhere(*child)) {
                continue;
            }
            let injector = Injector::new(&from.ns, &from.dev);
            let mut send = |what, to| {
                let marker = Marker::new();
                injector.send(&frames::marked(to, from.mac, marker));
                sent.push((*who, what, marker));
            };
            let others = [(Who::Host, &self.lab.host), (Who::Wire, &self.lab.wire)].into_iter();
            let children = (0..).map(Who::Child).zip(&self.stations);
            for (to, station) in others.chain(children).filter(|(_, to)| to.mac != from.mac) {
                send(What::To(to), station.mac);
            }
            send(What::ToNobody, NOBODY);
            if !is_contested {
                send(What::ToAll, Mac::BROADCAST);
            }
        }
        settle(&mut taps);
        let mut delivered = Delivered::new();
        for (who, what, marker) in sent {
            for (receiver, tap) in &mut taps {
                delivered.insert((who, what, *receiver), tap.received(marker));
            }
        }
        if contested.is_none() {
            self.ask(&everybody, &mut delivered);
        }
        delivered
    }

    /// Everybody asks for every address; who answers is told by the MAC in the answer.
    fn ask(&self, everybody: &[(Who, &Station)], delivered: &mut Delivered) {
        let mut taps: Vec<(Who, Tap)> =
            everybody.iter().map(|(who, at)| (*who, Tap::on_protocol(&at.ns, &at.dev, ARP))).collect();
        for (place, (who, from)) in (0_u8..).zip(everybody) {
            if matches!(who, Who::Child(child) if self.now.members[*child].is_hosts) {
                continue;
            }
            let asker = Party { mac: from.mac, address: Ipv4Addr::new(10, 9, 0, ASKER + place) };
            let injector = Injector::new(&from.ns, &from.dev);
            (0..self.stations.len())
                .for_each(|number| injector.send(&frames::arp_request(asker, address_of(number))));
        }
        settle(&mut taps);
        for (place, (who, tap)) in (0_u8..).zip(&mut taps) {
            for number in 0..self.stations.len() {
                for (other, station) in everybody {
                    let answers = tap
                        .seen()
                        .iter()
                        .filter(|seen| is_answer(&seen.data, address_of(number), station.mac, ASKER + place));
                    delivered.insert((*who, What::Asking(number), *other), answers.count());
                }
            }
        }
    }

    /// The topology it is in.
    pub const fn now(&self) -> &Topology {
        &self.now
    }
}

fn address_of(number: usize) -> Ipv4Addr {
    Ipv4Addr::new(10, 9, 0, 100 + number as u8)
}

/// Whether this frame says that `mac` has `address`, to the asker with this last byte.
fn is_answer(frame: &[u8], address: Ipv4Addr, mac: Mac, asker: u8) -> bool {
    const REPLY: [u8; 2] = [0, 2];
    frame.len() >= 42
        && frame[20..22] == REPLY
        && frame[22..28] == mac.octets()
        && frame[28..32] == address.octets()
        && frame[41] == asker
}

/// Waits until nothing more comes.
fn settle(taps: &mut [(Who, Tap)]) {
    let (mut before, mut since) = (0, Instant::now());
    while since.elapsed() < QUIET {
        let now: usize = taps.iter_mut().map(|(_, tap)| tap.seen().len()).sum();
        if now != before {
            (before, since) = (now, Instant::now());
        }
        thread::sleep(Duration::from_millis(1));
    }
}
