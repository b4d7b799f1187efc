//! An access point, a host that is its station and has two children, and another station.

use std::time::Instant;

use macvlan_common::child::Mode;
use macvlan_tests::{
    daemon::Daemon,
    lab::{FAMILIES, Lab, Station},
    mounts::Mounts,
    netns::Netns,
    station::Ipv6,
    talk::ping,
};

use crate::{
    air::{DEVICE, Network, Supplicant, access_point},
    radios::Radios,
};

/// All of them. Fields end in this order: the radios are free once all else is gone.
pub struct Scene {
    /// The access point's own process.
    pub access_point: Daemon,
    /// What has the host associate.
    pub supplicant: Supplicant,
    _other_supplicant: Supplicant,
    /// The host, and beyond the air the access point's bridge.
    pub lab: Lab,
    /// Two children of the host's device, in bridge mode.
    pub children: [Station; 2],
    /// The other station.
    pub other: Station,
    _radios: Radios,
}

impl Scene {
    /// One in which everybody has associated.
    #[track_caller]
    pub fn new(network: Network) -> Self {
        let radios = Radios::take();
        let connect = |lab: &Lab| {
            radios.put(0, &lab.wire.ns, DEVICE);
            radios.give(1, &lab.host);
            lab.wire.ns.ip(&format!("link add br0 address {} type bridge", lab.wire.mac));
            (access_point(lab, network), Supplicant::start(lab, "host", &lab.host, network))
        };
        let builder = Lab::with().full_ipv6().master(DEVICE);
        let (lab, (access_point, supplicant)) = builder.connected(Mounts::new(), ("br0", "br0"), connect);
        let other = lab.newcomer(DEVICE);
        radios.give(2, &other);
        let other_supplicant = Supplicant::start(&lab, "other", &other, network);
        other.come_up(Ipv6::Full);
        other.wait_until_up();
        let children = ["web", "db"].map(|name| lab.child(name, Mode::Bridge));
        Self {
            access_point,
            supplicant,
            _other_supplicant: other_supplicant,
            lab,
            children,
            other,
            _radios: radios,
        }
    }

    /// Fails unless every child and everybody beyond the air reach each other, by both families and from both sides.
    #[track_caller]
    pub fn all_talk(&self, when: &str) {
        let start = Instant::now();
        for family in FAMILIES {
            for child in &self.children {
                for beyond in [&self.lab.wire, &self.other] {
                    for (from, to) in [(child, beyond), (beyond, child)] {
                        let (here, there) = (title(from), title(to));
                        assert!(ping(from, to.address(family)), "{when}: {here} to {there}, {family:?}");
                    }
                }
            }
        }
        println!("{when}: all talk within {:?}", start.elapsed());
    }

    /// Has everybody forget where the others are.
    #[track_caller]
    pub fn forget_neighbours(&self) {
        let stations: [&Netns; 5] = [
            &self.lab.wire.ns,
            &self.lab.host.ns,
            &self.other.ns,
            &self.children[0].ns,
            &self.children[1].ns,
        ];
        for ns in stations {
            ns.ip("neigh flush all");
        }
    }
}

fn title(station: &Station) -> String {
    format!("{} {}", station.dev, station.ip)
}
