//! The rows.

use super::{Case, Fate, Memory, Taught, Way};
use crate::{counters::DropReason, l3::Address, mac::Mac, single_mac::Holder, single_mac::Whose};

/// The master.
pub const MASTER: Mac = Mac::new([2, 0, 0, 0, 0, 1]);
/// A child.
pub const CHILD: Mac = Mac::new([2, 0, 0, 0, 0, 0x11]);
/// Another one.
pub const OTHER: Mac = Mac::new([2, 0, 0, 0, 0, 0x12]);
/// A station on the wire.
pub const PEER: Mac = Mac::new([2, 0, 0, 0, 0, 0x99]);
/// Nobody that is known here.
const STRANGER: Mac = Mac::new([2, 0, 0, 0, 0, 0x55]);

/// The child's address.
pub const CHILD4: [u8; 4] = [10, 9, 0, 11];
/// The host's.
pub const HOST4: [u8; 4] = [10, 9, 0, 2];
/// The station's.
pub const PEER4: [u8; 4] = [10, 9, 0, 1];
const NEW4: [u8; 4] = [10, 9, 0, 77];
const ALL4: [u8; 4] = [10, 9, 0, 255];
/// The child's of IPv6.
pub const CHILD6: [u8; 16] = [0xfd, 9, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 11];
/// The host's.
pub const HOST6: [u8; 16] = [0xfd, 9, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2];
/// The station's.
pub const PEER6: [u8; 16] = [0xfd, 9, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1];
const NEW6: [u8; 16] = [0xfd, 9, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xab, 0xcd, 0xef, 0x77];
const ALL_NODES: [u8; 16] = [0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1];
const NONE6: [u8; 16] = [0; 16];

/// VLAN 5 as frames' are numbered, and VLAN 5 in VLAN 100.
const VLAN5: u32 = 6;
const VLAN100_5: u32 = 101 << 13 | 6;

impl Memory {
    /// The world of the cases.
    pub fn of_cases(frame: Vec<u8>) -> Self {
        let mut memory = Self { frame, children: vec![CHILD.key(), OTHER.key()], ..Self::default() };
        for vlan in [0, VLAN5, VLAN100_5] {
            memory.holders.insert((vlan, Address::v4(CHILD4)), Whose(CHILD.key()));
        }
        memory.holders.insert((0, Address::v6(CHILD6)), Whose(CHILD.key()));
        memory.holders.insert((0, Address::v4(HOST4)), Whose::HOST);
        memory.holders.insert((0, Address::v6(HOST6)), Whose::HOST);
        memory.holders.insert((0, Address::v4(ALL4)), Whose::ALL);
        memory.probers.insert((0, Address::v4(NEW4)), CHILD.key());
        memory
    }
}

fn eth(dst: Mac, src: Mac, behind: &[u8]) -> Vec<u8> {
    [&dst.octets()[..], &src.octets(), behind].concat()
}

fn typed(kind: u16, packet: &[u8]) -> Vec<u8> {
    [&kind.to_be_bytes()[..], packet].concat()
}

fn tagged(kind: u16, vlan: u16, behind: &[u8]) -> Vec<u8> {
    [&kind.to_be_bytes()[..], &vlan.to_be_bytes(), behind].concat()
}

fn arp(operation: u16, sender: (Mac, [u8; 4]), target: (Mac, [u8; 4])) -> Vec<u8> {
    let packet = [
        &[0, 1, 8, 0, 6, 4][..],
        &operation.to_be_bytes(),
        &sender.0.octets(),
        &sender.1,
        &target.0.octets(),
        &target.1,
    ]
    .concat();
    typed(0x0806, &packet)
}

fn ipv4(source: [u8; 4], target: [u8; 4], protocol: u8, payload: &[u8]) -> Vec<u8> {
    fragment4(source, target, protocol, 0, payload)
}

fn fragment4(source: [u8; 4], target: [u8; 4], protocol: u8, fragment: u16, payload: &[u8]) -> Vec<u8> {
    let len = (20 + payload.len()) as u16;
    let [f0, f1] = fragment.to_be_bytes();
    let head = [&[0x45, 0][..], &len.to_be_bytes(), &[0, 0, f0, f1, 64, protocol, 0, 0], &source, &target];
    typed(0x0800, &[&head.concat()[..], payload].concat())
}

