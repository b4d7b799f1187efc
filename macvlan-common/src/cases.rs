//! The forwarding contract as data: the same cases run against [`decide`](crate::decide::decide)
//! and, through `BPF_PROG_TEST_RUN`, against the loaded programs.

use crate::{
    child::{AntiSpoof, Mode, Policy},
    config::{Config, Hairpin},
    counters::{FloodOrigin, Path},
    decide::{Action, Frame, Hook, Sender, Tables, Total, Verdict},
    filter, index,
    mac::Mac,
};

/// One child of a [`World`].
#[derive(Debug, Clone, Copy)]
pub struct WorldChild {
    /// Name in the cases: its mode's letter and a number.
    pub name: &'static str,
    /// Its MAC.
    pub mac: Mac,
    /// Its policy.
    pub policy: Policy,
}

/// What the maps hold while a case runs.
#[derive(Debug, Clone)]
pub struct World {
    /// The master's settings.
    pub config: Config,
    /// The children, by slot.
    pub children: Vec<WorldChild>,
    filter: Vec<u64>,
    buckets: Vec<index::Bucket>,
}

/// The host's MAC in every world.
pub const HOST: Mac = Mac::new([0x02, 0, 0, 0, 0, 0x01]);
/// A MAC beyond the wire, in every world.
pub const OUTSIDE: Mac = Mac::new([0x02, 0, 0, 0, 0, 0xee]);
/// Another one.
pub const STRANGER: Mac = Mac::new([0x02, 0, 0, 0, 0, 0xef]);
/// All IPv6 nodes (RFC 2464, section 7).
pub const MULTICAST: Mac = Mac::new([0x33, 0x33, 0, 0, 0, 1]);

impl World {
    /// A world with these children; the flags follow from their modes as at attach.
    pub fn new(children: Vec<WorldChild>) -> Self {
        let passthru = children.iter().find(|child| child.policy.mode() == Mode::Passthru);
        let config = Config {
            master: HOST.key(),
            passthru: passthru.map_or(0, |child| child.mac.key()),
            flags: Config::flags_of(children.iter().map(|child| child.policy)),
            secret: 0x0073_6563_7265_7400,
            meta: 0x7a65_7461,
            unused: 0,
        };
        let mut filter = vec![0; filter::WORDS as usize];
        for child in &children {
            let (word, mask) = filter::position(child.mac.key());
            filter[word as usize] |= mask;
        }
        let slots = (0..).zip(&children).map(|(slot, child)| (child.mac.key(), slot));
        let buckets = index::buckets(slots);
        Self { config, children, filter, buckets }
    }

    /// The index of slots.
    pub fn buckets(&self) -> &[index::Bucket] {
        &self.buckets
    }

    /// Two bridge, two private, two VEPA children, one source child, one without host access.
    pub fn mixed() -> Self {
        let child = |index: u8, name, mode, access| WorldChild {
            name,
            mac: Mac::new([0x02, 0, 0, 0, 1, index]),
            policy: Policy::new(mode, access),
        };
        Self::new(vec![
            child(1, "b1", Mode::Bridge, true),
            child(2, "b2", Mode::Bridge, true),
            child(3, "p1", Mode::Private, true),
            child(4, "p2", Mode::Private, true),
            child(5, "v1", Mode::Vepa, true),
            child(6, "v2", Mode::Vepa, true),
            child(7, "s1", Mode::Source, true),
            child(8, "n1", Mode::Bridge, false),
            child(9, "n2", Mode::Private, false),
        ])
    }

    /// Children in two groups and in none, one that keeps to itself.
    pub fn grouped() -> Self {
        let bridge = Policy::new(Mode::Bridge, true);
        Self::of([
            ("a1", bridge.with_group(1)),
            ("a2", bridge.with_group(1)),
            ("c1", bridge.with_group(2)),
            ("b1", bridge),
            ("b2", bridge),
            ("x1", bridge.with_sibling_access(false)),
            ("av", Policy::new(Mode::Vepa, true).with_group(1)),
            ("as", Policy::new(Mode::Source, true).with_group(1)),
        ])
    }

    /// Children held to their MACs, and some that are not.
    pub fn guarded() -> Self {
        let held = |mode| Policy::new(mode, true).with_anti_spoof(AntiSpoof::Mac);
        Self::of([
            ("g1", held(Mode::Bridge)),
            ("g2", held(Mode::Bridge)),
            ("gv", held(Mode::Vepa)),
            ("gp", held(Mode::Private)),
            ("b1", Policy::new(Mode::Bridge, true)),
            ("v1", Policy::new(Mode::Vepa, true)),
        ])
    }

