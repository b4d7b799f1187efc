//! MACs of children that are elsewhere or absent, and devices of the host's own.

use super::{DEFER, Expect, IN, OUT, PASS, SPOOFED, Table, UNKNOWN, WIRE_FLOOD, XDP, isolated, rx, tx};
use crate::{
    counters::{FloodOrigin, Path},
    frame::Hook,
    verdict::{Action, Total},
};

const GROUPS: [&str; 2] = ["broadcast", "multicast"];

impl Table {
    pub(super) fn elsewhere(&mut self) {
        for there in ["be", "pe"] {
            self.case("elsewhere, from the host: wire", OUT, "host", there, PASS);
            for child in ["b1", "p1"] {
                self.case("elsewhere, from a child: wire", OUT, child, there, tx(child, Path::Wire));
            }
            for hook in [IN, XDP] {
                let row = "elsewhere, from the wire: for macvlan to say";
                self.case(row, hook, "outside", there, rx(there, Path::Wire));
            }
            for to in GROUPS {
                self.case("elsewhere, to all: the host hears it", IN, there, to, WIRE_FLOOD);
                self.case("generic XDP: TC ingress knows more", XDP, there, to, DEFER);
            }
            self.case("elsewhere, to the host: as from the wire", IN, there, "host", PASS);
            for child in ["b1", "p1"] {
                let row = "elsewhere, to a child: as from the wire";
                self.case(row, IN, there, child, rx(child, Path::Wire));
            }
            self.case("p's MAC reflected to it: not isolated", IN, "p1", there, rx(there, Path::Wire));
            let to_host = Expect { action: Action::Turn, ..tx(there, Path::Host) };
            self.case("it sends: it is here", OUT, there, "host", to_host);
            self.case("it sends: it is here", OUT, there, "outside", tx(there, Path::Wire));
        }
        self.case("it sends: p is isolated", OUT, "pe", "b1", isolated("pe"));
        let direct = Expect { rx: Some(("be", Path::Sibling)), ..tx("b1", Path::Sibling) };
        self.case("b to b: the driver knows no elsewhere", IN, "b1", "be", direct);
    }

    pub(super) fn absent(&mut self) {
        for gone in ["ba", "pa"] {
            self.case("absent, from the host: wire", OUT, "host", gone, PASS);
            for child in ["b1", "p1"] {
                self.case("absent, from a child: wire", OUT, child, gone, tx(child, Path::Wire));
                let row = "absent, to a child: as from outside";
                self.case(row, IN, gone, child, rx(child, Path::Wire));
                self.case(row, XDP, gone, child, rx(child, Path::Wire));
                self.case("absent, a child's MAC reflected: unknown", IN, child, gone, UNKNOWN);
            }
            for hook in [IN, XDP] {
                self.case("absent, from the wire: unknown", hook, "outside", gone, UNKNOWN);
                self.case("absent, to the host: as from outside", hook, gone, "host", PASS);
                for to in GROUPS {
                    self.case("absent, to all: as from outside", hook, gone, to, WIRE_FLOOD);
                }
            }
        }
    }

    pub(super) fn hosts_own(&mut self) {
        for own in ["bh", "ph"] {
            self.case("the host's own, from the host: wire", OUT, "host", own, PASS);
            for child in ["b1", "p1"] {
                self.case("the host's own, from a child: wire", OUT, child, own, tx(child, Path::Wire));
                self.case("the host's own, to a child: kernel", IN, own, child, rx(child, Path::Wire));
            }
            for to in ["host", "b1", "p1", "outside", "broadcast", "multicast"] {
                self.case("the host's own sends: wire", OUT, own, to, tx(own, Path::Wire));
            }
            self.case("the host's own, from the wire: kernel", XDP, "outside", own, rx(own, Path::Wire));
            self.case("the host's own, reflected: kernel", IN, "p1", own, rx(own, Path::Wire));
            for to in GROUPS {
                self.case("the host's own, to all: kernel", IN, own, to, WIRE_FLOOD);
            }
        }
    }

    pub(super) fn held_to_their_macs(&mut self) {
        for there in ["be", "pe"] {
            for to in ["host", "broadcast", "multicast"] {
                self.case("held: whoever is elsewhere is a forger", IN, there, to, SPOOFED);
                self.case("held: whoever is elsewhere is a forger", XDP, there, to, SPOOFED);
            }
            let turned = Expect { action: Action::Turn, ..rx(there, Path::Host) };
            self.case("held: it stays here", OUT, "host", there, turned);
        }
        for gone in ["ba", "pa"] {
            self.case("held and absent: as from outside", XDP, gone, "host", PASS);
            self.case("held and absent: as from outside", IN, gone, "broadcast", WIRE_FLOOD);
            self.case("held and absent: nobody sends so", OUT, gone, "outside", SPOOFED);
        }
        self.case("the host's own is known", OUT, "bh", "outside", tx("bh", Path::Wire));
    }

    pub(super) fn held_behind_a_reflecting_switch(&mut self) {
        for hook in [IN, Hook::AfterXdp] {
            self.case("held, trusted wire: elsewhere", hook, "be", "broadcast", WIRE_FLOOD);
        }
        self.case("held, trusted wire: elsewhere", OUT, "host", "be", PASS);
        let sent = Expect {
            action: Action::CopyBroadcastToHost,
            total: Some(Total::Flood(FloodOrigin::Child)),
            ..tx("be", Path::Wire)
        };
        self.case("held, trusted wire: it sends, it is here", OUT, "be", "broadcast", sent);
    }
}
