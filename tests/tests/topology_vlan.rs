//! The section of `docs/topologies.md` that needs VLAN devices: on kernels that have them.

use macvlan_tests::{
    needs, require,
    topologies::{Section, hold, sections},
};

#[test]
fn the_topology_with_vlans_is_as_the_page_says() {
    needs!(require::lab, require::binary, require::ping_command, require::vlan);
    hold(sections().into_iter().filter(Section::needs_vlan));
}
