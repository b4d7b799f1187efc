//! Frames of guarded children and what becomes of each, as data: the same cases run against
//! [`inspect`](super::inspect) and, through `BPF_PROG_TEST_RUN`, against the loaded programs.

mod build;
mod world;

use self::build::{arp, behind, fragment, ipv4_with, link_layer, message, snapped, with_options};
pub use self::build::{frame, ipv4, ipv6, network_layer, tagged, udp};
pub use self::world::{CHILD, FOREIGN4, FOREIGN6, MemoryPacket, OWN4, OWN6, PEER};
use self::world::{NONE4, NONE6};
use crate::{
    child::{AntiSpoof, Mode, Policy},
    counters::DropReason,
    l3::{ARP, Address, IPV4, IPV6},
};

/// The child's addresses.
pub fn own() -> Vec<Address> {
    vec![Address::v4(OWN4), Address::v6(OWN6)]
}

/// One frame of the child.
#[derive(Debug, Clone)]
pub struct Case {
    /// What it shows.
    pub row: &'static str,
    /// What the child may do.
    pub policy: Policy,
    /// The frame.
    pub frame: Vec<u8>,
    /// Why it is dropped, if it is.
    pub verdict: Option<DropReason>,
}

/// Every case.
pub fn all() -> Vec<Case> {
    let open = Policy::new(Mode::Bridge, true);
    let mut table = Table { cases: Vec::new(), policy: open.with_anti_spoof(AntiSpoof::Ip), tags: 0 };
    for tags in 0..=2 {
        table.tags = tags;
        table.policy = open.with_anti_spoof(AntiSpoof::Ip);
        table.arp();
        table.ipv4();
        table.ipv6();
        table.link_layer();
        table.llc();
        table.policy = open.with_ra(false);
        table.routers();
        table.policy = open.with_dhcp_server(false);
        table.servers();
        table.policy = open;
        table.unguarded();
    }
    table.tags = 3;
    for (policy, reason) in [
        (open.with_anti_spoof(AntiSpoof::Ip).with_ra(false), DropReason::Spoofed),
        (open.with_ra(false).with_dhcp_server(false), DropReason::RaGuard),
        (open.with_dhcp_server(false), DropReason::DhcpGuard),
    ] {
        table.policy = policy;
        table.case("three tags: not understood", IPV4, ipv4(OWN4, 6, 0, &[0; 20]), Some(reason));
        table.wrapped("LLC for IP itself", 0x8100, [0x06, 0x06], [0; 3], (IPV4, &[]), Some(reason));
        table.wrapped("LLC for ARP itself", 0x8100, [0x98, 0x98], [0; 3], (ARP, &[]), Some(reason));
        let tagged = (0x8100, &[0, 5, 8, 0][..]);
        table.wrapped("a tag behind SNAP", 0x8100, [0xaa, 0xaa], [0; 3], tagged, Some(reason));
    }
    table.cases
}

struct Table {
    cases: Vec<Case>,
    policy: Policy,
    tags: usize,
}

const SPOOFED: Option<DropReason> = Some(DropReason::Spoofed);
const RA: Option<DropReason> = Some(DropReason::RaGuard);
const DHCP: Option<DropReason> = Some(DropReason::DhcpGuard);

impl Table {
    fn case(&mut self, row: &'static str, kind: u16, packet: Vec<u8>, verdict: Option<DropReason>) {
        let frame = frame(&tagged(self.tags, kind, &packet));
        self.cases.push(Case { row, policy: self.policy, frame, verdict });
    }

    fn arp(&mut self) {
        const ETHERNET: [u8; 4] = [0, 1, 8, 0];
        for (row, operation, hardware, sender, verdict) in [
            ("request", 1, CHILD, OWN4, None),
            ("answer", 2, CHILD, OWN4, None),
            ("probe for duplicates", 1, CHILD, NONE4, None),
            ("an answer of nobody", 2, CHILD, NONE4, SPOOFED),
            ("request as another", 1, CHILD, FOREIGN4, SPOOFED),
            ("answer for another", 2, CHILD, FOREIGN4, SPOOFED),
            ("another operation for another", 8, CHILD, FOREIGN4, SPOOFED),
            ("another's MAC", 2, PEER, OWN4, SPOOFED),
            ("another's MAC, probing", 1, PEER, NONE4, SPOOFED),
        ] {
            self.case(row, ARP, arp(ETHERNET, [6, 4], operation, hardware, sender), verdict);
        }
        // Linux takes it for Ethernet.
        self.case("IEEE 802 hardware", ARP, arp([0, 6, 8, 0], [6, 4], 2, CHILD, FOREIGN4), SPOOFED);
        self.case("other lengths", ARP, arp(ETHERNET, [8, 4], 2, CHILD, OWN4), SPOOFED);
        self.case("cut short", ARP, arp(ETHERNET, [6, 4], 2, CHILD, OWN4)[..18].to_vec(), SPOOFED);
    }

