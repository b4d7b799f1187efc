//! What `detach` leaves: the host as it was.

use macvlan_common::child::Mode;
use macvlan_tests::{
    attached::Attached,
    lab::{FAMILIES, Lab},
    leak::Traces,
    needs, require,
    talk::{is_silent, ping},
};

#[test]
fn detach_restores_what_was_there_before_attach() {
    needs!(require::lab, require::tc, require::binary);
    for args in [&[][..], &["--xdp", "native"], &["--xdp", "generic"], &["--xdp", "off"]] {
        let lab = Lab::with().ipv6().build();
        let child = lab.child("b1", Mode::Bridge);
        let before = Traces::of(&lab);

        let attached = Attached::new(&lab, args);
        assert_ne!(Traces::of(&lab), before, "{args:?}: nothing was attached");
        attached.detach(&[]).succeeded();

        assert_eq!(Traces::of(&lab), before, "{args:?}");
        for family in FAMILIES {
            assert!(is_silent(&lab.host, child.address(family)));
            assert!(ping(&lab.wire, child.address(family)));
        }
    }
}
