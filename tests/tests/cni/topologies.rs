//! `docs/topologies.md`, run as it stands there; `topology_vlan.rs` has the section about VLANs.

use macvlan_tests::{
    needs, require,
    topologies::{hold, run, sections},
};

#[test]
fn every_topology_is_as_the_page_says() {
    needs!(require::lab, require::cni, require::binary, require::ping_command, dnsmasq);
    let sections = sections();
    assert_eq!(sections.len(), 7, "sections of the page");
    assert_eq!(sections.iter().filter(|section| section.needs_vlan()).count(), 1);
    hold(sections.into_iter().filter(|section| !section.needs_vlan()));
}

#[test]
fn a_claim_of_the_page_that_does_not_hold_is_found() {
    needs!(require::lab, require::cni, require::binary, require::ping_command, dnsmasq);
    for claim in ["reaches 10.9.0.99", "misses 10.9.0.1", "reaches web 10.9.0.2", "misses lan 10.9.0.2"] {
        assert!(!run(&format!("{claim}\ntrue\n"), false).status.success(), "{claim}");
    }
}

fn dnsmasq() -> Result<(), String> {
    require::program("dnsmasq")
}