    /// The same; the devices of children that want it vouch for their frames.
    pub fn vouched(mut self) -> Self {
        for child in self.children.iter_mut().filter(|child| child.policy.wants_vouching()) {
            child.policy = child.policy.with_vouched(true);
        }
        self.config.flags |= Config::VOUCHED;
        self
    }

    /// VEPA children that are reflected to here, and their siblings.
    pub fn reflecting() -> Self {
        let here = |access| Policy::new(Mode::Vepa, access).with_reflection(true);
        Self::of([
            ("r1", here(true)),
            ("r2", here(true)),
            ("rn", here(false)),
            ("rx", here(true).with_sibling_access(false)),
            ("v1", Policy::new(Mode::Vepa, true)),
            ("v2", Policy::new(Mode::Vepa, true)),
            ("b1", Policy::new(Mode::Bridge, true)),
            ("bn", Policy::new(Mode::Bridge, false)),
            ("p1", Policy::new(Mode::Private, true)),
            ("s1", Policy::new(Mode::Source, true)),
        ])
    }

    fn of<const N: usize>(children: [(&'static str, Policy); N]) -> Self {
        let children = (1_u8..).zip(children);
        let child =
            |(index, (name, policy))| WorldChild { name, mac: Mac::new([0x02, 0, 0, 0, 1, index]), policy };
        Self::new(children.map(child).collect())
    }

    /// The same world with these flags of [`Config`] besides.
    pub fn with_flags(mut self, flags: u64) -> Self {
        self.config.flags |= flags;
        self
    }

    /// A single passthru child; it bears the master's own MAC, as the kernel gives it.
    pub fn passthru() -> Self {
        Self::new(vec![WorldChild { name: "t1", mac: HOST, policy: Policy::new(Mode::Passthru, true) }])
    }

    /// No child at all.
    pub fn empty() -> Self {
        Self::new(Vec::new())
    }

    /// The child of this name.
    ///
    /// # Panics
    ///
    /// When the world has none: a mistake in a case.
    pub fn index(&self, name: &str) -> usize {
        let found = self.children.iter().position(|child| child.name == name);
        found.unwrap_or_else(|| panic!("no child {name:?} in this world"))
    }

    fn mac(&self, name: &str) -> Mac {
        match name {
            "host" => HOST,
            "outside" => OUTSIDE,
            "nobody" => STRANGER,
            "broadcast" => Mac::BROADCAST,
            "multicast" => MULTICAST,
            child => self.children[self.index(child)].mac,
        }
    }
}

impl Tables for World {
    type Child = usize;

    fn config(&self) -> Config {
        self.config
    }

    fn may_be_child(&self, mac: u64) -> bool {
        let (word, mask) = filter::position(mac);
        self.filter[word as usize] & mask != 0
    }

    fn slot(&self, mac: u64) -> Option<u32> {
        index::find(&self.buckets[index::bucket_of(mac) as usize], mac)
    }

    fn child(&self, mac: u64) -> Option<usize> {
        self.children.iter().position(|child| child.mac.key() == mac)
    }

    fn policy(&self, child: usize) -> Policy {
        self.children[child].policy
    }
}

/// One row of the contract, or one reading of it.
#[derive(Debug, Clone)]
pub struct Case {
    /// The row, in the contract's words.
    pub row: &'static str,
    /// What the maps hold.
    pub world: World,
    /// Where the frame is met.
    pub hook: Hook,
    /// Its MACs.
    pub frame: Frame,
    /// What must come out; children by index in the world.
    pub verdict: Verdict<usize>,
}

/// Every case.
pub fn all() -> Vec<Case> {
    let mut table = Table { cases: Vec::new(), world: World::mixed(), sender: Sender::Unsaid };
    table.unicast_from_wire();
    table.unicast_from_host();
    table.unicast_from_children();
    table.broadcast();
    table.hairpinned();
    table.behind_generic_xdp();
    table.world = World::passthru();
    table.beside_passthru();
    table.world = World::empty();
    table.without_children();
    table.world = World::grouped();
    table.groups();
    table.world = World::mixed().with_flags(Config::DROP_UNKNOWN);
    table.unknown_dropped();
    table.world = World::guarded();
    table.forgeries();
    table.world = World::guarded().with_flags(Config::XDP_NATIVE);
    table.forgeries_at_native_xdp();
    table.world = World::guarded().with_flags(Config::VEPA_SWITCH);
    table.guarded_behind_a_reflecting_switch();
    table.world = World::reflecting();
    table.reflected_here();
    table.world = World::guarded().vouched();
    table.vouched();
    table.world = World::passthru().vouched();
    table.passthru_vouched();
    table.cases
}

struct Table {
    cases: Vec<Case>,
    world: World,
    sender: Sender,
}

/// What a row expects, children by name.
#[derive(Clone, Copy)]
struct Expect {
    action: Action,
    tx: Option<(&'static str, Path)>,
    rx: Option<(&'static str, Path)>,
    dropped: Option<&'static str>,
    total: Option<Total>,
}

const PASS: Expect = Expect { action: Action::Pass, tx: None, rx: None, dropped: None, total: None };
const DEFER: Expect = Expect { action: Action::Defer, ..PASS };
const UNKNOWN: Expect = Expect { total: Some(Total::UnknownUnicast), ..PASS };
const DROP_UNKNOWN: Expect = Expect { action: Action::DropUnknown, ..PASS };
const SPOOFED: Expect = Expect { action: Action::DropSpoofed, ..PASS };
const REFLECTED: Expect = Expect { action: Action::DropReflected, ..PASS };
const WIRE_FLOOD: Expect = Expect { total: Some(Total::Flood(FloodOrigin::Wire)), ..PASS };

fn rx(child: &'static str, path: Path) -> Expect {
    Expect { rx: Some((child, path)), ..PASS }
}

fn tx(child: &'static str, path: Path) -> Expect {
    Expect { tx: Some((child, path)), ..PASS }
}

fn isolated(child: &'static str) -> Expect {
    Expect { action: Action::DropIsolated, dropped: Some(child), ..PASS }
}

const XDP: Hook = Hook::Xdp;
const IN: Hook = Hook::Ingress;
const OUT: Hook = Hook::Egress;

impl Table {
    fn case(&mut self, row: &'static str, hook: Hook, src: &str, dst: &str, expect: Expect) {
        let world = self.world.clone();
        let child = |at: Option<(&str, Path)>| at.map(|(name, _)| world.index(name));
        let verdict = Verdict {
            action: expect.action,
            path: expect.tx.or(expect.rx).map_or(Path::Wire, |(_, path)| path),
            tx: child(expect.tx),
            rx: child(expect.rx),
            dropped: expect.dropped.map(|name| world.index(name)),
            total: expect.total,
        };
        let frame = Frame { dst: world.mac(dst).key(), src: world.mac(src).key(), sender: self.sender };
        self.cases.push(Case { row, world, hook, frame, verdict });
    }

    fn unicast_from_wire(&mut self) {
        for hook in [XDP, IN] {
            for child in ["b1", "v1", "p1", "s1", "n1"] {
                self.case("wire to child: delivered, wire rx", hook, "outside", child, rx(child, Path::Wire));
            }
            self.case("wire to host's MAC: host", hook, "outside", "host", PASS);
            self.case("wire to nobody's MAC: unknown_unicast", hook, "outside", "nobody", UNKNOWN);
        }
        for (source, target) in [("b1", "p1"), ("v1", "p1"), ("p2", "p1"), ("s1", "p1")] {
            self.case("reflected sibling to p: isolated", IN, source, target, isolated(target));
        }
        for target in ["b1", "v1", "s1"] {
            self.case("reflected p sibling to any child: isolated", IN, "p1", target, isolated(target));
        }
        for (source, target) in [("v1", "v2"), ("b1", "v1"), ("v1", "b1")] {
            self.case("reflected by a VEPA switch: wire", IN, source, target, rx(target, Path::Wire));
        }
        self.case("own frame reflected to its sender: wire", IN, "p1", "p1", rx("p1", Path::Wire));
        self.case("v to host reflected: host", IN, "v1", "host", PASS);
        self.case("host to v reflected: wire", IN, "host", "v1", rx("v1", Path::Wire));
        self.case("host's own unicast comes back: host", IN, "host", "host", PASS);
        self.case("reflected child to nobody: unknown_unicast", IN, "v1", "nobody", UNKNOWN);
        for source in ["host", "b1", "p1", "v1"] {
            self.case("XDP leaves local sources to TC ingress", XDP, source, "b2", DEFER);
            self.case("XDP leaves local sources to TC ingress", XDP, source, "broadcast", DEFER);
        }
    }

    fn unicast_from_host(&mut self) {
        for child in ["b1", "p1"] {
            let turned = Expect { action: Action::Turn, ..rx(child, Path::Host) };
            self.case("host to b, p: hairpin, host rx", OUT, "host", child, turned);
        }
        for child in ["v1", "s1"] {
            self.case("host to v, s: wire", OUT, "host", child, PASS);
        }
        for child in ["n1", "n2"] {
            self.case("host to child without host access: wire", OUT, "host", child, PASS);
        }
        self.case("host to wire: wire", OUT, "host", "outside", PASS);
        self.case("host to its own MAC: wire", OUT, "host", "host", PASS);
    }

    fn unicast_from_children(&mut self) {
        for child in ["b1", "p1"] {
            let turned = Expect { action: Action::Turn, ..tx(child, Path::Host) };
            self.case("b, p to host: hairpin, host tx", OUT, child, "host", turned);
        }
        for child in ["v1", "s1", "n1", "n2"] {
            self.case("v, s, no host access to host: wire", OUT, child, "host", tx(child, Path::Wire));
        }
        let sibling = Expect { rx: Some(("b2", Path::Sibling)), ..tx("b1", Path::Sibling) };
        self.case("b to b: direct, sibling tx and rx", IN, "b1", "b2", sibling);
        for (source, target) in [("b1", "v1"), ("v1", "b1"), ("v1", "v2"), ("s1", "b1"), ("b1", "s1")] {
            self.case("b or v with v: wire", OUT, source, target, tx(source, Path::Wire));
        }
        self.case("b to a b that is down: wire", OUT, "b1", "b2", tx("b1", Path::Wire));
        for target in ["b1", "v1", "p2", "s1"] {
            self.case("p to any sibling: isolated", OUT, "p1", target, isolated("p1"));
        }
        for source in ["b1", "v1"] {
            self.case("any child to a p sibling: isolated", OUT, source, "p1", isolated(source));
        }
        self.case("s to p: left to the kernel", OUT, "s1", "p1", tx("s1", Path::Wire));
        self.case("p to its own MAC: wire", OUT, "p1", "p1", tx("p1", Path::Wire));
        for child in ["b1", "p1", "v1", "s1"] {
            self.case("child to wire: wire, wire tx", OUT, child, "outside", tx(child, Path::Wire));
        }
        for target in ["b1", "p1", "host", "outside", "broadcast"] {
            self.case("unknown source: as without us", OUT, "nobody", target, PASS);
        }
    }

    fn broadcast(&mut self) {
        let copies = [("broadcast", Action::CopyBroadcastToHost), ("multicast", Action::CopyMulticastToHost)];
        for (to, copy_to_host) in copies {
            for hook in [XDP, IN] {
                self.case("wire to all: host and every child", hook, "outside", to, WIRE_FLOOD);
            }
            let host_flood = Expect {
                action: Action::CopyToChildren,
                total: Some(Total::Flood(FloodOrigin::Host)),
                ..PASS
            };
            self.case("host to all: wire and every child", OUT, "host", to, host_flood);
            for child in ["b1", "p1"] {
                let copied = Expect {
                    action: copy_to_host,
                    total: Some(Total::Flood(FloodOrigin::Child)),
                    ..tx(child, Path::Wire)
                };
                self.case("b, p to all: wire and the host", OUT, child, to, copied);
            }
            for child in ["v1", "s1", "n1", "n2"] {
                let sent = Expect { total: Some(Total::Flood(FloodOrigin::Child)), ..tx(child, Path::Wire) };
                self.case("v, s, no host access to all: wire", OUT, child, to, sent);
            }
            let reflected = Expect { action: Action::DropReflected, ..PASS };
            self.case("host's broadcast reflected: nobody twice", IN, "host", to, reflected);
            let hidden = Expect { action: Action::HideFromHost, ..WIRE_FLOOD };
            self.case("b's broadcast reflected: v, not host twice", IN, "b1", to, hidden);
            for child in ["v1", "p1", "n1", "s1"] {
                self.case("other's broadcast reflected: kernel", IN, child, to, WIRE_FLOOD);
            }
        }
    }

    fn hairpinned(&mut self) {
        let turned = [
            (Hairpin::Unicast, "host", "b1", Action::Untag),
            (Hairpin::Unicast, "p1", "host", Action::Untag),
            (Hairpin::Flood, "host", "broadcast", Action::HideFromHost),
            (Hairpin::BroadcastToHost, "b1", "host", Action::UntagBroadcast),
            (Hairpin::MulticastToHost, "p1", "host", Action::UntagMulticast),
        ];
        for (kind, src, dst, action) in turned {
            let expect = Expect { action, ..PASS };
            self.case("hairpinned: delivered, judged once", Hook::Turned(kind), src, dst, expect);
            self.case("generic XDP: hairpinned frames are left alone", XDP, src, dst, DEFER);
        }
        for (src, dst) in [("outside", "b1"), ("outside", "nobody"), ("outside", "broadcast")] {
            self.case("judged in native XDP: not counted twice", Hook::Judged, src, dst, PASS);
            self.case("judged in generic XDP: not counted twice", Hook::AfterXdp, src, dst, PASS);
        }
    }

    fn behind_generic_xdp(&mut self) {
        let hook = Hook::AfterXdp;
        let sibling = Expect { rx: Some(("b2", Path::Sibling)), ..tx("b1", Path::Sibling) };
        self.case("generic XDP: b to b is judged behind it", hook, "b1", "b2", sibling);
        self.case("generic XDP: p's leak is stopped behind it", hook, "p1", "b1", isolated("b1"));
        let reflected = Expect { action: Action::DropReflected, ..PASS };
        self.case("generic XDP: reflection is stopped behind it", hook, "host", "broadcast", reflected);
    }

    fn beside_passthru(&mut self) {
        for hook in [XDP, IN] {
            for dst in ["host", "nobody"] {
                self.case("t takes everything", hook, "outside", dst, rx("t1", Path::Wire));
            }
            self.case("t: broadcast", hook, "outside", "broadcast", WIRE_FLOOD);
        }
        self.case("t sends: wire", OUT, "t1", "outside", tx("t1", Path::Wire));
        self.case("t sends: wire", OUT, "t1", "broadcast", tx("t1", Path::Wire));
        self.case("t: nothing is hairpinned", OUT, "nobody", "host", PASS);
    }

    fn without_children(&mut self) {
        let sent = Expect { total: Some(Total::Flood(FloodOrigin::Host)), ..PASS };
        self.case("no child: host's broadcast is not copied", OUT, "host", "broadcast", sent);
        self.case("no child: reflected broadcast passes", IN, "host", "broadcast", WIRE_FLOOD);
        self.case("no child: unknown_unicast", XDP, "outside", "nobody", UNKNOWN);
        self.case("no child: host", XDP, "outside", "host", PASS);
    }

    fn groups(&mut self) {
        let direct = Expect { rx: Some(("a2", Path::Sibling)), ..tx("a1", Path::Sibling) };
        self.case("one group: siblings as ever", IN, "a1", "a2", direct);
        self.case("one group: siblings as ever", OUT, "a1", "av", tx("a1", Path::Wire));
        let direct = Expect { rx: Some(("b2", Path::Sibling)), ..tx("b1", Path::Sibling) };
        self.case("no group: siblings as ever", IN, "b1", "b2", direct);
        let apart = [("a1", "c1"), ("c1", "a1"), ("a1", "b1"), ("b1", "a1"), ("x1", "b1"), ("b1", "x1")];
        for (source, target) in apart {
            self.case("not one group, or no sibling access: isolated", IN, source, target, isolated(target));
            self.case("not one group, or no sibling access: isolated", OUT, source, target, isolated(source));
        }
        for (source, target) in [("av", "c1"), ("b1", "av"), ("as", "b1"), ("b1", "as")] {
            self.case("whatever the mode: isolated", OUT, source, target, isolated(source));
            self.case("whatever the mode: isolated", IN, source, target, isolated(target));
        }
        for child in ["a1", "x1"] {
            let to_host = Expect { action: Action::Turn, ..tx(child, Path::Host) };
            self.case("groups are among siblings: host", OUT, child, "host", to_host);
            let from_host = Expect { action: Action::Turn, ..rx(child, Path::Host) };
            self.case("groups are among siblings: host", OUT, "host", child, from_host);
            self.case("groups are among siblings: wire", OUT, child, "outside", tx(child, Path::Wire));
            self.case("groups are among siblings: wire", XDP, "outside", child, rx(child, Path::Wire));
        }
    }

    fn unknown_dropped(&mut self) {
        for hook in [XDP, IN] {
            self.case(
                "unknown unicast: dropped at the earliest hook",
                hook,
                "outside",
                "nobody",
                DROP_UNKNOWN,
            );
            self.case("unknown unicast dropped: host as ever", hook, "outside", "host", PASS);
            self.case("unknown unicast dropped: child as ever", hook, "outside", "b1", rx("b1", Path::Wire));
            self.case("unknown unicast dropped: broadcast as ever", hook, "outside", "broadcast", WIRE_FLOOD);
        }
        for source in ["host", "b1", "v1"] {
            self.case("unknown unicast from a local MAC: dropped", IN, source, "nobody", DROP_UNKNOWN);
        }
        self.case("unknown unicast leaves as ever", OUT, "b1", "nobody", tx("b1", Path::Wire));
        self.case("unknown unicast leaves as ever", OUT, "host", "nobody", PASS);
        let judged = Hook::AfterXdp;
        self.case("unknown unicast: generic XDP has dropped it", judged, "outside", "nobody", PASS);
    }

    fn forgeries(&mut self) {
        for to in ["host", "outside", "g1", "b1", "broadcast", "multicast"] {
            self.case("source MAC nobody's: spoofed", OUT, "nobody", to, SPOOFED);
        }
        self.case("own source MAC: as ever", OUT, "g1", "outside", tx("g1", Path::Wire));
        self.case("no guard: as ever", OUT, "b1", "outside", tx("b1", Path::Wire));
        self.case("the host's own: as ever", OUT, "host", "outside", PASS);
        for hook in [IN, Hook::AfterXdp] {
            for to in ["g1", "nobody", "host"] {
                self.case("wire claims the host's MAC: spoofed", hook, "host", to, SPOOFED);
            }
            for to in ["host", "broadcast", "multicast", "v1", "gv"] {
                self.case("wire claims a held child's MAC: spoofed", hook, "g1", to, SPOOFED);
            }
            self.case("wire claims a held child's MAC: spoofed", hook, "g1", "g1", SPOOFED);
            self.case("wire claims a held child's MAC: spoofed", hook, "gv", "g1", SPOOFED);
            self.case("host's broadcast reflected: reflected first", hook, "host", "broadcast", REFLECTED);
            self.case("private sibling's MAC: isolated first", hook, "gp", "g1", isolated("g1"));
            self.case("a child that is not held: as ever", hook, "v1", "g1", rx("g1", Path::Wire));
            let direct = Expect { rx: Some(("g2", Path::Sibling)), ..tx("g1", Path::Sibling) };
            self.case("b to b is direct: as ever", hook, "g1", "g2", direct);
        }
        for source in ["host", "g1", "b1"] {
            self.case("generic XDP: TC ingress knows more", XDP, source, "b1", DEFER);
        }
    }

    fn forgeries_at_native_xdp(&mut self) {
        for to in ["host", "g2", "b1", "nobody", "broadcast"] {
            self.case("native XDP sees the wire alone: spoofed", XDP, "host", to, SPOOFED);
            self.case("native XDP sees the wire alone: spoofed", XDP, "g1", to, SPOOFED);
            self.case("a child that is not held: as ever", XDP, "v1", to, DEFER);
        }
    }

    fn guarded_behind_a_reflecting_switch(&mut self) {
        self.case("source MAC nobody's: spoofed", OUT, "nobody", "outside", SPOOFED);
        self.case("reflected by the switch: wire", IN, "gv", "g1", rx("g1", Path::Wire));
        self.case("reflected by the switch: host", IN, "gv", "host", PASS);
        self.case("reflected by the switch: wire", IN, "host", "gv", rx("gv", Path::Wire));
        self.case("reflected by the switch: own", IN, "g1", "g1", rx("g1", Path::Wire));
        let hidden = Expect { action: Action::HideFromHost, ..WIRE_FLOOD };
        self.case("reflected by the switch: v, not host twice", IN, "g1", "broadcast", hidden);
    }

    fn vouched(&mut self) {
        for to in ["host", "outside", "g2", "b1", "broadcast", "multicast"] {
            self.case("not through the child's device: spoofed", OUT, "g1", to, SPOOFED);
        }
        for hook in [IN, Hook::AfterXdp] {
            self.case("b to b, not through the device: spoofed", hook, "g1", "g2", SPOOFED);
            self.case("b to b, a child that is not held: spoofed", hook, "g1", "b1", SPOOFED);
        }
        self.case("a child that is not held: as ever", OUT, "b1", "outside", tx("b1", Path::Wire));
        self.case("the host's own: as ever", OUT, "host", "outside", PASS);
        self.sender = Sender::Vouched;
        self.case("through the child's device: as ever", OUT, "g1", "outside", tx("g1", Path::Wire));
        let turned = Expect { action: Action::Turn, ..tx("g1", Path::Host) };
        self.case("through the child's device: as ever", OUT, "g1", "host", turned);
        self.case("through the child's device: as ever", OUT, "gp", "g1", isolated("gp"));
        let flooded = Expect {
            action: Action::CopyBroadcastToHost,
            total: Some(Total::Flood(FloodOrigin::Child)),
            ..tx("g1", Path::Wire)
        };
        self.case("through the child's device: as ever", OUT, "g1", "broadcast", flooded);
        for hook in [IN, Hook::AfterXdp] {
            let direct = Expect { rx: Some(("g2", Path::Sibling)), ..tx("g1", Path::Sibling) };
            self.case("b to b, through the device: as ever", hook, "g1", "g2", direct);
        }
        self.sender = Sender::Unsaid;
    }

    fn passthru_vouched(&mut self) {
        self.case("beside passthru: the host's own are not the child's", OUT, "host", "outside", PASS);
        self.case("beside passthru: the host's own are not the child's", OUT, "host", "broadcast", PASS);
        self.sender = Sender::Vouched;
        self.case("passthru sends: wire tx", OUT, "t1", "outside", tx("t1", Path::Wire));
        self.case("passthru sends: wire tx", OUT, "t1", "broadcast", tx("t1", Path::Wire));
        self.sender = Sender::Unsaid;
    }

    fn reflected_here(&mut self) {
        for (source, target) in
            [("r1", "r2"), ("r1", "v1"), ("v1", "r1"), ("b1", "r1"), ("r1", "b1"), ("rn", "r1")]
        {
            let turned = Expect {
                action: Action::Turn,
                rx: Some((target, Path::Sibling)),
                ..tx(source, Path::Sibling)
            };
            self.case("b or v with v, one reflected here: hairpin", OUT, source, target, turned);
        }
        for (source, target) in [("v1", "v2"), ("b1", "v1"), ("v1", "b1"), ("r1", "s1"), ("s1", "r1")] {
            self.case("none reflected here: wire", OUT, source, target, tx(source, Path::Wire));
        }
        for (source, target) in [("r1", "p1"), ("p1", "r1"), ("r1", "rx"), ("rx", "b1")] {
            self.case("kept apart: isolated", OUT, source, target, isolated(source));
        }
        for child in ["r1", "rx"] {
            let to_host = Expect { action: Action::Turn, ..tx(child, Path::Host) };
            self.case("v reflected here to host: hairpin", OUT, child, "host", to_host);
            let from_host = Expect { action: Action::Turn, ..rx(child, Path::Host) };
            self.case("host to v reflected here: hairpin", OUT, "host", child, from_host);
        }
        self.case("no host access: wire", OUT, "rn", "host", tx("rn", Path::Wire));
        self.case("no host access: wire", OUT, "host", "rn", PASS);
        let copies = [("broadcast", Action::CopyBroadcastToHost), ("multicast", Action::CopyMulticastToHost)];
        for (to, copy_to_host) in copies {
            let flooded = [
                ("r1", Action::CopyToAll),
                ("rn", Action::CopyToChildren),
                ("rx", copy_to_host),
                ("b1", Action::CopyToAll),
                ("bn", Action::CopyToChildren),
                ("p1", copy_to_host),
                ("v1", Action::Pass),
            ];
            for (child, action) in flooded {
                let total = Some(Total::Flood(FloodOrigin::Child));
                let sent = Expect { action, total, ..tx(child, Path::Wire) };
                self.case("reflected here to all: wire, host, v and b", OUT, child, to, sent);
            }
            for child in ["r1", "rn", "b1"] {
                self.case("reflected by the switch too: nobody twice", IN, child, to, REFLECTED);
            }
            self.case("reflected by the switch alone: kernel", IN, "v1", to, WIRE_FLOOD);
            let hidden = Expect { action: Action::HideFromHost, ..WIRE_FLOOD };
            self.case("host has had its copy: hidden", IN, "rx", to, hidden);
        }
    }
}
