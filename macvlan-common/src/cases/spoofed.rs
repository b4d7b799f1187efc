//! Forged source MACs, and children whose own devices vouch for them.

use super::{DEFER, Expect, IN, OUT, PASS, REFLECTED, SPOOFED, Table, WIRE_FLOOD, XDP, isolated, rx, tx};
use crate::{
    counters::{FloodOrigin, Path},
    frame::Hook,
    tag::Sender,
    verdict::{Action, Total},
};

impl Table {
    /// What bears the host's MAC, where the macvlan driver tells that a child sends it.
    pub(super) fn strict(&mut self) {
        let turned = Expect { action: Action::Turn, ..rx("p1", Path::Host) };
        self.case("strict: the host's own is as ever", OUT, "host", "p1", turned);
        self.case("strict: the host's own is as ever", OUT, "host", "outside", PASS);
        self.sender = Sender::Macvlan;
        for to in ["outside", "nobody", "host", "b1", "p1", "v1", "broadcast", "multicast", "LLDP"] {
            self.case("strict: a child as the host: spoofed", OUT, "host", to, SPOOFED);
        }
        let sent = Expect { action: Action::Turn, ..tx("p1", Path::Host) };
        self.case("strict: a child as itself is as ever", OUT, "p1", "host", sent);
        self.case("strict: a child as nobody is as ever", OUT, "outside", "b1", PASS);
        self.sender = Sender::Unknown;
    }

    pub(super) fn forgeries(&mut self) {
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

    pub(super) fn forgeries_at_native_xdp(&mut self) {
        for to in ["host", "g2", "b1", "nobody", "broadcast"] {
            self.case("native XDP sees the wire alone: spoofed", XDP, "host", to, SPOOFED);
            self.case("native XDP sees the wire alone: spoofed", XDP, "g1", to, SPOOFED);
            self.case("a child that is not held: as ever", XDP, "v1", to, DEFER);
        }
    }

    pub(super) fn guarded_behind_a_reflecting_switch(&mut self) {
        self.case("source MAC nobody's: spoofed", OUT, "nobody", "outside", SPOOFED);
        self.case("reflected by the switch: wire", IN, "gv", "g1", rx("g1", Path::Wire));
        self.case("reflected by the switch: host", IN, "gv", "host", PASS);
        self.case("reflected by the switch: wire", IN, "host", "gv", rx("gv", Path::Wire));
        self.case("reflected by the switch: own", IN, "g1", "g1", rx("g1", Path::Wire));
        let hidden = Expect { action: Action::HideFromHost, ..WIRE_FLOOD };
        self.case("reflected by the switch: v, not host twice", IN, "g1", "broadcast", hidden);
    }

    pub(super) fn vouched(&mut self) {
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
        self.sender = Sender::Unknown;
    }

    pub(super) fn passthru_vouched(&mut self) {
        self.case("beside passthru: the host's own are not the child's", OUT, "host", "outside", PASS);
        self.case("beside passthru: the host's own are not the child's", OUT, "host", "broadcast", PASS);
        self.sender = Sender::Vouched;
        self.case("passthru sends: wire tx", OUT, "t1", "outside", tx("t1", Path::Wire));
        self.case("passthru sends: wire tx", OUT, "t1", "broadcast", tx("t1", Path::Wire));
        self.sender = Sender::Unknown;
    }
}
