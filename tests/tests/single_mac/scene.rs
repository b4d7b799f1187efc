//! A host and children behind a port that carries one MAC.

use macvlan_common::child::Mode;
use macvlan_tests::{
    attached::Attached,
    lab::{Lab, Station},
    one_mac_port::OneMacPort,
};

/// A lab with two children.
pub fn lab() -> (Lab, [Station; 2]) {
    let lab = Lab::with().ipv6().build();
    let children = [lab.child("web", Mode::Bridge), lab.child("db", Mode::Private)];
    (lab, children)
}

/// The port that the wire's end of the cable is.
pub fn port(lab: &Lab) -> OneMacPort {
    OneMacPort::new(&lab.wire.ns, &lab.port, lab.host.mac)
}

/// Attaches with one MAC on the wire, and these further arguments.
pub fn attach<'lab>(lab: &'lab Lab, args: &[&str]) -> Attached<'lab> {
    Attached::new(lab, &[&["--single-mac"], args].concat())
}
