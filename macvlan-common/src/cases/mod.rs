//! The forwarding contract as data: the same cases run against [`decide`](crate::decide::decide)
//! and, through `BPF_PROG_TEST_RUN`, against the loaded programs.

mod flood;
mod hairpinned;
mod presence;
mod siblings;
mod spoofed;
mod unicast;
mod world;

pub use self::world::{HOST, JUST_SPOKE, LLDP, MULTICAST, OUTSIDE, STRANGER, World, WorldChild};
use crate::{
    config::Config,
    counters::{FloodOrigin, Path},
    frame::{Frame, Hook},
    tag::Sender,
    verdict::{Action, Total, Verdict},
};

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
    let mut table = Table { cases: Vec::new(), world: World::mixed(), sender: Sender::Unknown };
    table.unicast_from_wire();
    table.unicast_from_host();
    table.unicast_from_children();
    table.broadcast();
    table.flooded();
    table.world = World::mixed().with_flags(Config::STRICT);
    table.strict();
    table.world = World::mixed();
    table.hairpinned();
    table.behind_generic_xdp();
    table.world = World::mixed().with_host_control(&["b2", "p2"]);
    table.link_local();
    table.world = World::passthru();
    table.beside_passthru();
    table.world = World::empty();
    table.without_children();
    table.world = World::grouped();
    table.groups();
    table.world = World::mixed().with_flags(Config::DROP_UNKNOWN);
    table.unknown_dropped();
    table.world = table.world.known_by(STRANGER);
    table.unknown_dropped_after_a_change();
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
    table.world = World::scattered();
    table.elsewhere();
    table.absent();
    table.hosts_own();
    table.world = World::scattered().held().with_flags(Config::XDP_NATIVE);
    table.held_to_their_macs();
    table.world = World::scattered().held().with_flags(Config::VEPA_SWITCH);
    table.held_behind_a_reflecting_switch();
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
        let dst = world.mac(dst);
        let frame = Frame {
            dst: dst.key(),
            src: world.mac(src).key(),
            sender: self.sender,
            to_host: dst == HOST && matches!(hook, Hook::Ingress | Hook::AfterXdp),
        };
        self.cases.push(Case { row, world, hook, frame, verdict });
    }
}
