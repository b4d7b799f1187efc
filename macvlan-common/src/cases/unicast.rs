//! Unicast between wire, host and children.

use super::{DEFER, DROP_UNKNOWN, Expect, IN, OUT, PASS, Table, UNKNOWN, WIRE_FLOOD, XDP, isolated, rx, tx};
use crate::{config::Config, counters::Path, frame::Hook, verdict::Action};

impl Table {
    pub(super) fn unicast_from_wire(&mut self) {
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
        for child in ["n1", "n2"] {
            self.case("no host access, reflected to host: isolated", IN, child, "host", isolated(child));
            self.case("host to no host access, reflected: isolated", IN, "host", child, isolated(child));
        }
        self.case("s to host reflected: left to the kernel", IN, "s1", "host", PASS);
        self.case("host to s reflected: left to the kernel", IN, "host", "s1", rx("s1", Path::Wire));
        self.case("v to host reflected: host", IN, "v1", "host", PASS);
        self.case("host to v reflected: wire", IN, "host", "v1", rx("v1", Path::Wire));
        self.case("host's own unicast comes back: host", IN, "host", "host", PASS);
        self.case("reflected child to nobody: unknown_unicast", IN, "v1", "nobody", UNKNOWN);
        for source in ["host", "b1", "p1", "v1"] {
            self.case("XDP leaves local sources to TC ingress", XDP, source, "b2", DEFER);
            self.case("XDP leaves local sources to TC ingress", XDP, source, "broadcast", DEFER);
        }
    }

    pub(super) fn unicast_from_host(&mut self) {
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

    pub(super) fn unicast_from_children(&mut self) {
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

    pub(super) fn beside_passthru(&mut self) {
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

    pub(super) fn unknown_dropped(&mut self) {
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
        let flags = self.world.config.flags;
        self.world.config.flags |= Config::XDP_GENERIC;
        let row = "unknown unicast: generic XDP leaves it to TC ingress";
        self.case(row, XDP, "outside", "nobody", DEFER);
        self.case(row, Hook::AfterXdp, "outside", "nobody", DROP_UNKNOWN);
        self.case(row, Hook::AfterXdp, "outside", "b1", PASS);
        self.world.config.flags = flags;
    }

    pub(super) fn unknown_dropped_after_a_change(&mut self) {
        let row = "unknown unicast dropped: the host has another MAC since";
        self.case(row, XDP, "outside", "host", DROP_UNKNOWN);
        self.case(row, IN, "outside", "host", PASS);
        self.case(row, IN, "b1", "host", PASS);
        self.case(row, IN, "outside", "LLDP", WIRE_FLOOD);
        let config = self.world.config;
        self.world.config.other_mac = 1;
        self.case(row, XDP, "outside", "host", DEFER);
        self.case(row, XDP, "outside", "b1", rx("b1", Path::Wire));
        self.world.config.other_mac = 0;
        self.world.config.flags |= Config::XDP_GENERIC;
        self.case(row, XDP, "outside", "host", DEFER);
        self.case(row, Hook::AfterXdp, "outside", "host", PASS);
        self.world.config = config;
    }
}