fn ipv6(source: [u8; 16], target: [u8; 16], next: u8, payload: &[u8]) -> Vec<u8> {
    let len = (payload.len() as u16).to_be_bytes();
    let head = [&[0x60, 0, 0, 0][..], &len, &[next, 255], &source, &target].concat();
    typed(0x86dd, &[&head[..], payload].concat())
}

fn sum(parts: &[&[u8]]) -> [u8; 2] {
    let mut bytes = parts.concat();
    if bytes.len() % 2 == 1 {
        bytes.push(0);
    }
    let mut sum: u32 =
        bytes.chunks_exact(2).map(|pair| u32::from(u16::from_be_bytes([pair[0], pair[1]]))).sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    (!(sum as u16)).to_be_bytes()
}

/// UDP in IPv4, with its checksum.
fn udp4(source: [u8; 4], target: [u8; 4], ports: (u16, u16), payload: &[u8]) -> Vec<u8> {
    let len = ((8 + payload.len()) as u16).to_be_bytes();
    let mut datagram = [&ports.0.to_be_bytes()[..], &ports.1.to_be_bytes(), &len, &[0, 0], payload].concat();
    let sum = sum(&[&source, &target, &[0, 17], &len, &datagram]);
    datagram[6..8].copy_from_slice(&sum);
    ipv4(source, target, 17, &datagram)
}

/// ICMPv6 with its checksum, behind these extension headers.
fn icmp6(source: [u8; 16], target: [u8; 16], message: &[u8], before: &[u8]) -> Vec<u8> {
    let mut message = message.to_vec();
    let sum = sum(&[&source, &target, &(message.len() as u32).to_be_bytes(), &[0, 0, 0, 58], &message]);
    message[2..4].copy_from_slice(&sum);
    let next = if before.is_empty() { 58 } else { 0 };
    ipv6(source, target, next, &[before, &message].concat())
}

fn option(kind: u8, mac: Mac) -> Vec<u8> {
    [&[kind, 1][..], &mac.octets()].concat()
}

fn nd(kind: u8, flags: u8, target: [u8; 16], options: &[Vec<u8>]) -> Vec<u8> {
    [&[kind, 0, 0, 0, flags, 0, 0, 0][..], &target, &options.concat()].concat()
}

/// A BOOTP message of a client (1) or server (2), with DHCP's options.
fn dhcp(operation: u8, flags: u16, given: [u8; 4], client: Mac, relay: [u8; 4], options: &[u8]) -> Vec<u8> {
    let mut message = vec![operation, 1, 6, 0, 1, 2, 3, 4, 0, 0];
    message.extend(flags.to_be_bytes());
    message.extend([0; 4]);
    message.extend(given);
    message.extend([0; 4]);
    message.extend(relay);
    message.extend(client.octets());
    message.resize(236, 0);
    message.extend([99, 130, 83, 99]);
    message.extend(options);
    message
}

fn frame(bytes: Vec<u8>) -> Fate {
    Fate::Frame(bytes)
}

/// A child's frame that leaves, rewritten to `after`.
fn out(name: &'static str, before: Vec<u8>, after: Vec<u8>, taught: &[Taught]) -> Case {
    Case {
        name,
        way: Way::Out,
        frame: eth(PEER, CHILD, &before),
        fate: frame(eth(PEER, MASTER, &after)),
        taught: taught.to_vec(),
    }
}

fn dropped(name: &'static str, way: Way, frame: Vec<u8>, reason: DropReason) -> Case {
    Case { name, way, frame, fate: Fate::Drop(reason), taught: Vec::new() }
}

/// A frame from the wire to the one MAC, that comes to `to` as `after`.
fn given(name: &'static str, before: &[u8], to: Mac, after: &[u8]) -> Case {
    Case {
        name,
        way: Way::In,
        frame: eth(MASTER, PEER, before),
        fate: frame(eth(to, PEER, after)),
        taught: Vec::new(),
    }
}

fn kept(name: &'static str, before: &[u8], to: Mac) -> Case {
    given(name, before, to, before)
}

