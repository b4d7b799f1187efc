//! What must not leave, and what comes back.

use std::time::Duration;

use macvlan_common::{child::Mode, mac::Mac};
use macvlan_tests::{
    fail::wait_for,
    frames::{self, Frame, Marker},
    lab::Lab,
    needs, require,
    sniff::{Injector, Kind, Tap},
    talk::ping,
};

use crate::scene::{attach, lab};

/// Of anybody's invention.
const STRANGER: Mac = Mac::new([2, 0, 0, 0, 7, 7]);
const LLDP: u16 = 0x88cc;

#[test]
fn no_other_mac_is_ever_on_the_wire() {
    needs!(require::lab);
    let (lab, children) = lab();
    let attached = attach(&lab, &[]);
    let mut wire = Tap::on_device(&lab.wire.ns, &lab.port);
    let marker = Marker::new();
    let child = &children[0];
    let injector = Injector::new(&child.ns, &child.dev);
    for dst in [lab.wire.mac, Mac::BROADCAST] {
        for (src, kind) in [(STRANGER, frames::IPV4), (child.mac, LLDP), (STRANGER, LLDP), (STRANGER, 0x0806)]
        {
            injector.send(&Frame::new(dst, src).payload(kind, &marker.octets()).padded(60));
        }
    }
    for child in &children {
        assert!(ping(child, lab.wire.ip.into()) && ping(child, lab.wire.ip6.into()));
        assert!(ping(&lab.wire, child.ip.into()) && ping(&lab.wire, child.ip6.into()));
    }
    let came: Vec<_> = wire.take().into_iter().filter(|seen| seen.kind != Kind::Outgoing).collect();
    assert!(!came.is_empty());
    for seen in &came {
        assert_eq!(seen.data[6..12], lab.host.mac.octets(), "{:02x?}", seen.data);
        assert!(!marker.is_in(&seen.data), "{:02x?}", seen.data);
    }
    let stats = attached.stats();
    let text = format!("{stats:?}");
    assert!(text.contains("stranger") && text.contains("foreign"), "{text}");
}

#[test]
fn a_switch_that_sends_frames_back_makes_nobody_find_itself() {
    needs!(require::lab, require::bridge);
    let lab = Lab::with().full_ipv6().reflective_switch().build();
    let child = lab.child("web", Mode::Bridge);
    let _attached = attach(&lab, &[]);
    child.ns.sysctl(&format!("ipv6/conf/{}/enhanced_dad", child.dev), 0);
    child.ns.ip(&format!("addr add fd09::77/64 dev {}", child.dev));
    let is_settled = || {
        let addresses = child.ns.ip_json(&format!("-6 addr show dev {}", child.dev));
        let text = addresses.to_string();
        assert!(!text.contains("dadfailed"), "{text}");
        (text.contains("fd09::77") && !text.contains("tentative")).then_some(())
    };
    wait_for("the test for duplicates to end", is_settled);
    std::thread::sleep(Duration::from_millis(100));
    assert!(ping(&child, lab.wire.ip.into()) && ping(&lab.wire, child.ip.into()));
}