    fn ipv4(&mut self) {
        let ports = |from, to| udp(from, to, &[]);
        for (row, source, protocol, fragment, payload, verdict) in [
            ("own address", OWN4, 6, 0, vec![0; 20], None),
            ("own address, any protocol", OWN4, 250, 0, vec![], None),
            ("own address, a later fragment", OWN4, 17, 0x2001, vec![0; 8], None),
            ("another's address", FOREIGN4, 6, 0, vec![0; 20], SPOOFED),
            ("another's, a later fragment", FOREIGN4, 17, 0x2001, vec![0; 8], SPOOFED),
            ("DHCP request without address", NONE4, 17, 0, ports(68, 67), None),
            ("no address, other ports", NONE4, 17, 0, ports(68, 69), SPOOFED),
            ("no address, a server's ports", NONE4, 17, 0, ports(67, 68), SPOOFED),
            ("no address, other protocol", NONE4, 6, 0, vec![0; 20], SPOOFED),
            ("no address, a later fragment", NONE4, 17, 1, ports(68, 67), SPOOFED),
            ("no address, no ports", NONE4, 17, 0, vec![0, 68], SPOOFED),
        ] {
            self.case(row, IPV4, ipv4(source, protocol, fragment, &payload), verdict);
        }
        self.case("options", IPV4, ipv4_with(10, NONE4, 17, 0, &ports(68, 67)), None);
        let mut padded = ipv4(NONE4, 17, 0, &[]);
        padded.extend(ports(68, 67));
        self.case("ports in the padding", IPV4, padded, SPOOFED);
        for version in [0x55, 0x44, 0x40, 0x65] {
            let mut packet = ipv4(OWN4, 6, 0, &[0; 20]);
            packet[0] = version;
            self.case("bad version or header length", IPV4, packet, SPOOFED);
        }
        self.case("not IP", 0x88b5, ipv4(FOREIGN4, 6, 0, &[]), None);
    }

    fn ipv6(&mut self) {
        for (row, source, next, payload, verdict) in [
            ("own address", OWN6, 6, vec![0; 20], None),
            ("another's address", FOREIGN6, 6, vec![0; 20], SPOOFED),
            ("another's, a later fragment", FOREIGN6, 44, fragment(6, 1, true, &[0; 8]), SPOOFED),
            ("own, a later fragment", OWN6, 44, fragment(58, 1, true, &[136; 24]), None),
            ("solicitation", OWN6, 58, message(135, FOREIGN6), None),
            ("solicitation as another", FOREIGN6, 58, message(135, OWN6), SPOOFED),
            ("probe for duplicates", NONE6, 58, message(135, OWN6), None),
            ("group joined without address", NONE6, 0, behind(58, &message(143, NONE6)), None),
            ("router asked for without address", NONE6, 58, message(133, NONE6)[..8].to_vec(), None),
            ("no address, advertising", NONE6, 58, message(136, OWN6), SPOOFED),
            ("no address, other protocol", NONE6, 17, udp(1, 2, &[]), SPOOFED),
            ("no address, a later fragment", NONE6, 44, fragment(58, 1, false, &[135; 24]), SPOOFED),
            ("advertisement", OWN6, 58, message(136, OWN6), None),
            ("advertisement of another", OWN6, 58, message(136, FOREIGN6), SPOOFED),
            ("the same behind options", OWN6, 60, behind(58, &message(136, FOREIGN6)), SPOOFED),
            (
                "the same in a first fragment",
                OWN6,
                44,
                fragment(58, 0, true, &message(136, FOREIGN6)),
                SPOOFED,
            ),
            ("advertisement cut short", OWN6, 58, message(136, OWN6)[..20].to_vec(), SPOOFED),
            ("a router is no forger", OWN6, 58, message(134, NONE6)[..16].to_vec(), None),
            ("too many headers", OWN6, 60, behind(60, &[60, 0, 0, 0, 0, 0, 0, 0].repeat(9)), SPOOFED),
        ] {
            self.case(row, IPV6, ipv6(source, next, &payload), verdict);
        }
        let mut packet = ipv6(OWN6, 6, &[0; 20]);
        packet[0] = 0x40;
        self.case("bad version", IPV6, packet, SPOOFED);
    }