const ZERO: Mac = Mac::new([0; 6]);

/// Every row.
pub fn cases() -> Vec<Case> {
    [going_out(), dhcp_out(), discovery_out(), not_going_out(), coming_in(), dhcp_in()].concat()
}

fn child4(kind: u64) -> Taught {
    (0, Address::v4(CHILD4), CHILD.key(), kind)
}

fn child6(kind: u64) -> Taught {
    (0, Address::v6(CHILD6), CHILD.key(), kind)
}

fn going_out() -> Vec<Case> {
    let (own, masters) = ((CHILD, CHILD4), (MASTER, CHILD4));
    let question = |who| arp(1, who, (ZERO, PEER4));
    let echo = ipv4(CHILD4, PEER4, 1, &[8, 0, 0, 0, 0, 0, 0, 0]);
    let echo6 = icmp6(CHILD6, PEER6, &[128, 0, 0, 0, 0, 0, 0, 0], &[]);
    let in_vlan = |vlan| vec![(vlan, Address::v4(CHILD4), CHILD.key(), Holder::BARE)];
    vec![
        out("ARP question", question(own), question(masters), &[child4(Holder::BARE)]),
        out(
            "ARP answer",
            arp(2, own, (PEER, PEER4)),
            arp(2, masters, (PEER, PEER4)),
            &[child4(Holder::CLAIM)],
        ),
        out(
            "gratuitous ARP",
            arp(1, own, (ZERO, CHILD4)),
            arp(1, masters, (ZERO, CHILD4)),
            &[child4(Holder::CLAIM)],
        ),
        out(
            "gratuitous ARP that names itself as target too",
            arp(2, own, own),
            arp(2, masters, masters),
            &[child4(Holder::CLAIM)],
        ),
        out("ARP probe", arp(1, (CHILD, [0; 4]), (ZERO, NEW4)), arp(1, (MASTER, [0; 4]), (ZERO, NEW4)), &[]),
        out(
            "ARP under another one's MAC",
            arp(2, (STRANGER, CHILD4), (OTHER, PEER4)),
            arp(2, (MASTER, CHILD4), (MASTER, PEER4)),
            &[child4(Holder::CLAIM)],
        ),
        out("IPv4", echo.clone(), echo.clone(), &[child4(Holder::BARE)]),
        out(
            "a later fragment",
            fragment4(CHILD4, PEER4, 17, 0x00b9, &[0, 68, 0, 67, 0, 0, 0, 0]),
            fragment4(CHILD4, PEER4, 17, 0x00b9, &[0, 68, 0, 67, 0, 0, 0, 0]),
            &[child4(Holder::BARE)],
        ),
        out("IPv4 from no address", ipv4([0; 4], PEER4, 2, &[0; 8]), ipv4([0; 4], PEER4, 2, &[0; 8]), &[]),
        out("IPv4 that is cut short", typed(0x0800, &[0x45; 10]), typed(0x0800, &[0x45; 10]), &[]),
        out("IPv6", echo6.clone(), echo6, &[child6(Holder::BARE)]),
        out("behind a VLAN tag", tagged(0x8100, 5, &echo), tagged(0x8100, 5, &echo), &in_vlan(VLAN5)),
        out(
            "behind a priority tag",
            tagged(0x8100, 0xe000, &echo),
            tagged(0x8100, 0xe000, &echo),
            &in_vlan(0),
        ),
        out(
            "behind two tags",
            tagged(0x88a8, 100, &tagged(0x8100, 5, &echo)),
            tagged(0x88a8, 100, &tagged(0x8100, 5, &echo)),
            &in_vlan(VLAN100_5),
        ),
        out(
            "ARP behind a VLAN tag",
            tagged(0x8100, 5, &question(own)),
            tagged(0x8100, 5, &question(masters)),
            &in_vlan(VLAN5),
        ),
        Case {
            name: "the host's own",
            way: Way::Out,
            frame: eth(PEER, MASTER, &typed(0x88cc, &[2; 46])),
            fate: frame(eth(PEER, MASTER, &typed(0x88cc, &[2; 46]))),
            taught: Vec::new(),
        },
    ]
}

