//! Frames of every shape follow the same rules by their MACs: VLAN tags in the frame or beside it,
//! LLC, and frames with hardly anything behind the addresses.

use macvlan_common::{
    child::Mode,
    counters::{Count, Path},
    mac::Mac,
};
use macvlan_tests::{
    attached::Attached,
    fail::wait_for,
    foreign::Foreign,
    frames::{self, ETH_HLEN, EXPERIMENTAL, Frame, Marker, SERVICE_VLAN, VLAN},
    lab::{Lab, Station},
    needs, require,
    sniff::{Injector, Kind, Tap, XdpSender},
};

const DEMULTIPLEXERS: [&[&str]; 3] = [&[], &["--xdp", "native"], &["--xdp", "generic"]];

/// LLC frames as packet sockets name them (`include/uapi/linux/if_ether.h`).
const ETH_P_802_2: u16 = 4;

/// Bytes of a frame that is as short as Ethernet allows.
const SHORTEST: usize = 60;

#[test]
fn frames_with_a_vlan_tag_follow_the_same_rules() {
    needs!(require::lab, require::binary);
    // Identifier 0 only carries a priority: the stack takes such a frame as untagged.
    check_everywhere(EXPERIMENTAL, |dst, src| {
        let tagged = |id| Frame::new(dst, src).tag(VLAN, id).payload(EXPERIMENTAL, b"tagged");
        vec![tagged(10).padded(SHORTEST), tagged(0).padded(SHORTEST)]
    });
}

#[test]
fn frames_with_two_vlan_tags_follow_the_same_rules() {
    needs!(require::lab, require::binary);
    check_everywhere(VLAN, |dst, src| {
        let tagged = Frame::new(dst, src).tag(SERVICE_VLAN, 10).tag(VLAN, 20);
        vec![tagged.payload(EXPERIMENTAL, b"tagged twice").padded(SHORTEST)]
    });
}

#[test]
fn llc_frames_follow_the_same_rules() {
    needs!(require::lab, require::binary);
    check_everywhere(ETH_P_802_2, |dst, src| vec![frames::llc(dst, src, Marker::new())]);
}

#[test]
fn frames_of_14_to_60_bytes_follow_the_same_rules() {
    needs!(require::lab, require::binary);
    const LENGTHS: [usize; 10] = [ETH_HLEN, 15, 16, 17, 18, 21, 33, 34, 59, SHORTEST];
    check_everywhere(EXPERIMENTAL, |dst, src| {
        let empty = Frame::new(dst, src).payload(EXPERIMENTAL, &[]);
        LENGTHS.iter().map(|len| empty.clone().padded(*len)).collect()
    });
}

#[test]
fn frames_of_an_xdp_socket_follow_the_same_rules() {
    needs!(require::lab, require::binary);
    check(EXPERIMENTAL, &XDP_SOCKET, |dst, src| {
        let frame = |length| Frame::new(dst, src).payload(EXPERIMENTAL, b"by XDP").padded(length);
        let tagged = |id| Frame::new(dst, src).tag(VLAN, id).payload(EXPERIMENTAL, b"by XDP, tagged");
        vec![frame(SHORTEST), frame(1514), tagged(10).padded(SHORTEST)]
    });
    check(ETH_P_802_2, &XDP_SOCKET, |dst, src| vec![frames::llc(dst, src, Marker::new())]);
}