    /// What discovers neighbours and routers names nobody else's MAC.
    fn link_layer(&mut self) {
        let mine = |kind| link_layer(kind, CHILD);
        let other = |kind| link_layer(kind, PEER);
        let nonce = vec![14, 1, 1, 2, 3, 4, 5, 6];
        let long = [vec![1, 2], CHILD.octets().to_vec(), vec![0; 8]].concat();
        for (row, kind, options, verdict) in [
            ("its MAC", 135, vec![mine(1)], None),
            ("its MAC", 136, vec![mine(2)], None),
            ("its MAC behind another option", 135, vec![nonce.clone(), mine(1)], None),
            ("another's MAC", 135, vec![other(1)], SPOOFED),
            ("another's MAC", 136, vec![other(2)], SPOOFED),
            ("another's MAC as a source", 136, vec![other(1)], SPOOFED),
            ("another's MAC behind its own", 136, vec![mine(2), other(2)], SPOOFED),
            ("another's MAC behind another option", 135, vec![nonce.clone(), other(1)], SPOOFED),
            ("a longer address", 135, vec![long], SPOOFED),
            ("an empty option", 135, vec![vec![14, 0, 0, 0, 0, 0, 0, 0], mine(1)], SPOOFED),
            ("an option cut short", 135, vec![vec![1, 1, 2, 3]], None),
            ("as many options as are walked over", 135, vec![nonce.clone(); 16], None),
            ("more options", 135, vec![nonce.clone(); 17], SPOOFED),
        ] {
            self.case(row, IPV6, ipv6(OWN6, 58, &with_options(kind, OWN6, &options)), verdict);
        }
        for (row, kind, len, options, verdict) in [
            ("router asked for: its MAC", 133, 8, mine(1), None),
            ("router asked for: another's MAC", 133, 8, other(1), SPOOFED),
            ("router: its MAC", 134, 16, mine(1), None),
            ("router: another's MAC", 134, 16, other(1), SPOOFED),
        ] {
            let message = [&message(kind, NONE6)[..len], &options].concat();
            self.case(row, IPV6, ipv6(OWN6, 58, &message), verdict);
        }
        let redirect = [message(137, FOREIGN6), FOREIGN6.to_vec(), other(2)].concat();
        self.case("a redirect names another's MAC", IPV6, ipv6(OWN6, 58, &redirect), None);
    }

    /// IP and ARP behind LLC and SNAP; and behind tags of before 802.1ad.
    fn llc(&mut self) {
        const SNAP: [u8; 2] = [0xaa, 0xaa];
        let [own, foreign] = [OWN4, FOREIGN4].map(|source| ipv4(source, 6, 0, &[0; 20]));
        let answer = arp([0, 1, 8, 0], [6, 4], 2, CHILD, FOREIGN4);
        let foreign6 = ipv6(FOREIGN6, 6, &[0; 20]);
        for tag in [0x8100, 0x9100] {
            for (row, saps, vendor, inner, verdict) in [
                ("SNAP, own address", SNAP, [0; 3], (IPV4, &own), None),
                ("SNAP, another's address", SNAP, [0; 3], (IPV4, &foreign), SPOOFED),
                ("SNAP of bridges, another's address", SNAP, [0, 0, 0xf8], (IPV4, &foreign), SPOOFED),
                ("SNAP to a group, another's address", [0xab, 0xaa], [0; 3], (IPV4, &foreign), SPOOFED),
                ("SNAP, another's IPv6 address", SNAP, [0; 3], (IPV6, &foreign6), SPOOFED),
                ("SNAP, ARP for another", SNAP, [0; 3], (ARP, &answer), SPOOFED),
                ("SNAP of a vendor", SNAP, [0, 0, 0x0c], (IPV4, &foreign), None),
                ("spanning tree", [0x42, 0x42], [0; 3], (IPV4, &foreign), None),
            ] {
                self.wrapped(row, tag, saps, vendor, (inner.0, inner.1), verdict);
            }
        }
    }

    fn wrapped(
        &mut self,
        row: &'static str,
        tag: u16,
        saps: [u8; 2],
        vendor: [u8; 3],
        (kind, packet): (u16, &[u8]),
        verdict: Option<DropReason>,
    ) {
        let tags = self.tags.min(2);
        let mut behind_macs = snapped(tag, tags, vendor, kind, packet);
        behind_macs[tags * 4 + 2..][..2].copy_from_slice(&saps);
        self.cases.push(Case { row, policy: self.policy, frame: frame(&behind_macs), verdict });
    }