fn dhcp_out() -> Vec<Case> {
    let ask = |flags, relay| {
        udp4([0; 4], [255; 4], (68, 67), &dhcp(1, flags, [0; 4], CHILD, relay, &[53, 1, 1, 255]))
    };
    let renew =
        |flags| udp4(CHILD4, PEER4, (68, 67), &dhcp(1, flags, [0; 4], CHILD, [0; 4], &[53, 1, 3, 255]));
    let unsummed = |flags| {
        let mut packet = ask(flags, [0; 4]);
        packet[28..30].copy_from_slice(&[0, 0]);
        packet
    };
    vec![
        out("DHCP request", ask(0, [0; 4]), ask(0x8000, [0; 4]), &[]),
        out("DHCP request that asks for broadcasts", ask(0x8000, [0; 4]), ask(0x8000, [0; 4]), &[]),
        out("DHCP request without a checksum", unsummed(0), unsummed(0x8000), &[]),
        out("DHCP request of a relay", ask(0, [10, 9, 0, 9]), ask(0, [10, 9, 0, 9]), &[]),
        out("DHCP renewal", renew(0), renew(0x8000), &[child4(Holder::BARE)]),
        out(
            "what a DHCP server of a child says",
            udp4(CHILD4, [255; 4], (67, 68), &dhcp(2, 0, NEW4, PEER, [0; 4], &[53, 1, 2, 255])),
            udp4(CHILD4, [255; 4], (67, 68), &dhcp(2, 0, NEW4, PEER, [0; 4], &[53, 1, 2, 255])),
            &[child4(Holder::BARE)],
        ),
    ]
}

fn discovery_out() -> Vec<Case> {
    let hop_by_hop = [58, 0, 5, 2, 0, 0, 1, 0];
    let two = [&[0, 0, 5, 2, 0, 0, 1, 0][..], &hop_by_hop].concat();
    let message = |mac| icmp6(CHILD6, PEER6, &nd(135, 0, PEER6, &[option(1, mac)]), &[]);
    let behind = |mac, before: &[u8]| icmp6(CHILD6, PEER6, &nd(135, 0, PEER6, &[option(1, mac)]), before);
    let advertises = |mac, flags| icmp6(CHILD6, ALL_NODES, &nd(136, flags, CHILD6, &[option(2, mac)]), &[]);
    let solicits =
        |mac| icmp6(CHILD6, ALL_NODES, &[&[133, 0, 0, 0, 0, 0, 0, 0][..], &option(1, mac)].concat(), &[]);
    let routes = |mac| {
        let mtu = [5, 1, 0, 0, 0, 0, 5, 220];
        icmp6(CHILD6, ALL_NODES, &[&[134; 1][..], &[0; 15], &mtu, &option(1, mac)].concat(), &[])
    };
    let redirects =
        |mac| icmp6(CHILD6, PEER6, &[&[137; 1][..], &[0; 7], &CHILD6, &PEER6, &option(2, mac)].concat(), &[]);
    let probe = || icmp6(NONE6, ALL_NODES, &nd(135, 0, CHILD6, &[vec![14, 1, 1, 2, 3, 4, 5, 6]]), &[]);
    vec![
        out("neighbour solicitation", message(CHILD), message(MASTER), &[child6(Holder::BARE)]),
        out(
            "neighbour solicitation behind hop-by-hop options",
            behind(CHILD, &hop_by_hop),
            behind(MASTER, &hop_by_hop),
            &[child6(Holder::BARE)],
        ),
        out(
            "neighbour solicitation behind two headers",
            behind(CHILD, &two),
            behind(MASTER, &two),
            &[child6(Holder::BARE)],
        ),
        out("probe for duplicates", probe(), probe(), &[]),
        out(
            "neighbour advertisement",
            advertises(CHILD, 0x60),
            advertises(MASTER, 0x60),
            &[child6(Holder::BARE), child6(Holder::CLAIM)],
        ),
        out(
            "neighbour advertisement that does not override",
            advertises(CHILD, 0x40),
            advertises(MASTER, 0x40),
            &[child6(Holder::BARE), child6(Holder::BARE)],
        ),
        out("router solicitation", solicits(CHILD), solicits(MASTER), &[child6(Holder::BARE)]),
        out("router advertisement", routes(CHILD), routes(MASTER), &[child6(Holder::BARE)]),
        out("redirect to a sibling", redirects(OTHER), redirects(MASTER), &[child6(Holder::BARE)]),
        out("redirect to the wire", redirects(PEER), redirects(PEER), &[child6(Holder::BARE)]),
    ]
}