#[test]
fn a_tag_beside_the_frame_counts_with_its_4_bytes_on_the_way_out() {
    needs!(require::lab, require::tcx, require::binary);
    let lab = Lab::new();
    let child = lab.child("b1", Mode::Bridge);
    // Before our programs see it, the child's frame gets a tag where a driver would take it from.
    let _tagger = Foreign::tagger(&child.ns, &child.dev, 10);
    let attached = Attached::new(&lab, &[]);
    let (marker, before) = (Marker::new(), attached.stats());
    let frame = frames::marked(lab.host.mac, child.mac, marker);
    let mut host = Tap::on_protocol(&lab.host.ns, &lab.host.dev, EXPERIMENTAL);

    Injector::new(&child.ns, &child.dev).send(&frame);

    host.wait_for(marker, 1);
    // No VLAN device takes it: the stack drops the tag, and marks the frame as for somebody else.
    let came: Vec<_> = host.marked(marker).iter().map(|seen| (seen.kind, seen.data.clone())).collect();
    assert_eq!(came, [(Kind::OtherHost, frame.clone())]);
    let sent = Count { packets: 1, bytes: frame.len() as u64 + 4 };
    let expected = [("b1".to_owned(), Path::Host.as_str(), "tx", sent)];
    assert_eq!((&attached.stats() - &before).all(), expected);
}

/// What sends the frames, and who has it.
struct Sending {
    by: fn(&Station, &[u8]),
    senders: &'static [&'static str],
}

const PACKET_SOCKET: Sending = Sending {
    by: |from, frame| Injector::new(&from.ns, &from.dev).send(frame),
    senders: &["host", "wire", "b1", "p1"],
};

/// One on the master itself passes no TC egress.
const XDP_SOCKET: Sending =
    Sending { by: |from, frame| XdpSender::new(&from.ns, &from.dev).send(frame), senders: &["b1", "p1"] };

