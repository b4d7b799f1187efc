//! Siblings kept apart by groups, and VEPA children reflected to here.

use super::{Expect, IN, OUT, PASS, REFLECTED, Table, WIRE_FLOOD, XDP, isolated, rx, tx};
use crate::{
    counters::{FloodOrigin, Path},
    verdict::{Action, Total},
};

impl Table {
    pub(super) fn groups(&mut self) {
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

    pub(super) fn reflected_here(&mut self) {
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