fn not_going_out() -> Vec<Case> {
    let echo = ipv4(CHILD4, PEER4, 1, &[8, 0, 0, 0]);
    let many: Vec<Vec<u8>> = vec![vec![5, 1, 0, 0, 0, 0, 0, 0]; 17];
    let empty = vec![vec![9, 0, 0, 0, 0, 0, 0, 0]];
    let discovery = |options: &[Vec<u8>]| icmp6(NONE6, ALL_NODES, &nd(135, 0, CHILD6, options), &[]);
    let deep = [0_u8, 0, 0, 0, 0, 0, 0, 0].repeat(5);
    let foreign =
        |name, packet: Vec<u8>| dropped(name, Way::Out, eth(PEER, CHILD, &packet), DropReason::Foreign);
    vec![
        dropped("a stranger's", Way::Out, eth(PEER, STRANGER, &echo), DropReason::Stranger),
        dropped("to the host", Way::Out, eth(MASTER, CHILD, &echo), DropReason::Isolated),
        dropped("to a sibling", Way::Out, eth(OTHER, CHILD, &echo), DropReason::Isolated),
        foreign("LLDP", typed(0x88cc, &[2; 46])),
        foreign("EAPOL", typed(0x888e, &[1; 46])),
        foreign("RARP", typed(0x8035, &[0; 46])),
        foreign("spanning tree", typed(38, &[0x42; 46])),
        foreign("PPPoE", typed(0x8863, &[0x11; 46])),
        foreign("three tags", tagged(0x8100, 1, &tagged(0x8100, 2, &tagged(0x8100, 3, &echo)))),
        foreign("ARP of other hardware", typed(0x0806, &[0, 6, 8, 0, 6, 4, 0, 1].repeat(4))),
        foreign("ARP that is cut short", typed(0x0806, &[0, 1, 8, 0, 6, 4, 0, 1, 2])),
        foreign("more options than are walked over", discovery(&many)),
        foreign("an option of no length", discovery(&empty)),
        foreign(
            "more headers than are walked over",
            icmp6(NONE6, ALL_NODES, &nd(135, 0, CHILD6, &[]), &deep),
        ),
    ]
}

