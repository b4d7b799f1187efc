//! Frames that come up a second time: turned around, or seen by XDP before.

use super::{DEFER, Expect, PASS, Table, XDP, isolated, tx};
use crate::{counters::Path, frame::Hook, tag::Hairpin, verdict::Action};

impl Table {
    pub(super) fn hairpinned(&mut self) {
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

    pub(super) fn behind_generic_xdp(&mut self) {
        let hook = Hook::AfterXdp;
        let sibling = Expect { rx: Some(("b2", Path::Sibling)), ..tx("b1", Path::Sibling) };
        self.case("generic XDP: b to b is judged behind it", hook, "b1", "b2", sibling);
        self.case("generic XDP: p's leak is stopped behind it", hook, "p1", "b1", isolated("b1"));
        let reflected = Expect { action: Action::DropReflected, ..PASS };
        self.case("generic XDP: reflection is stopped behind it", hook, "host", "broadcast", reflected);
    }
}
