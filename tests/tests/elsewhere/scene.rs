//! What the tests of this folder share: who carries the frames, and stations beyond the wire with the MACs of
//! children.

use std::{
    net::{Ipv4Addr, UdpSocket},
    time::Duration,
};

use macvlan_common::mac::Mac;
use macvlan_tests::{
    fail::OrFail as _,
    following::Following,
    lab::{Lab, Station},
    talk::ping_within,
};

/// A MAC of a virtual router (RFC 5798, section 7.3).
pub const VIRTUAL: Mac = Mac::new([0, 0, 0x5e, 0, 1, 0x33]);

/// Long enough for an answer to a few requests.
pub const SHORT: Duration = Duration::from_secs(1);

/// Who carries the frames of a master.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Carrier {
    /// The macvlan driver alone.
    Plain,
    /// `attach`, and nobody follows.
    Attached,
    /// `run`.
    Followed,
}

/// All of them, plain macvlan first: the measure of the others.
pub const CARRIERS: [Carrier; 3] = [Carrier::Plain, Carrier::Attached, Carrier::Followed];

impl Carrier {
    /// Puts the carrier in place; it stays as long as what is given back.
    #[track_caller]
    pub fn start(self, lab: &Lab) -> Option<Following<'_>> {
        match self {
            Self::Plain => None,
            Self::Attached => {
                lab.ctl(&["attach", "eth0", "--require-bpf"]).succeeded();
                None
            }
            Self::Followed => Some(Following::start(lab, &["eth0", "--require-bpf"])),
        }
    }
}

/// Whether `to` answers soon, asked by somebody who knows nobody yet.
pub fn reaches(from: &Station, to: &Station) -> bool {
    from.ns.ip("neigh flush all");
    ping_within(from, to.ip.into(), SHORT)
}

/// A station beyond the wire with this MAC and address; it announces itself as it comes up.
#[track_caller]
pub fn far(lab: &Lab, mac: Mac, ip: Ipv4Addr) -> Station {
    let mut far = lab.newcomer("far");
    (far.mac, far.ip) = (mac, ip);
    far.ns.sysctl("ipv4/conf/all/arp_notify", 1);
    far.ns.sysctl("ipv4/conf/default/arp_notify", 1);
    lab.wire.ns.ip_batch([
        format!("link add link {} name far address {mac} type macvlan mode bridge", lab.wire.dev),
        format!("link set far netns {}", far.ns.path().display()),
    ]);
    far.ns.ip_batch([format!("addr add {ip}/24 dev far"), "link set far up".into()]);
    far
}

/// It announces its address once more.
#[track_caller]
pub fn announce(far: &Station) {
    far.ns.ip_batch(["link set far down".into(), "link set far up".into()]);
}

/// Whether a socket of the host's on its master hears what the wire sends to the routers' group
/// (RFC 5798, section 5.1.1.2).
#[track_caller]
pub fn hears_adverts(lab: &Lab) -> bool {
    const GROUP: Ipv4Addr = Ipv4Addr::new(224, 0, 0, 18);
    const PORT: u16 = 4112;
    let (host, wire) = (lab.host.ip, lab.wire.ip);
    let socket = lab.host.ns.enter(move || {
        let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, PORT)).or_fail("open a socket");
        socket.join_multicast_v4(&GROUP, &host).or_fail("join the group");
        socket.set_read_timeout(Some(Duration::from_millis(100))).or_fail("set a timeout");
        socket
    });
    let sender = lab.wire.ns.enter(move || UdpSocket::bind((wire, 0)).or_fail("open a socket"));
    (0..5).any(|_| {
        sender.send_to(b"advertisement", (GROUP, PORT)).or_fail("send");
        socket.recv(&mut [0; 32]).is_ok()
    })
}