/// Host, wire, a bridge and a private child, each listening for one frame.
struct Audience<'lab> {
    lab: &'lab Lab,
    children: [Station; 2],
    taps: [(&'static str, Tap); 4],
}

const BRIDGE: usize = 0;
const PRIVATE: usize = 1;

impl<'lab> Audience<'lab> {
    /// `protocol`: what the host's stack takes the frames for, the outermost tag taken off.
    #[track_caller]
    fn new(lab: &'lab Lab, protocol: u16) -> Self {
        let children = [lab.child("b1", Mode::Bridge), lab.child("p1", Mode::Private)];
        let taps = [
            ("b1", Tap::on_device(&children[BRIDGE].ns, "b1")),
            ("p1", Tap::on_device(&children[PRIVATE].ns, "p1")),
            ("host", Tap::on_protocol(&lab.host.ns, &lab.host.dev, protocol)),
            ("wire", Tap::on_device(&lab.wire.ns, &lab.port)),
        ];
        Self { lab, children, taps }
    }

    fn station(&self, name: &str) -> &Station {
        match name {
            "b1" => &self.children[BRIDGE],
            "p1" => &self.children[PRIVATE],
            "host" => &self.lab.host,
            _ => &self.lab.wire,
        }
    }

    /// Sends the frame, and asserts that `expected` get it once, as it was sent, and nobody else.
    #[track_caller]
    fn expect(&mut self, from: &str, frame: &[u8], expected: &[&str], send: fn(&Station, &[u8])) {
        send(self.station(from), frame);
        let to_host = as_the_host_gets(frame, self.lab.host.mac, from);
        let shape = |name: &str| if name == "host" { to_host.as_slice() } else { frame };
        for (name, tap) in self.taps.iter_mut().filter(|(name, _)| expected.contains(name)) {
            let arrived = || (heard(tap, from, shape(name)) > 0).then_some(());
            wait_for(format_args!("{name} to get {frame:02x?}"), arrived);
        }
        self.settle();
        for (name, tap) in &mut self.taps {
            let times = heard(tap, from, shape(name));
            let wanted = usize::from(expected.contains(name));
            assert_eq!(times, wanted, "{from} sent, {name} heard {frame:02x?}");
            tap.take();
        }
    }

    /// Waits until a broadcast from the wire, sent after everything else, is everywhere.
    #[track_caller]
    fn settle(&mut self) {
        let fence = Marker::new();
        let frame = frames::marked(Mac::BROADCAST, self.lab.wire.mac, fence);
        Injector::new(&self.lab.wire.ns, &self.lab.wire.dev).send(&frame);
        for (_, tap) in self.taps.iter_mut().take(self.children.len()) {
            tap.wait_for(fence, 1);
        }
    }
}

/// How many frames like this one came in for whoever listens.
fn heard(tap: &mut Tap, from: &str, frame: &[u8]) -> usize {
    let own = |kind| match kind {
        // Of its own frames, the host's protocols ignore what is marked as for another host. A tag
        // that belongs to no VLAN device marks others' frames so as well.
        Kind::OtherHost => from == "host",
        Kind::Outgoing => true,
        Kind::Host | Kind::Broadcast | Kind::Multicast => false,
    };
    tap.seen().iter().filter(|seen| seen.whole() == frame && !own(seen.kind)).count()
}

/// What the host's protocols see of a frame: not the outermost tag, which the stack takes off
/// (`__netif_receive_skb_core` in net/core/dev.c), and of a child's broadcast a copy addressed to
/// the host.
fn as_the_host_gets(frame: &[u8], host: Mac, from: &str) -> Vec<u8> {
    const ADDRESSES: usize = 12;
    let mut frame = frame.to_vec();
    let ethertype = u16::from_be_bytes([frame[ADDRESSES], frame[ADDRESSES + 1]]);
    if matches!(ethertype, VLAN | SERVICE_VLAN) {
        frame.drain(ADDRESSES..ADDRESSES + 4);
    }
    if from != "wire" && frame[..6] == Mac::BROADCAST.octets() {
        frame[..6].copy_from_slice(&host.octets());
    }
    frame
}

/// Sends such frames by packet sockets on every path, under every demultiplexer.
#[track_caller]
fn check_everywhere(protocol: u16, frames: impl Fn(Mac, Mac) -> Vec<Vec<u8>>) {
    check(protocol, &PACKET_SOCKET, frames);
}

#[track_caller]
fn check(protocol: u16, sending: &Sending, frames: impl Fn(Mac, Mac) -> Vec<Vec<u8>>) {
    for args in DEMULTIPLEXERS {
        let lab = Lab::new();
        let mut audience = Audience::new(&lab, protocol);
        let attached = Attached::new(&lab, args);
        let (wire, host) = (Path::Wire.as_str(), Path::Host.as_str());
        type Gain = (&'static str, &'static str, &'static str);
        let rows: [(&str, &str, &[&str], &[Gain]); 10] = [
            ("host", "b1", &["b1"], &[("b1", host, "rx")]),
            ("host", "p1", &["p1"], &[("p1", host, "rx")]),
            ("b1", "host", &["host"], &[("b1", host, "tx")]),
            ("p1", "host", &["host"], &[("p1", host, "tx")]),
            ("wire", "b1", &["b1"], &[("b1", wire, "rx")]),
            ("b1", "wire", &["wire"], &[("b1", wire, "tx")]),
            ("host", "broadcast", &["b1", "p1", "wire"], &[]),
            ("b1", "broadcast", &["host", "wire"], &[("b1", wire, "tx")]),
            ("p1", "broadcast", &["host", "wire"], &[("p1", wire, "tx")]),
            ("wire", "broadcast", &["b1", "p1", "host"], &[]),
        ];
        for (from, to, arrives, gained) in rows.into_iter().filter(|row| sending.senders.contains(&row.0)) {
            let dst = if to == "broadcast" { Mac::BROADCAST } else { audience.station(to).mac };
            for frame in frames(dst, audience.station(from).mac) {
                let before = attached.stats();

                audience.expect(from, &frame, arrives, sending.by);

                let sent = Count { packets: 1, bytes: frame.len() as u64 };
                let expected: Vec<_> = gained
                    .iter()
                    .map(|(child, path, way)| ((*child).to_owned(), *path, *way, sent))
                    .collect();
                let gained = (&attached.stats() - &before).all();
                assert_eq!(gained, expected, "{args:?}: {from} to {to}, {} bytes", frame.len());
            }
        }
    }
}
