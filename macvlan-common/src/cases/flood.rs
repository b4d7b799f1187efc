//! Broadcast and multicast, and masters without children.

use super::{Expect, IN, OUT, PASS, Table, UNKNOWN, WIRE_FLOOD, XDP, tx};
use crate::{
    counters::{FloodOrigin, Path},
    tag::Sender,
    verdict::{Action, Total},
};

impl Table {
    pub(super) fn broadcast(&mut self) {
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
            self.case("no host access, reflected to all: hidden from the host", IN, "n1", to, hidden);
            for child in ["v1", "p1", "n2", "s1"] {
                self.case("other's broadcast reflected: kernel", IN, child, to, WIRE_FLOOD);
            }
        }
    }

    /// What has gone through the flood device; under another MAC than the host's, nobody but its sender can
    /// have made it look so.
    pub(super) fn flooded(&mut self) {
        self.sender = Sender::Flooded;
        let ended = Expect { action: Action::End, ..PASS };
        for to in ["broadcast", "multicast", "LLDP"] {
            self.case("host's copy that the children have had: no further", OUT, "host", to, ended);
            self.case("a stranger's frame that looks like one: wire", OUT, "outside", to, PASS);
        }
        self.case("host's unicast that looks like one: wire", OUT, "host", "outside", PASS);
        let copied = Expect {
            action: Action::CopyBroadcastToHost,
            total: Some(Total::Flood(FloodOrigin::Child)),
            ..tx("b1", Path::Wire)
        };
        self.case(
            "a child's broadcast that looks like one: wire and the host",
            OUT,
            "b1",
            "broadcast",
            copied,
        );
        self.sender = Sender::Unknown;
    }

    /// The link's own groups, which no bridge hands on.
    pub(super) fn link_local(&mut self) {
        let flood = |origin| Expect { total: Some(Total::Flood(origin)), ..PASS };
        let to = "LLDP";
        self.case("host to the link's own groups: wire", OUT, "host", to, flood(FloodOrigin::Host));
        self.case("host's own reflected: kernel", IN, "host", to, WIRE_FLOOD);
        for hook in [XDP, IN] {
            self.case("wire to the link's own groups: kernel", hook, "outside", to, WIRE_FLOOD);
        }
        let sent = |child| Expect { total: Some(Total::Flood(FloodOrigin::Child)), ..tx(child, Path::Wire) };
        for child in ["b1", "p1", "v1"] {
            self.case("child to the link's own groups: wire", OUT, child, to, sent(child));
        }
        for child in ["b2", "p2"] {
            let copied = Expect { action: Action::CopyMulticastToHost, ..sent(child) };
            self.case("host control: and the host", OUT, child, to, copied);
        }
    }

    pub(super) fn without_children(&mut self) {
        let sent = Expect { total: Some(Total::Flood(FloodOrigin::Host)), ..PASS };
        self.case("no child: host's broadcast is not copied", OUT, "host", "broadcast", sent);
        self.case("no child: reflected broadcast passes", IN, "host", "broadcast", WIRE_FLOOD);
        self.case("no child: unknown_unicast", XDP, "outside", "nobody", UNKNOWN);
        self.case("no child: host", XDP, "outside", "host", PASS);
    }
}
