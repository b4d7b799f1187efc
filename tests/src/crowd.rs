//! A lab with children of every hairpinned and every wired mode, and a tap at each station, for
//! tests of who hears what.

use std::collections::BTreeMap;

use macvlan_common::{child::Mode, mac::Mac};

use crate::{
    frames::{self, EXPERIMENTAL, Marker},
    lab::{Lab, Station},
    sniff::{Injector, Tap},
};

/// Frames sent in one [`Crowd::send`].
pub const TIMES: usize = 10;

/// Bytes of each.
pub const LEN: usize = 60;

/// The group that every IPv4 host listens to, 224.0.0.1 (RFC 1112, 6.4).
pub const ALL_HOSTS: Mac = Mac::new([0x01, 0, 0x5e, 0, 0, 1]);

/// The children of a crowd: two bridge, two private, two VEPA.
pub const CHILDREN: [(&str, Mode); 6] = [
    ("b1", Mode::Bridge),
    ("b2", Mode::Bridge),
    ("p1", Mode::Private),
    ("p2", Mode::Private),
    ("v1", Mode::Vepa),
    ("v2", Mode::Vepa),
];

/// Everybody, children first: `b1 b2 p1 p2 v1 v2 host wire`.
pub const EVERYBODY: [&str; 8] = ["b1", "b2", "p1", "p2", "v1", "v2", "host", "wire"];

/// Who got how many frames; who got none is left out.
pub type Arrivals = BTreeMap<&'static str, usize>;

/// Wire, host and children, listening.
pub struct Crowd<'lab> {
    lab: &'lab Lab,
    children: Vec<Station>,
    listeners: Vec<Listener>,
}

struct Listener {
    name: &'static str,
    tap: Tap,
    sender: Injector,
}

impl<'lab> Crowd<'lab> {
    /// Makes [`CHILDREN`] in this lab, which has none yet.
    #[track_caller]
    pub fn new(lab: &'lab Lab) -> Self {
        Self::of(lab, &CHILDREN)
    }

    /// Makes these children in this lab, which has none yet.
    #[track_caller]
    pub fn of(lab: &'lab Lab, members: &[(&'static str, Mode)]) -> Self {
        let children: Vec<_> = members.iter().map(|(name, mode)| lab.child(name, *mode)).collect();
        let mut listeners = Vec::new();
        for (child, &(name, _)) in children.iter().zip(members) {
            listeners.push(Listener {
                name,
                tap: Tap::on_protocol(&child.ns, &child.dev, EXPERIMENTAL),
                sender: Injector::new(&child.ns, &child.dev),
            });
        }
        listeners.push(Listener {
            name: "host",
            tap: Tap::on_protocol(&lab.host.ns, &lab.host.dev, EXPERIMENTAL),
            sender: Injector::new(&lab.host.ns, &lab.host.dev),
        });
        listeners.push(Listener {
            name: "wire",
            // Whatever leaves the master, were it for nobody.
            tap: Tap::on_device(&lab.wire.ns, &lab.port),
            sender: Injector::new(&lab.wire.ns, &lab.wire.dev),
        });
        Self { lab, children, listeners }
    }

    /// The MAC of a station, or a group or nobody's: `broadcast`, `multicast`, `nobody`.
    pub fn mac(&self, name: &str) -> Mac {
        match name {
            "host" => self.lab.host.mac,
            "wire" => self.lab.wire.mac,
            "broadcast" => Mac::BROADCAST,
            "multicast" => ALL_HOSTS,
            "nobody" => Mac::new([0x02, 0, 0, 0, 9, 9]),
            child => self.child(child).mac,
        }
    }

    /// The child of this name.
    ///
    /// # Panics
    ///
    /// When there is none: a mistake in a test.
    pub fn child(&self, name: &str) -> &Station {
        let found = self.children.iter().find(|child| child.dev == name);
        found.unwrap_or_else(|| panic!("no child {name:?}"))
    }

    /// Every child.
    pub fn children(&self) -> &[Station] {
        &self.children
    }

    /// Sends [`TIMES`] frames of [`LEN`] bytes and tells who got how many, once all of `expected`
    /// got some and whatever else was under way has arrived too.
    #[track_caller]
    pub fn send(&mut self, from: &str, to: &str, expected: &[&str]) -> Arrivals {
        self.send_as(from, from, to, expected)
    }

    /// As [`send`](Self::send), but `sender` writes somebody else's MAC as the source.
    #[track_caller]
    pub fn send_as(&mut self, sender: &str, source: &str, to: &str, expected: &[&str]) -> Arrivals {
        let marker = Marker::new();
        let frame = frames::marked(self.mac(to), self.mac(source), marker);
        self.sender(sender).send_times(&frame, TIMES);
        self.arrivals_of(marker, TIMES, expected)
    }

    /// The child `from` sends under the host's MAC, past TC. Gives who got any.
    #[track_caller]
    pub fn forge(&mut self, from: &str, to: &str, times: usize) -> Vec<&'static str> {
        let child = self.child(from);
        let (past, marker) = (Injector::new(&child.ns, &child.dev).past_tc(), Marker::new());
        past.send_times(&frames::marked(self.mac(to), self.mac("host"), marker), times);
        self.arrivals_of(marker, times, &[]).into_keys().collect()
    }

    /// Who got how many frames with this marker, once all of `expected` got `times` and whatever
    /// else was under way has arrived too.
    #[track_caller]
    pub fn arrivals_of(&mut self, marker: Marker, times: usize, expected: &[&str]) -> Arrivals {
        for name in expected {
            self.listener(name).tap.wait_for(marker, times);
        }
        self.settle();
        self.arrivals(marker)
    }

    /// Asserts that `expected` get each frame once, and nobody else any.
    #[track_caller]
    pub fn expect(&mut self, from: &str, to: &str, expected: &[&str]) {
        let arrivals = self.send(from, to, expected);
        let everybody = self.listeners.iter().map(|listener| listener.name);
        let wanted: Arrivals =
            everybody.filter(|name| expected.contains(name)).map(|name| (name, TIMES)).collect();
        assert_eq!(arrivals, wanted, "{from} to {to}");
    }

    /// Waits until a broadcast from the wire, sent after everything else, is everywhere.
    #[track_caller]
    pub fn settle(&mut self) {
        let fence = Marker::new();
        let frame = frames::marked(Mac::BROADCAST, self.mac("wire"), fence);
        self.sender("wire").send(&frame);
        for listener in self.listeners.iter_mut().filter(|listener| listener.name != "wire") {
            listener.tap.wait_for(fence, 1);
        }
    }

    fn arrivals(&mut self, marker: Marker) -> Arrivals {
        let count = |listener: &mut Listener| match listener.name {
            // The host's protocols ignore what is for somebody else.
            "host" => listener.tap.received(marker),
            _ => listener.tap.came_in(marker),
        };
        let all = self.listeners.iter_mut().map(|listener| (listener.name, count(listener)));
        all.filter(|(_, count)| *count > 0).collect()
    }

    fn sender(&self, name: &str) -> &Injector {
        let found = self.listeners.iter().find(|listener| listener.name == name);
        &found.unwrap_or_else(|| panic!("no station {name:?}")).sender
    }

    fn listener(&mut self, name: &str) -> &mut Listener {
        let found = self.listeners.iter_mut().find(|listener| listener.name == name);
        found.unwrap_or_else(|| panic!("no station {name:?}"))
    }
}