    fn routers(&mut self) {
        let advertisement = message(134, NONE6);
        for (row, next, payload, verdict) in [
            ("router advertisement", 58, advertisement.clone(), RA),
            ("redirect", 58, message(137, FOREIGN6), RA),
            ("router solicitation", 58, message(133, NONE6), None),
            ("echo", 58, message(128, NONE6), None),
            ("behind hop-by-hop options", 0, behind(58, &advertisement), RA),
            ("behind two headers", 0, behind(60, &behind(58, &advertisement)), RA),
            ("behind a routing header", 43, behind(58, &advertisement), RA),
            ("behind authentication", 51, behind(58, &advertisement), RA),
            ("in a whole fragment", 44, fragment(58, 0, false, &advertisement), RA),
            ("in a first fragment", 44, fragment(58, 0, true, &advertisement[..8]), RA),
            ("options behind a fragment", 44, fragment(60, 0, true, &behind(58, &advertisement)), RA),
            ("first fragment without the message", 44, fragment(60, 0, true, &behind(58, &[])), RA),
            ("a later fragment", 44, fragment(58, 2, false, &advertisement), None),
            ("too many headers", 60, behind(60, &[60, 0, 0, 0, 0, 0, 0, 0].repeat(9)), RA),
            ("a header longer than the packet", 60, vec![58, 200, 0, 0, 0, 0, 0, 0], RA),
            ("other protocol", 6, vec![134; 20], None),
            ("another's address is no matter", 17, udp(547, 546, &[]), None),
        ] {
            self.case(row, IPV6, ipv6(FOREIGN6, next, &payload), verdict);
        }
        let mut padded = ipv6(OWN6, 44, &fragment(58, 0, true, &[]));
        padded.extend([128, 0, 0, 0]);
        self.case("an echo in the padding", IPV6, padded, RA);
        self.case("IPv4 is no matter", IPV4, ipv4(FOREIGN4, 17, 0, &udp(67, 68, &[])), None);
    }

    fn servers(&mut self) {
        for (row, fragment, payload, verdict) in [
            ("server to client", 0, udp(67, 68, &[]), DHCP),
            ("server to relay", 0, udp(67, 67, &[]), DHCP),
            ("a server on another port", 0, udp(1067, 68, &[]), DHCP),
            ("client to server", 0, udp(68, 67, &[]), None),
            ("other ports", 0, udp(6767, 53, &[]), None),
            ("a first fragment", 0x2000, udp(67, 68, &[]), DHCP),
            ("a first fragment without ports", 0x2000, vec![0, 1], DHCP),
            ("a later fragment", 0x2001, udp(67, 68, &[]), None),
        ] {
            self.case(row, IPV4, ipv4(FOREIGN4, 17, fragment, &payload), verdict);
            let with_options = ipv4_with(3, FOREIGN4, 17, fragment, &payload);
            self.case(row, IPV4, with_options, verdict);
        }
        self.case("other protocol", IPV4, ipv4(FOREIGN4, 6, 0, &udp(67, 68, &[])), None);
        for (row, next, payload, verdict) in [
            ("server to client", 17, udp(547, 546, &[]), DHCP),
            ("a server on another port", 17, udp(1547, 546, &[]), DHCP),
            ("client to server", 17, udp(546, 547, &[]), None),
            ("behind options", 60, behind(17, &udp(547, 546, &[])), DHCP),
            ("in a first fragment", 44, fragment(17, 0, true, &udp(547, 546, &[])), DHCP),
            ("first fragment without ports", 44, fragment(17, 0, true, &[]), DHCP),
            ("a later fragment", 44, fragment(17, 1, false, &udp(547, 546, &[])), None),
            ("a router is no server", 58, message(134, NONE6), None),
        ] {
            self.case(row, IPV6, ipv6(FOREIGN6, next, &payload), verdict);
        }
        self.case("another's word in ARP is no matter", ARP, vec![0; 28], None);
    }

    fn unguarded(&mut self) {
        self.case("no guard", ARP, vec![0; 28], None);
        self.case("no guard", IPV4, ipv4(FOREIGN4, 17, 0, &udp(67, 68, &[])), None);
        self.case("no guard", IPV6, ipv6(FOREIGN6, 58, &message(134, NONE6)), None);
    }
}