fn coming_in() -> Vec<Case> {
    let asked = |mac, ip| arp(1, (PEER, PEER4), (mac, ip));
    let answered = |mac, ip| arp(2, (PEER, PEER4), (mac, ip));
    let to4 = |ip| ipv4(PEER4, ip, 1, &[8, 0, 0, 0]);
    let to6 = |ip| ipv6(PEER6, ip, 17, &[0; 8]);
    let sought = |ip| icmp6(PEER6, ip, &nd(135, 0, ip, &[option(1, PEER)]), &[]);
    let to_all = Mac::BROADCAST;
    let mac = Mac::new;
    let mut rows = vec![
        dropped(
            "from here, sent back",
            Way::In,
            eth(to_all, MASTER, &asked(ZERO, PEER4)),
            DropReason::Reflected,
        ),
        dropped("from here, to the host", Way::In, eth(MASTER, MASTER, &to4(CHILD4)), DropReason::Reflected),
        kept("IPv4 to a child", &to4(CHILD4), CHILD),
        kept("IPv4 to the host", &to4(HOST4), MASTER),
        kept("IPv4 through the host", &to4([192, 0, 2, 1]), MASTER),
        kept("a later fragment", &fragment4(PEER4, CHILD4, 17, 0x00b9, &[0, 67, 0, 68]), CHILD),
        kept("IPv6 to a child", &to6(CHILD6), CHILD),
        kept("IPv6 to the host", &to6(HOST6), MASTER),
        kept("multicast in unicast", &to4([239, 129, 2, 3]), mac([1, 0, 0x5e, 1, 2, 3])),
        kept("limited broadcast in unicast", &to4([255; 4]), to_all),
        kept("broadcast of a network in unicast", &to4(ALL4), to_all),
        kept("IPv6 multicast in unicast", &to6(ALL_NODES), mac([0x33, 0x33, 0, 0, 0, 1])),
        kept(
            "a neighbour that asks for one forgotten",
            &sought(NEW6),
            mac([0x33, 0x33, 0xff, 0xcd, 0xef, 0x77]),
        ),
        kept("a neighbour that asks for the host", &sought(HOST6), MASTER),
        kept("a neighbour that asks for a child", &sought(CHILD6), CHILD),
        given("ARP answer to a child", &answered(MASTER, CHILD4), CHILD, &answered(CHILD, CHILD4)),
        given("ARP question to a child alone", &asked(MASTER, CHILD4), CHILD, &asked(CHILD, CHILD4)),
        kept("ARP question to a child, of no target", &asked(ZERO, CHILD4), CHILD),
        kept("ARP answer to the host", &answered(MASTER, HOST4), MASTER),
        given(
            "ARP answer to a probe",
            &arp(2, (PEER, NEW4), (MASTER, [0; 4])),
            CHILD,
            &arp(2, (PEER, NEW4), (CHILD, [0; 4])),
        ),
        kept("ARP answer to nobody's probe", &arp(2, (PEER, PEER4), (MASTER, [0; 4])), MASTER),
        kept("ARP question for one forgotten", &asked(ZERO, NEW4), to_all),
        kept("ARP answer to one forgotten", &answered(MASTER, NEW4), MASTER),
        kept("EAPOL", &typed(0x888e, &[1; 46]), MASTER),
        kept("IPv4 behind a VLAN tag", &tagged(0x8100, 5, &to4(CHILD4)), CHILD),
        kept("IPv4 behind another VLAN's tag", &tagged(0x8100, 7, &to4(CHILD4)), MASTER),
        kept("IPv4 behind two tags", &tagged(0x88a8, 100, &tagged(0x8100, 5, &to4(CHILD4))), CHILD),
        kept("IPv4 that is cut short", &typed(0x0800, &[0x45; 12]), MASTER),
    ];
    // To a MAC of its own, as without us.
    for (name, dst) in [("to a child by its MAC", CHILD), ("to all", to_all), ("to nobody", STRANGER)] {
        let frame_in = eth(dst, PEER, &to4(CHILD4));
        rows.push(Case {
            name,
            way: Way::In,
            fate: frame(frame_in.clone()),
            frame: frame_in,
            taught: Vec::new(),
        });
    }
    rows
}

fn dhcp_in() -> Vec<Case> {
    let said = |client, target, options: &[u8]| {
        udp4(PEER4, target, (67, 68), &dhcp(2, 0x8000, NEW4, client, [0; 4], options))
    };
    let ack = [53, 1, 5, 255];
    let late_ack = [0, 1, 4, 255, 255, 255, 0, 53, 1, 5, 255];
    let learnt = vec![(0, Address::v4(NEW4), CHILD.key(), Holder::CLAIM)];
    let to_all = |name, packet: Vec<u8>, taught: &[Taught]| Case {
        name,
        way: Way::In,
        frame: eth(Mac::BROADCAST, PEER, &packet),
        fate: frame(eth(Mac::BROADCAST, PEER, &packet)),
        taught: taught.to_vec(),
    };
    vec![
        to_all("DHCP acknowledgement to all", said(CHILD, [255; 4], &ack), &learnt),
        to_all("DHCP acknowledgement behind other options", said(CHILD, [255; 4], &late_ack), &learnt),
        to_all("DHCP offer to all", said(CHILD, [255; 4], &[53, 1, 2, 255]), &[]),
        to_all("DHCP acknowledgement to a stranger", said(PEER, [255; 4], &ack), &[]),
        Case {
            taught: learnt.clone(),
            ..kept("DHCP acknowledgement to a child", &said(CHILD, NEW4, &ack), CHILD)
        },
        kept("DHCP acknowledgement to the host", &said(MASTER, HOST4, &ack), MASTER),
    ]
}
