//! What the rest is for: an access point drops what is not from its station's MAC.

use std::time::Duration;

use macvlan_tests::{
    attached::Attached,
    dhcp,
    lab::FAMILIES,
    needs, require,
    talk::{ping, ping_within},
};

use crate::{air::NETWORKS, scene::Scene};

/// Long enough for an answer, if there was any.
const WHILE: Duration = Duration::from_secs(1);

#[test]
fn plain_macvlan_children_do_not_reach_beyond_the_air() {
    needs!(require::lab, require::radios);
    for network in NETWORKS {
        let scene = Scene::new(network);
        let Scene { lab, children: [child, other_child], .. } = &scene;
        dhcp::write_script(lab);
        let _server = dhcp::server(lab);
        // The hairpin alone does not help there.
        for means in ["plain", "hairpin"] {
            let _attached = (means == "hairpin").then(|| Attached::new(lab, &[]));
            for family in FAMILIES {
                let (wire, here) = (lab.wire.address(family), child.address(family));
                assert!(ping(&lab.host, wire), "{network:?}, {means}: the host itself, {family:?}");
                assert!(!ping_within(child, wire, WHILE), "{network:?}, {means}: a child, {family:?}");
                assert!(!ping_within(&lab.wire, here, WHILE), "{network:?}, {means}: to a child, {family:?}");
            }
        }
        assert!(!dhcp::bind(lab, other_child).status.success(), "{network:?}: a child has a lease");
    }
}
